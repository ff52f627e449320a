import numpy as np
import pytest

from n2n.graph.graph import Graph
from n2n.process.process import Process


def test_interventions_set_a_state_and_keep_the_random_numbers():
    """Non-descendants of the node are unchanged; descendants use the same random numbers."""
    process = Process(Graph.preset("sparse", alpha_z=0.5, alpha_x=0.5))
    factual = process.sample(100, length=40)
    counter = process.sample(100, length=40, do={"Z1": (10, 3)})
    assert (counter.latents["Z1"][:, 10] == 3).all()
    assert np.array_equal(counter.tokens[:, :10], factual.tokens[:, :10])
    for name in ("Z2", "Z4"):  # no descendants of Z1
        assert np.array_equal(counter.latents[name], factual.latents[name])
    changed = factual.latents["Z1"][:, 10] != 3
    assert np.array_equal(counter.tokens[~changed], factual.tokens[~changed])
    assert (counter.tokens[changed] != factual.tokens[changed]).any(axis=1).mean() > 0.8
    assert 0 < (counter.latents["Z1"][:, 11] == factual.latents["Z1"][:, 11])[changed].mean() < 1


def test_interventions_at_every_step_give_a_constant_node():
    process = Process(Graph.preset("two_chains"))
    sample = process.sample(80, length=20, do={"Z2": [(t, 5) for t in range(1, 20)], "X": (7, 31)})
    assert (sample.latents["Z2"][:, 1:] == 5).all()
    assert (sample.tokens[:, 7] == 31).all()


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ({"Z9": (1, 0)}, r"do: unknown node 'Z9' \(allowed: Z1, Z2, X\)"),
        ({"Z1": (0, 0)}, "do: Z1: time: saw 0; a whole number from 1 to 19"),
        ({"Z1": (20, 0)}, "do: Z1: time: saw 20"),
        ({"Z1": (1, 16)}, "do: Z1: state: saw 16; a whole number from 0 to 15"),
        ({"Z1": [(1, 2, 3)]}, r"do: Z1: saw \[\(1, 2, 3\)\]; \(time, state\) is needed"),
        ({"Z1": 4}, "do: Z1: saw 4"),
    ],
)
def test_bad_interventions_are_refused(do, message):
    with pytest.raises(ValueError, match=message):
        Process(Graph.preset("two_chains")).sample(2, length=20, do=do)
