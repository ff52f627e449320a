"""Groups at equal size: planted laws, simulated intervals, and no extrapolation."""

import numpy as np
import pytest
from support.planted_sweeps import joined, planted, results

import n2n
from n2n import models


def test_equal_size_lies_on_the_planted_laws():
    sweep = results([*planted("a", 0.5), *planted("b", 0.25, sizes=(2000, 8000, 20_000))])
    comparison = n2n.at_equal_size(sweep, parameters=5000)
    expected = {"a": 50 * 5000**-0.5, "b": 50 * 5000**-0.25}
    assert len(comparison.table) == 4, "a row for each group and seed"
    for _, row in comparison.table.iterrows():
        assert row["excess_loss"] == pytest.approx(expected[row["group"]])
        assert row["low"] < row["excess_loss"] < row["high"]
    assert set(comparison.table["between"]) == {"3,000 and 10,000", "2,000 and 8,000"}
    assert n2n.at_equal_size(sweep).parameters == round((2000 * 20_000) ** 0.5)


def test_the_interval_of_an_interpolation_by_simulation():
    """Both evaluations share the noise of held-out sequences; 4,000 draws give the bounds within 1%.

    If part of the noise is independent, the interval is wider than the simulated one.
    """
    rows = [
        {"parameters": n, "excess_loss": e, "excess_standard_error": s}
        for n, e, s in ((1000, 0.8, 0.03), (4000, 0.3, 0.02))
    ]
    row = n2n.at_equal_size(results(rows), parameters=1500).table.iloc[0]
    rng, weight = np.random.default_rng(0), np.log(1.5) / np.log(4)
    shared = rng.normal(size=(4000, 1))
    partly = np.sqrt(0.85) * shared + np.sqrt(0.15) * rng.normal(size=(4000, 2))
    bounds = []
    for noise in (np.repeat(shared, 2, axis=1), partly):
        samples = np.log([0.8, 0.3] + noise * [0.03, 0.02]) @ [1 - weight, weight]
        bounds.append(np.exp(np.quantile(samples, [0.025, 0.975])))
    assert [row["low"], row["high"]] == pytest.approx(bounds[0], rel=0.01)
    assert row["low"] < bounds[1][0] < bounds[1][1] < row["high"]


def test_runs_of_one_size_share_their_held_out_sequences():
    """Two runs of one group, seed and size: the error of their mean is the mean of their errors."""
    rows = [{"parameters": 1000, "excess_loss": e, "excess_standard_error": s} for e, s in ((0.4, 0.03), (0.6, 0.05))]
    row = n2n.at_equal_size(results(rows)).table.iloc[0]
    assert [row["low"], row["excess_loss"], row["high"]] == pytest.approx([0.5 - 0.0784, 0.5, 0.5 + 0.0784], abs=1e-4)


def test_left_out_runs_are_counted():
    """Unfinished runs and runs with another number of tokens are left out; a group of only such runs is listed."""
    other = [{"arch": "b", "parameters": 3000, "excess_loss": 0.5, "tokens": 10}] * 2
    failed = {"arch": "a", "parameters": 1000, "excess_loss": 0.9, "state": "failed"}
    sweep = joined(results([*planted("a", 0.5), *other, failed]), {"arch": "c"})
    comparison = n2n.at_equal_size(sweep)
    assert (comparison.left_out, comparison.runs, comparison.tokens) == (4, 12, 5000)
    table = comparison.table.set_index("group")
    assert table.loc["a", "excess_loss"].tolist() == pytest.approx([50 * comparison.parameters**-0.5] * 2)
    assert table.loc["b", "note"] == "no point after 5,000 tokens, runs: 2 done"
    assert table.loc["c", "note"] == "no point after 5,000 tokens, runs: 1 failed"
    assert table.loc[["b", "c"], ["seed", "excess_loss", "low", "high"]].isna().all(axis=None)
    assert table.loc["a", "note"].tolist() == ["", ""]


def test_matched_runs_are_not_interpolated():
    rows = [{"arch": a, "parameters": n, "excess_loss": e} for a, n, e in (("a", 10_000, 0.2), ("b", 10_150, -0.01))]
    comparison = n2n.at_equal_size(results(rows))
    assert comparison.table["excess_loss"].tolist() == [0.2, -0.01]
    assert comparison.table["low"].tolist() == pytest.approx([0.2 - 0.0196, -0.0296], abs=1e-4)
    assert comparison.table["between"].tolist() == ["10,000", "10,150"]


@pytest.mark.parametrize("parameters", [20_000, 50_000, 100_000, 300_000])
def test_matched_models_have_equal_size(parameters):
    sizes = {a: models.match(a, parameters=parameters, vocab_size=32).parameters for a in models.names()}
    assert len(set(sizes.values())) > 2
    comparison = n2n.at_equal_size(
        results([{"arch": a, "parameters": n, "excess_loss": 0.1} for a, n in sizes.items()])
    )
    assert not comparison.note
    assert (comparison.table["excess_loss"] == 0.1).all()
    assert comparison.table.set_index("group")["between"].to_dict() == {a: f"{n:,}" for a, n in sizes.items()}


def test_sizes_at_the_ends_of_the_tolerance_are_equal():
    """Sizes within a factor of 1.02 of 100,000, 4.04% apart, are equal; sizes a little further apart are not."""
    for low, high, equal in ((98_040, 101_999, True), (97_900, 102_200, False)):
        rows = [{"arch": a, "parameters": n, "excess_loss": e} for a, n, e in (("a", low, 0.2), ("b", high, 0.1))]
        comparison = n2n.at_equal_size(results(rows))
        assert comparison.table["excess_loss"].tolist() == ([0.2, 0.1] if equal else [])
        assert bool(comparison.note) is not equal


def test_sizes_are_not_extrapolated():
    apart = results([*planted("a", 0.5, sizes=(1000, 2000)), *planted("b", 0.5, sizes=(5000, 9000))])
    comparison = n2n.at_equal_size(apart)
    assert comparison.table.empty
    assert comparison.note == "no size lies in all ranges (a: 1,000 to 2,000; b: 5,000 to 9,000)"
    for parameters in (900, 3000, 30_000):
        with pytest.raises(ValueError, match=r"not all groups cover \(a: 1,000 to 2,000.*nothing is extrapolated"):
            n2n.at_equal_size(apart, parameters=parameters)
    short = results([*planted("a", 0.5), *planted("b", 0.5, sizes=(1000, 3000), seeds=(0,))])
    short.evaluations.loc[short.evaluations["parameters"] >= 3000, "seed"] = 1
    comparison = n2n.at_equal_size(short, parameters=2000)
    assert comparison.left_out == 0, "no run is left out"
    without = comparison.table[comparison.table["excess_loss"].isna()].set_index(["group", "seed"])["note"].to_dict()
    assert without == {
        ("a", 0): "sizes from 1,000 to 1,000 do not reach it",
        ("b", 0): "sizes from 1,000 to 1,000 do not reach it",
        ("b", 1): "sizes from 3,000 to 3,000 do not reach it",
    }, "only seed 1 of group a has sizes on both sides"
    flat = results([{"parameters": n, "excess_loss": e} for n, e in ((1000, 0.1), (4000, -0.01))])
    (row,) = n2n.at_equal_size(flat, parameters=2000).table.to_dict("records")
    assert row["note"] == "an excess loss at 1,000 and 4,000 that is not positive"
