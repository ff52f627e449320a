"""Configurations of the notebooks that analyse processes."""

import pytest

import n2n


def test_all_wrong_fields_are_reported():
    with pytest.raises(ValueError, match="DifficultyConfig") as error:
        n2n.DifficultyConfig(graph="spars", seeds=1, target=-1, tokens=[30], alphas_x=[0.1])
    for message in ("did you mean 'sparse'", "seeds: saw 1", "target: saw -1", "tokens.0: saw 30", "alphas_x"):
        assert message in str(error.value)


def test_repeated_values_are_refused():
    with pytest.raises(ValueError, match="DifficultyConfig") as error:
        n2n.DifficultyConfig(alphas_x=[0.1, 0.1], alphas_z=[0.1, 0.2, 0.1], graphs=["sparse", "sparse"])
    for message in (
        "alphas_x: saw [0.1, 0.1]; no number",
        "alphas_z: saw [0.1, 0.2",
        "graphs: saw graphs of the names",
    ):
        assert message in str(error.value)
    with pytest.raises(ValueError, match=r"tokens: saw the exponents \[2, 4\], which at length 64"):
        n2n.DifficultyConfig(tokens=[2, 4], length=64)
