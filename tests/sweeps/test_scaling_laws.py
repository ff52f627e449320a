"""Scaling laws: planted exponents, and runs without a point."""

import numpy as np
import pytest
from support.planted_sweeps import joined, planted, results

import n2n
from n2n.sweeps.line_fit import MIN_RUNS
from n2n.sweeps.scaling_laws import PowerLaw


def only(fits: list[PowerLaw], group: str) -> PowerLaw:
    (match,) = (fit for fit in fits if fit.group == group)
    return match


def test_planted_exponents_are_recovered():
    sweep = results([*planted("a", 0.5, noise=0.1), *planted("b", 0.25, noise=0.1)])
    scaling = n2n.scaling_fits(sweep, "parameters")
    for group, exponent in (("a", 0.5), ("b", 0.25)):
        fit = only(scaling.fits, group)
        assert fit.exponent == pytest.approx(exponent, abs=0.1)
        assert fit.low < exponent < fit.high
        assert fit.high - fit.low < 0.5
    exact = only(n2n.scaling_fits(results(planted("a", 0.5)), "parameters").fits, "a")
    assert (exact.exponent, exact.coefficient) == pytest.approx((0.5, 50))
    assert exact.excess == pytest.approx(50 * exact.sizes**-0.5)


def test_points_against_data_and_against_compute():
    rows = []
    for seed, step in [(s, t) for s in range(MIN_RUNS) for t in (10, 20, 40)]:
        excess, last = 3.0 * (500 * step) ** -0.4 * (1 + 0.1 * seed), step == 40
        rows.append(
            {"run": f"s{seed}", "seed": seed, "step": step, "tokens": 500 * step, "flops": 1e6 * step * (1 + seed)}
        )
        rows[-1] |= {"parameters": 100, "excess_loss": excess, "last": last, "split": "valid"}
    rows.append({**rows[-1], "split": "test", "last": False, "excess_loss": 99.0})
    sweep = results(rows)
    data, compute = (n2n.scaling_fits(sweep, axis).fits[0] for axis in ("tokens", "flops"))
    assert data.exponent == pytest.approx(0.4)
    assert (data.points, data.runs) == (3 * MIN_RUNS, MIN_RUNS), "one evaluation of each step, of the curve's split"
    assert (compute.points, compute.exponent < 0) == (MIN_RUNS, True), "last evaluations, rising with the seed"


def test_excess_losses_that_are_not_positive_are_counted():
    rows = [*planted("a", 0.5), {"parameters": 1000, "excess_loss": -0.001}, {"parameters": 1000, "excess_loss": 0.0}]
    (fit,) = n2n.scaling_fits(results(rows), "parameters").fits
    assert (fit.not_positive, fit.points, fit.runs) == (2, 8, 8)
    assert fit.exponent == pytest.approx(0.5)


def test_a_fit_to_too_few_points_has_a_note():
    one = n2n.scaling_fits(results(planted("a", 0.5, sizes=(1000, 3000))), "parameters").fits[0]
    assert one.note == "no fit: different sizes: 2, needed: 3"
    assert np.isnan(one.exponent)
    few = n2n.scaling_fits(results(planted("a", 0.5, seeds=(0,))), "parameters").fits[0]
    assert few.note == "no interval: 4 runs are too few to resample, 8 are needed"
    assert few.exponent == pytest.approx(0.5)
    assert np.isnan([few.low, few.high, *few.excess_low]).all()


def test_runs_with_another_number_of_tokens_are_left_out_and_counted():
    rows = [*planted("a", 0.5), {"parameters": 5000, "excess_loss": 9.0, "tokens": 10, "state": "failed"}]
    scaling = n2n.scaling_fits(results(rows), "parameters")
    assert (scaling.left_out, scaling.runs, scaling.tokens) == (1, 9, 5000)
    assert scaling.fits[0].exponent == pytest.approx(0.5)
    assert n2n.scaling_fits(results(rows), "tokens").left_out == 0


def test_a_group_without_a_point_has_a_row():
    """Its runs are unevaluated, unfinished or without a configuration; a run without any field is only counted."""
    running = {"arch": "b", "parameters": 3000, "excess_loss": 0.5, "state": "running", "tokens": 10}
    sweep = joined(results([*planted("a", 0.5), running]), {"arch": "b"}, {"arch": "c", "task": ""}, {"task": ""})
    scaling = n2n.scaling_fits(sweep, "parameters")
    notes = {fit.group: (fit.runs, fit.points, fit.note) for fit in scaling.fits}
    assert notes["a"][:2] == (8, 8)
    assert notes["b"] == (0, 0, "no fit: no point after 5,000 tokens, runs: 1 running, 1 failed")
    assert notes["c"] == (0, 0, "no fit: no point after 5,000 tokens, runs: 1 failed")
    assert list(notes) == ["a", "b", "c"] == scaling.table["group"].tolist()
    assert (scaling.left_out, scaling.runs) == (4, 12)
    data = only(n2n.scaling_fits(sweep, "tokens").fits, "b")
    assert (data.runs, data.points) == (1, 1), "the unfinished run has a point against data"


def test_a_task_without_an_evaluation_still_separates_groups():
    sweep = joined(results(planted("a", 0.5)), {"arch": "a", "task": "h, process 0"}, {"arch": "a", "task": ""})
    fits = n2n.scaling_fits(sweep, "flops").fits
    assert [fit.group for fit in fits] == ["a, g, process 0", "a, h, process 0", "a, task unknown"]
    assert fits[1].note == "no fit: no point, runs: 1 failed"


def test_finished_runs_decide_the_number_of_tokens():
    early = [{**row, "tokens": 10, "state": "running", "excess_loss": 3.0} for row in planted("a", 0.5, seeds=range(4))]
    scaling = n2n.scaling_fits(results([*planted("a", 0.5), *early]), "parameters")
    assert (scaling.tokens, scaling.left_out) == (5000, 16)
    assert n2n.scaling_fits(results(early), "parameters").tokens == 10, "no run is finished"


def test_different_tasks_are_different_groups():
    rows = planted("a", 0.5) + [{**row, "task": "h, process 0"} for row in planted("a", 0.2)]
    fits = n2n.scaling_fits(results(rows), "parameters").fits
    assert [fit.group for fit in fits] == ["a, g, process 0", "a, h, process 0"]
    assert [fit.exponent for fit in fits] == pytest.approx([0.5, 0.2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": "flop"}, "unknown axis 'flop'; did you mean 'flops'"),
        ({"by": ["ach"]}, "unknown field of the runs 'ach'; did you mean 'arch'"),
        ({"resamples": 3}, "resamples: saw 3"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        n2n.scaling_fits(results(planted("a", 0.5)), **{"axis": "parameters", **arguments})
