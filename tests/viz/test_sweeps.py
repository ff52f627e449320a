"""Figures of sweeps: scaling laws, groups at equal size, and runs next to one another."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.figures import trace

import n2n
from n2n.sweeps.results import SweepResults
from n2n.sweeps.scaling_laws import AXES
from n2n.utils.statistics import t_interval
from n2n.viz.style import ORACLE
from n2n.viz.sweeps import LABELS

SIZES = np.geomspace(1000, 100_000, 9)


def planted_sweep(exponent: float = 0.5, runs: int = 9, **fields) -> SweepResults:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(runs)], "parameters": SIZES[:runs].round().astype(int)})
    frame["excess_loss"] = 30 * frame["parameters"] ** -exponent * np.exp(0.1 * rng.normal(size=runs))
    common = {"arch": "mamba", "task": "g", "seed": 0, "state": "done", "split": "test", "step": 1, "tokens": 9000}
    frame = frame.assign(**{**common, "flops": 1e9, "excess_standard_error": 0.01, "last": True, **fields})
    frame = frame.assign(low=frame["excess_loss"] - 0.0196, high=frame["excess_loss"] + 0.0196)
    return SweepResults(Path("x"), frame.set_index("run")[["arch", "state", "task"]], frame, pd.DataFrame())


def test_a_scaling_law_has_points_line_band_and_exponent():
    law = n2n.scaling_fits(planted_sweep(), "parameters")
    figure, (fit,) = n2n.viz.scaling_law(law), law.fits
    points, band, line = figure.data
    assert list(points.y[:-1]) == pytest.approx(law.points["excess_loss"].tolist(), abs=1e-6)
    assert points.error_y.array[0] == pytest.approx(0.0196, abs=1e-4)
    assert line.name == f"mamba: exponent {fit.exponent:.2f} (95% {fit.low:.2f} to {fit.high:.2f}, 9 runs)"
    assert list(line.y) == pytest.approx(fit.excess, rel=1e-4)
    assert list(band.y[:40]) == pytest.approx(fit.excess_high, rel=1e-4)
    assert list(band.y[:39:-1]) == pytest.approx(fit.excess_low, rel=1e-4)
    assert figure.layout.title.text == "Excess loss against parameters, after 9,000 tokens"
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")
    assert 10 ** figure.layout.yaxis.range[0] < min(points.y[:-1])
    assert "nats per token" in figure.layout.yaxis.title.text


def test_title_and_legend_count_left_out_runs():
    sweep = planted_sweep()
    sweep.evaluations.loc[0, "excess_loss"] = -0.1
    sweep.evaluations.loc[1, "tokens"] = 50
    title = n2n.viz.scaling_law(n2n.scaling_fits(sweep, "parameters")).layout.title.text
    assert title.endswith("; 1 of 9 runs left out")
    figure = n2n.viz.scaling_law(n2n.scaling_fits(sweep, "parameters"))
    assert "no interval: 7 runs are too few to resample, 8 are needed; 1 not positive, left out" in figure.data[-1].name
    assert len(figure.data) == 2, "points and a line without a band"


def test_without_a_fit_or_a_point_there_is_a_note():
    figure = n2n.viz.scaling_law(n2n.scaling_fits(planted_sweep(runs=2), "parameters"))
    assert figure.data[-1].name == "mamba: no fit: different sizes: 2, needed: 3"
    assert len(figure.data[0].y) == 3, "both points are drawn"
    empty = n2n.viz.scaling_law(n2n.scaling_fits(planted_sweep(excess_loss=-0.1), "parameters"))
    assert empty.layout.annotations[0].text.startswith("no evaluation with a positive excess loss")
    apart = planted_sweep()
    apart.table["arch"] = [f"a{i}" for i in range(9)]
    figure = n2n.viz.equal_size(n2n.at_equal_size(apart))
    assert "no size lies in all ranges" in figure.layout.annotations[0].text.replace("<br>", "")


def test_a_group_without_a_point_has_its_note():
    sweep = planted_sweep()
    sweep.evaluations.loc[8, "tokens"] = 50
    sweep.table.loc["r8", "arch"] = "hawk"
    legend = [line.name for line in n2n.viz.scaling_law(n2n.scaling_fits(sweep, "parameters")).data]
    assert "hawk: no fit: no point after 9,000 tokens, runs: 1 done" in legend
    figure = n2n.viz.equal_size(n2n.at_equal_size(sweep))
    assert figure.layout.title.text.endswith("9,000 tokens; 1 of 9 runs left out; 1 of 2 without a point")
    assert list(figure.layout.yaxis.ticktext) == ["hawk", "mamba"]
    (note,) = figure.layout.annotations
    assert (note.text, note.y) == ("no point after 9,000 tokens, runs: 1 done", 0)
    running = planted_sweep(state="running")
    (note,) = n2n.viz.scaling_law(n2n.scaling_fits(running, "flops")).layout.annotations
    assert "mamba: no fit: no point, runs: 9 running" in note.text.replace(" <br>", " ")


def test_every_axis_has_labels():
    assert set(LABELS) == set(AXES)


def test_the_evaluations_of_a_run_are_joined_by_a_line():
    sweep = planted_sweep()
    twice = pd.concat(
        [sweep.evaluations.assign(step=k, tokens=100 * k, last=k == 2) for k in (1, 2)], ignore_index=True
    )
    figure = n2n.viz.scaling_law(
        n2n.scaling_fits(SweepResults(sweep.path, sweep.table, twice, pd.DataFrame()), "tokens")
    )
    assert list(figure.data[0].x) == [100, 200, None] * 9


def test_equal_size_has_a_dot_for_each_seed_and_the_oracle_s_line():
    sweep = planted_sweep()
    sweep.evaluations.loc[1::2, "seed"] = 1
    comparison = n2n.at_equal_size(sweep)
    figure = n2n.viz.equal_size(comparison)
    dots = trace(figure, "mamba")
    assert list(dots.x) == pytest.approx(comparison.table["excess_loss"].tolist(), abs=1e-6)
    assert len(dots.x) == 2
    assert list(dots.error_x.array) == pytest.approx(
        (comparison.table["high"] - comparison.table["excess_loss"]).tolist(), abs=1e-6
    )
    assert figure.layout.shapes[0].line.color == ORACLE
    assert f"{comparison.parameters:,} parameters" in figure.layout.title.text


def test_runs_side_by_side():
    table = pd.DataFrame(
        {"excess_loss": [0.1, np.nan, 0.2], "excess_standard_error": [0.01, np.nan, 0.02]},
        index=["a", "b", "c"],
    )
    table["low"], table["high"] = t_interval(table["excess_loss"], table["excess_standard_error"], 10)
    figure = n2n.viz.excess_by_run(table)
    runs = trace(figure, "runs")
    assert (list(runs.x), list(runs.y)) == ([0.1, 0.2], ["a", "c"])
    assert list(runs.error_x.array) == pytest.approx([0.0226, 0.0452], abs=1e-4)
    assert "1 without one" in figure.layout.title.text
    for unevaluated in (table.iloc[1:2], pd.DataFrame({"state": ["missing"]})):
        with pytest.raises(ValueError, match="no run of the table was evaluated yet"):
            n2n.viz.excess_by_run(unevaluated)
