"""Scaling laws: planted exponents, coverage, least squares by hand; nothing is dropped in silence or extrapolated."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import n2n
from n2n import models
from n2n.notebook.examples import read_sweep
from n2n.sweeps.line_fit import MIN_RUNS, fit_line
from n2n.sweeps.results import SweepResults
from n2n.sweeps.scaling_laws import PowerLaw

SIZES = (1000, 3000, 10_000, 30_000)


def results(rows: list[dict]) -> SweepResults:
    """A sweep of given last evaluations, as if read from a folder."""
    common = {"arch": "a", "task": "g, process 0", "seed": 0, "state": "done", "split": "test", "step": 10}
    common |= {"tokens": 5000, "flops": 1e9, "excess_standard_error": 0.01, "last": True}
    frame = pd.DataFrame([{**common, "run": f"r{i}", **row} for i, row in enumerate(rows)])
    table = frame.drop_duplicates("run").set_index("run")[["arch", "seed", "state", "task"]]
    return SweepResults(Path("x"), table, frame, pd.DataFrame())


def joined(sweep: SweepResults, *rows: dict) -> SweepResults:
    """The sweep and runs of it that were never evaluated."""
    more = pd.DataFrame([{"seed": 0, "state": "failed", "task": "g, process 0", **row} for row in rows])
    more.index = [f"more{i}" for i in range(len(rows))]
    return SweepResults(sweep.path, pd.concat([sweep.table, more]), sweep.evaluations, pd.DataFrame())


def planted(arch: str, exponent: float, sizes=SIZES, seeds=(0, 1), noise: float = 0.0) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {"arch": arch, "seed": s, "parameters": n, "excess_loss": 50 * n**-exponent * np.exp(noise * rng.normal())}
        for n in sizes
        for s in seeds
    ]


# Lines


def test_least_squares_by_hand():
    """x = 0, 1, 3 and y = 1, 2, 2: means 4/3 and 5/3, slope (4/3) / (14/3) = 2/7, intercept 5/3 - 8/21 = 9/7."""
    line = fit_line([0, 1, 3], [1, 2, 2], ["p", "q", "r"], [0.0, 7.0])
    assert line.slope == pytest.approx(2 / 7, abs=1e-12)
    assert line.intercept == pytest.approx(9 / 7, abs=1e-12)
    assert line.fitted == pytest.approx([9 / 7, 9 / 7 + 2])
    assert np.isnan([line.low, line.high, *line.fitted_low]).all(), "three runs are too few to resample"


def test_a_resample_is_a_fit_to_the_runs_drawn():
    """The slopes that the quantiles are of, against numpy's polyfit on rows repeated as often as they were drawn."""
    from n2n.sweeps.line_fit import _lines

    rng = np.random.default_rng(3)
    x, y, runs = rng.normal(size=12), rng.normal(size=12), np.repeat(np.arange(6), 2)
    times = rng.multinomial(6, np.full(6, 1 / 6), 20).astype(float)
    slopes, lines, _, _ = _lines(x, y, runs, times, np.array([0.5]))
    for b in range(20):
        rows = np.repeat(np.arange(12), times[b, runs].astype(int))
        assert [slopes[b], lines[b, 0] - 0.5 * slopes[b]] == pytest.approx(np.polyfit(x[rows], y[rows], 1))


@pytest.mark.parametrize(("runs", "sizes", "each"), [(8, 4, 1), (12, 4, 1), (12, 4, 3)])
def test_intervals_cover_what_they_promise(runs, sizes, each):
    """400 sweeps whose runs scatter about a law; several points of a run share its deviation. Binomial error 1%."""
    rng, covered, of_line = np.random.default_rng(1), [], []
    x = np.repeat(np.resize(np.log(np.geomspace(1e3, 1e5, sizes)), runs), each) + np.tile(np.arange(each), runs)
    member = np.repeat(np.arange(runs), each)
    for sweep in range(400):
        y = 1 - 0.5 * x + 0.2 * rng.normal(size=runs)[member] + 0.05 * rng.normal(size=runs * each)
        line = fit_line(x, y, member, [8.0], resamples=400, seed=sweep)
        covered.append(line.low <= -0.5 <= line.high)
        of_line.append(line.fitted_low[0] <= 1 - 0.5 * 8 <= line.fitted_high[0])
    assert 0.91 <= np.mean(covered) <= 0.99
    assert 0.91 <= np.mean(of_line) <= 0.99


def test_runs_are_resampled_whole():
    """Each run's points three times over make no narrower interval, as they would if points were drawn."""
    rng = np.random.default_rng(5)
    x = np.resize(np.arange(5.0), 15)
    y, member = x + rng.normal(size=15), np.arange(15)
    once = fit_line(x, y, member, [0.0])
    thrice = fit_line(np.tile(x, 3), np.tile(y, 3), np.tile(member, 3), [0.0])
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    points = fit_line(np.tile(x, 3), np.tile(y, 3), np.arange(45), [0.0])
    assert points.high - points.low < 0.75 * (once.high - once.low)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": [0, 1, 1], "y": [0, 1, 2]}, "x: saw 2 different values; at least 3"),
        ({"x": [0, 1, np.inf], "y": [0, 1, 2]}, "not finite"),
        ({"x": [0, 1], "y": [0, 1, 2]}, "three arrays of one length"),
        ({"x": [0, 1, 2], "y": [0, 1, 2], "resamples": 5}, "resamples: saw 5"),
    ],
)
def test_lines_that_cannot_be_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        fit_line(**{"runs": [0, 1, 2], "at": [0.0], **given})


# Laws


def only(fits: list[PowerLaw], group: str) -> PowerLaw:
    (found,) = (fit for fit in fits if fit.group == group)
    return found


def test_planted_exponents_are_recovered():
    sweep = results([*planted("a", 0.5, noise=0.1), *planted("b", 0.25, noise=0.1)])
    found = n2n.scaling_fits(sweep, "parameters")
    for group, exponent in (("a", 0.5), ("b", 0.25)):
        fit = only(found.fits, group)
        assert fit.exponent == pytest.approx(exponent, abs=0.1)
        assert fit.low < exponent < fit.high
        assert fit.high - fit.low < 0.5
    exact = only(n2n.scaling_fits(results(planted("a", 0.5)), "parameters").fits, "a")
    assert (exact.exponent, exact.coefficient) == pytest.approx((0.5, 50))
    assert exact.excess == pytest.approx(50 * exact.sizes**-0.5)


def test_the_other_axes_have_their_own_points():
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
    assert (data.points, data.runs) == (3 * MIN_RUNS, MIN_RUNS), "one evaluation a step, of the curve's split"
    assert (compute.points, compute.exponent < 0) == (MIN_RUNS, True), "last ones alone; planted to rise with seeds"


def test_an_excess_that_is_not_positive_is_counted():
    rows = [*planted("a", 0.5), {"parameters": 1000, "excess_loss": -0.001}, {"parameters": 1000, "excess_loss": 0.0}]
    (fit,) = n2n.scaling_fits(results(rows), "parameters").fits
    assert (fit.not_positive, fit.points, fit.runs) == (2, 8, 8)
    assert fit.exponent == pytest.approx(0.5)


def test_too_few_points_are_a_sentence():
    one = n2n.scaling_fits(results(planted("a", 0.5, sizes=(1000, 3000))), "parameters").fits[0]
    assert one.note == "no fit: different sizes: 2, needed: 3"
    assert np.isnan(one.exponent)
    few = n2n.scaling_fits(results(planted("a", 0.5, seeds=(0,))), "parameters").fits[0]
    assert few.note == "no interval: 4 runs are too few to resample, 8 are needed"
    assert few.exponent == pytest.approx(0.5)
    assert np.isnan([few.low, few.high, *few.excess_low]).all()


def test_runs_of_another_length_are_left_out_of_the_parameters_and_counted():
    rows = [*planted("a", 0.5), {"parameters": 5000, "excess_loss": 9.0, "tokens": 10, "state": "failed"}]
    found = n2n.scaling_fits(results(rows), "parameters")
    assert (found.left_out, found.runs, found.tokens) == (1, 9, 5000)
    assert found.fits[0].exponent == pytest.approx(0.5)
    assert n2n.scaling_fits(results(rows), "tokens").left_out == 0


def test_a_group_without_a_usable_run_has_a_row():
    """Never evaluated, not done, not even configured; one of which nothing is known is counted alone."""
    running = {"arch": "b", "parameters": 3000, "excess_loss": 0.5, "state": "running", "tokens": 10}
    sweep = joined(results([*planted("a", 0.5), running]), {"arch": "b"}, {"arch": "c", "task": ""}, {"task": ""})
    found = n2n.scaling_fits(sweep, "parameters")
    notes = {fit.group: (fit.runs, fit.points, fit.note) for fit in found.fits}
    assert notes["a"][:2] == (8, 8)
    assert notes["b"] == (0, 0, "no fit: no point after 5,000 tokens, runs: 1 running, 1 failed")
    assert notes["c"] == (0, 0, "no fit: no point after 5,000 tokens, runs: 1 failed")
    assert list(notes) == ["a", "b", "c"] == found.table["group"].tolist()
    assert (found.left_out, found.runs) == (4, 12)
    data = only(n2n.scaling_fits(sweep, "tokens").fits, "b")
    assert (data.runs, data.points) == (1, 1), "against data the running one has a point"


def test_a_task_that_was_never_evaluated_tells_groups_apart():
    sweep = joined(results(planted("a", 0.5)), {"arch": "a", "task": "h, process 0"}, {"arch": "a", "task": ""})
    fits = n2n.scaling_fits(sweep, "flops").fits
    assert [fit.group for fit in fits] == ["a, g, process 0", "a, h, process 0", "a, task unknown"]
    assert fits[1].note == "no fit: no point, runs: 1 failed"


def test_unfinished_runs_do_not_outvote_those_that_are_done():
    early = [{**row, "tokens": 10, "state": "running", "excess_loss": 3.0} for row in planted("a", 0.5, seeds=range(4))]
    found = n2n.scaling_fits(results([*planted("a", 0.5), *early]), "parameters")
    assert (found.tokens, found.left_out) == (5000, 16)
    assert n2n.scaling_fits(results(early), "parameters").tokens == 10, "none is done yet"


def test_tasks_are_told_apart():
    rows = planted("a", 0.5) + [{**row, "task": "h, process 0"} for row in planted("a", 0.2)]
    fits = n2n.scaling_fits(results(rows), "parameters").fits
    assert [fit.group for fit in fits] == ["a, g, process 0", "a, h, process 0"]
    assert [fit.exponent for fit in fits] == pytest.approx([0.5, 0.2])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"axis": "flop"}, "unknown axis 'flop'; did you mean 'flops'"),
        ({"by": ["ach"]}, "unknown field of the runs 'ach'; did you mean 'arch'"),
        ({"resamples": 3}, "resamples: saw 3"),
    ],
)
def test_bad_questions_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        n2n.scaling_fits(results(planted("a", 0.5)), **{"axis": "parameters", **asked})


# Equal size


def test_equal_size_lies_on_the_planted_laws():
    sweep = results([*planted("a", 0.5), *planted("b", 0.25, sizes=(2000, 8000, 20_000))])
    found = n2n.at_equal_size(sweep, parameters=5000)
    expected = {"a": 50 * 5000**-0.5, "b": 50 * 5000**-0.25}
    assert len(found.table) == 4, "a row for each group and seed"
    for _, row in found.table.iterrows():
        assert row["excess_loss"] == pytest.approx(expected[row["group"]])
        assert row["low"] < row["excess_loss"] < row["high"]
    assert set(found.table["between"]) == {"3,000 and 10,000", "2,000 and 8,000"}
    assert n2n.at_equal_size(sweep).parameters == round((2000 * 20_000) ** 0.5)


def test_the_interpolation_s_interval_by_simulation():
    """Noise of the held-out sequences that both evaluations share, drawn 4,000 times: an error of 1% of the bounds.

    Where a part of the noise is each evaluation's own, the interval is wider than what is drawn, and never narrower.
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
        drawn = np.log([0.8, 0.3] + noise * [0.03, 0.02]) @ [1 - weight, weight]
        bounds.append(np.exp(np.quantile(drawn, [0.025, 0.975])))
    assert [row["low"], row["high"]] == pytest.approx(bounds[0], rel=0.01)
    assert row["low"] < bounds[1][0] < bounds[1][1] < row["high"]


def test_runs_of_one_size_share_their_held_out_sequences():
    """Two runs that differ in what is not compared: the error of their mean is no smaller than theirs."""
    rows = [{"parameters": 1000, "excess_loss": e, "excess_standard_error": s} for e, s in ((0.4, 0.03), (0.6, 0.05))]
    row = n2n.at_equal_size(results(rows)).table.iloc[0]
    assert [row["low"], row["excess_loss"], row["high"]] == pytest.approx([0.5 - 0.0784, 0.5, 0.5 + 0.0784], abs=1e-4)


def test_at_equal_size_nothing_vanishes():
    """Runs of another length or not done are counted, and a group that has none but such is listed."""
    other = [{"arch": "b", "parameters": 3000, "excess_loss": 0.5, "tokens": 10}] * 2
    failed = {"arch": "a", "parameters": 1000, "excess_loss": 0.9, "state": "failed"}
    sweep = joined(results([*planted("a", 0.5), *other, failed]), {"arch": "c"})
    found = n2n.at_equal_size(sweep)
    assert (found.left_out, found.runs, found.tokens) == (4, 12, 5000)
    table = found.table.set_index("group")
    assert table.loc["a", "excess_loss"].tolist() == pytest.approx([50 * found.parameters**-0.5] * 2)
    assert table.loc["b", "note"] == "no point after 5,000 tokens, runs: 2 done"
    assert table.loc["c", "note"] == "no point after 5,000 tokens, runs: 1 failed"
    assert table.loc[["b", "c"], ["seed", "excess_loss", "low", "high"]].isna().all(axis=None)
    assert table.loc["a", "note"].tolist() == ["", ""]


def test_matched_runs_stand_as_they_are():
    rows = [{"arch": a, "parameters": n, "excess_loss": e} for a, n, e in (("a", 10_000, 0.2), ("b", 10_150, -0.01))]
    found = n2n.at_equal_size(results(rows))
    assert found.table["excess_loss"].tolist() == [0.2, -0.01]
    assert found.table["low"].tolist() == pytest.approx([0.2 - 0.0196, -0.0296], abs=1e-4)
    assert found.table["between"].tolist() == ["10,000", "10,150"]


@pytest.mark.parametrize("parameters", [20_000, 50_000, 100_000, 300_000])
def test_models_matched_to_one_number_are_of_equal_size(parameters):
    sizes = {a: models.match(a, parameters=parameters, vocab_size=32).parameters for a in models.names()}
    assert len(set(sizes.values())) > 2
    found = n2n.at_equal_size(results([{"arch": a, "parameters": n, "excess_loss": 0.1} for a, n in sizes.items()]))
    assert not found.note
    assert (found.table["excess_loss"] == 0.1).all()
    assert found.table.set_index("group")["between"].to_dict() == {a: f"{n:,}" for a, n in sizes.items()}


def test_sizes_at_the_ends_of_the_tolerance_are_equal():
    """Both within a factor of 1.02 of 100,000, and 4.04% apart; a step further they are not."""
    for low, high, equal in ((98_040, 101_999, True), (97_900, 102_200, False)):
        rows = [{"arch": a, "parameters": n, "excess_loss": e} for a, n, e in (("a", low, 0.2), ("b", high, 0.1))]
        found = n2n.at_equal_size(results(rows))
        assert found.table["excess_loss"].tolist() == ([0.2, 0.1] if equal else [])
        assert bool(found.note) is not equal


def test_nothing_is_extrapolated():
    apart = results([*planted("a", 0.5, sizes=(1000, 2000)), *planted("b", 0.5, sizes=(5000, 9000))])
    found = n2n.at_equal_size(apart)
    assert found.table.empty
    assert found.note == "no size lies in all ranges (a: 1,000 to 2,000; b: 5,000 to 9,000)"
    for parameters in (900, 3000, 30_000):
        with pytest.raises(ValueError, match=r"not all groups cover \(a: 1,000 to 2,000.*nothing is extrapolated"):
            n2n.at_equal_size(apart, parameters=parameters)
    short = results([*planted("a", 0.5), *planted("b", 0.5, sizes=(1000, 3000), seeds=(0,))])
    short.evaluations.loc[short.evaluations["parameters"] >= 3000, "seed"] = 1
    found = n2n.at_equal_size(short, parameters=2000)
    assert found.left_out == 0, "every run took part"
    without = found.table[found.table["excess_loss"].isna()].set_index(["group", "seed"])["note"].to_dict()
    assert without == {
        ("a", 0): "sizes from 1,000 to 1,000 do not reach it",
        ("b", 0): "sizes from 1,000 to 1,000 do not reach it",
        ("b", 1): "sizes from 3,000 to 3,000 do not reach it",
    }, "a's seed 1 alone has sizes on both sides"
    flat = results([{"parameters": n, "excess_loss": e} for n, e in ((1000, 0.1), (4000, -0.01))])
    (row,) = n2n.at_equal_size(flat, parameters=2000).table.to_dict("records")
    assert row["note"] == "an excess loss at 1,000 and 4,000 that is not positive"


# From a folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Two trained runs, one that failed half-way, one that never began to evaluate."""
    folder = tmp_path_factory.mktemp("sweep")
    given = {
        "graph": "four_chains",
        "layers": 1,
        "heads": 2,
        "seq_len": 12,
        "batch_size": 4,
        "steps": 4,
        "device": "cpu",
    }
    given |= {"log_every": 2, "checkpoint_every": 4, "eval_sequences": 8, "eval_every": 2}
    for arch in ("transformer", "mamba"):
        n2n.train(n2n.TrainConfig(**given, arch=arch, dim=16, run_dir=folder / f"arch={arch}"))
    failed, early = folder / "failed", folder / "early"
    for copy in (failed, early):
        copy.mkdir()
        config = json.loads((folder / "arch=mamba" / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config))
    error = "Traceback (most recent call last):\n  File ..\nRuntimeError: out of <memory>\n"
    (failed / "status.json").write_text(json.dumps({"state": "failed", "step": 2, "error": error}))
    rows = (folder / "arch=mamba" / "evals.jsonl").read_text().splitlines()
    (failed / "evals.jsonl").write_text(rows[0] + "\n" + rows[1][:50])  # the second one torn
    (early / "status.json").write_text(json.dumps({"state": "running", "step": 0}))
    return folder


def test_a_sweep_is_read_whatever_became_of_its_runs(sweep):
    found = read_sweep(sweep)
    assert found.table["task"].tolist() == ["four_chains, process 0"] * 4
    assert found.states == {"done": 2, "failed": 1, "running": 1}
    assert found.unfinished["error"].to_dict() == {"early": "", "failed": "RuntimeError: out of <memory>"}
    assert found.unfinished["evaluations"].to_dict() == {"early": 0, "failed": 1}
    rows = found.evaluations[found.evaluations["run"] == "arch=mamba"]
    assert rows[["step", "split", "last", "tokens"]].to_numpy().tolist() == [
        [2, "valid", False, 96],
        [4, "valid", False, 192],
        [4, "test", True, 192],
    ]
    laws = n2n.scaling_fits(found, "parameters")
    assert (laws.left_out, laws.runs, laws.tokens) == (2, 4, 192)


def test_operations_are_those_of_the_model(sweep):
    """The transformer's by hand: 2 a weight and token, 4 T^2 dim of attention, three passes, T of 11 inputs."""
    found = read_sweep(str(sweep)).evaluations
    row = found[(found["run"] == "arch=transformer") & found["last"]].iloc[0]
    model = n2n.Run(sweep / "arch=transformer").model()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embedding" not in name]
    matrices += [model.embedding.weight] if model.head is None else []
    forward = sum(2 * 11 * p.numel() for p in matrices) + 4 * 11 * 11 * 16
    assert row["flops"] == 3 * forward * 4 * 4
    assert isinstance(model, torch.nn.Module)


def test_a_sweep_that_says_nothing_is_a_sentence(tmp_path, sweep):
    for name, said in (("nowhere", "no sweep"), (str(tmp_path), "holds no runs"), ("example:swep", "did you mean")):
        with pytest.raises(ValueError, match=said):
            n2n.ReportConfig(sweep=name)
    (tmp_path / "early").mkdir()
    for name in ("config.json", "status.json"):
        (tmp_path / "early" / name).write_text((sweep / "early" / name).read_text())
    with pytest.raises(ValueError, match=r"none of its runs was evaluated yet \(1 running\)"):
        read_sweep(str(tmp_path))
    with pytest.raises(ValueError, match="unknown field of a run 'ach'; did you mean 'arch'"):
        n2n.ReportConfig(by=["ach"])
