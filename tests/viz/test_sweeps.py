"""What the figures of difficulty and of scaling hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.difficulty.calibration import EqualDifficulty
from n2n.sweeps.results import SweepResults
from n2n.sweeps.scaling_laws import AXES
from n2n.viz.style import ORACLE
from n2n.viz.sweeps import LABELS

SIZES = np.geomspace(1000, 100_000, 9)


def trace(figure, name: str):
    (found,) = (trace for trace in figure.data if trace.name and trace.name.startswith(name))
    return found


def swept(exponent: float = 0.5, runs: int = 9, **fields) -> SweepResults:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(runs)], "parameters": SIZES[:runs].round().astype(int)})
    frame["excess_loss"] = 30 * frame["parameters"] ** -exponent * np.exp(0.1 * rng.normal(size=runs))
    common = {"arch": "mamba", "task": "g", "seed": 0, "state": "done", "split": "test", "step": 1, "tokens": 9000}
    frame = frame.assign(**{**common, "flops": 1e9, "excess_standard_error": 0.01, "last": True, **fields})
    frame = frame.assign(low=frame["excess_loss"] - 0.0196, high=frame["excess_loss"] + 0.0196)
    return SweepResults(Path("x"), frame.set_index("run")[["arch", "state", "task"]], frame, pd.DataFrame())


def test_the_phase_diagram_marks_log_v_and_what_was_measured():
    grid = n2n.entropy_grid("four_chains", [0.01, 0.1, 1.0], [0.01, 0.3], sequences=4, length=8, seeds=[0, 1])
    figure = n2n.viz.phase_diagram(grid)
    surface, dots = figure.data[0], trace(figure, "measured")
    assert surface.zmax == pytest.approx(np.log(32))
    assert surface.colorbar.ticktext[-1] == "log V = 3.47"
    assert surface.colorbar.title.text == "nats per token"
    for (x, y), (mean, error, *_) in zip(zip(dots.x, dots.y, strict=True), dots.customdata, strict=True):
        (row,) = grid[(grid["alpha_x"] == x) & (grid["alpha_z"] == y)].to_dict("records")
        assert (mean, error) == pytest.approx((row["entropy"], row["standard_error"]), abs=1e-5)
        place = list(surface.y).index(y), list(surface.x).index(x)
        assert surface.z[place[0]][place[1]] == pytest.approx(mean)
    star = trace(figure, "original graph")
    assert (star.x[0], star.y[0]) == (0.01, 0.03)
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")


def test_equal_difficulty_shows_target_intervals_and_fresh_processes():
    table = pd.DataFrame(
        {"alpha given": [0.01], "entropy given": [0.5], "alpha": [0.1], "entropy": [1.49]}, index=["g"]
    )
    table = table.assign(
        standard_error=0.01, low=1.47, high=1.51, fresh=1.6, fresh_se=0.1, fresh_low=1.3, fresh_high=2.0
    )
    processes = pd.DataFrame({"graph": "g", "seed": [4, 5], "entropy": [1.5, 1.7], "standard_error": 0.01})
    figure = n2n.viz.equal_difficulty(EqualDifficulty(1.5, table, processes, 4))
    assert figure.layout.shapes[0].x0 == 1.5
    assert list(trace(figure, "calibrated").error_x.array) == pytest.approx([0.02])
    assert list(trace(figure, "fresh").x) == [1.5, 1.7]
    mean = trace(figure, "their mean, 95% over processes")
    assert (mean.x[0], mean.error_x.array[0], mean.error_x.arrayminus[0]) == pytest.approx((1.6, 0.4, 0.3))
    assert "nats per token" in figure.layout.xaxis.title.text
    assert all(line.line.color != ORACLE for line in figure.data)


def test_compressors_lie_above_the_oracle_s_line():
    rows = [
        {
            "graph": g,
            "compressor": c,
            "tokens": t,
            "samples": 3,
            "nats": 2 - 0.1 * i,
            "entropy": 1.0,
            "entropy_se": 0.01,
        }
        for g in ("one", "two")
        for c in ("lzma", "bz2")
        for i, t in enumerate((1000, 4000))
    ]
    table = pd.DataFrame(rows).assign(lowest=1.8, highest=2.1, entropy=1.0, entropy_se=0.01)
    against, by_tokens = n2n.viz.compression_against_entropy(table), n2n.viz.compression_by_tokens(table)
    diagonal = trace(against, "oracle")
    assert list(diagonal.x) == list(diagonal.y)
    assert trace(against, "two, bz2").y == (1.9,), "at the most tokens alone"
    assert "4,000 tokens" in against.layout.title.text
    assert trace(by_tokens, "one, lzma").y == (1.0, 0.9)
    assert by_tokens.layout.shapes[0].y0 == 0.0
    assert trace(by_tokens, "one, lzma").error_y.arrayminus[0] == pytest.approx(0.2)


def test_a_scaling_law_s_figure_has_points_line_band_and_exponent():
    law = n2n.scaling_fits(swept(), "parameters")
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


def test_what_is_left_out_is_in_the_title_and_the_legend():
    sweep = swept()
    sweep.evaluations.loc[0, "excess_loss"] = -0.1
    sweep.evaluations.loc[1, "tokens"] = 50
    title = n2n.viz.scaling_law(n2n.scaling_fits(sweep, "parameters")).layout.title.text
    assert title.endswith("; 1 of 9 runs left out")
    figure = n2n.viz.scaling_law(n2n.scaling_fits(sweep, "parameters"))
    assert "no interval: 7 runs are too few to resample, 8 are needed; 1 not positive, left out" in figure.data[-1].name
    assert len(figure.data) == 2, "points and a line, no band"


def test_without_a_fit_or_a_point_there_is_a_sentence():
    figure = n2n.viz.scaling_law(n2n.scaling_fits(swept(runs=2), "parameters"))
    assert figure.data[-1].name == "mamba: no fit: different sizes: 2, needed: 3"
    assert len(figure.data[0].y) == 3, "both points are drawn"
    nothing = n2n.viz.scaling_law(n2n.scaling_fits(swept(excess_loss=-0.1), "parameters"))
    assert nothing.layout.annotations[0].text.startswith("no evaluation with a positive excess loss")
    apart = swept()
    apart.table["arch"] = [f"a{i}" for i in range(9)]
    found = n2n.viz.equal_size(n2n.at_equal_size(apart))
    assert "no size lies in all ranges" in found.layout.annotations[0].text.replace("<br>", "")


def test_a_group_without_a_run_is_named_with_its_note():
    sweep = swept()
    sweep.evaluations.loc[8, "tokens"] = 50
    sweep.table.loc["r8", "arch"] = "hawk"
    legend = [line.name for line in n2n.viz.scaling_law(n2n.scaling_fits(sweep, "parameters")).data]
    assert "hawk: no fit: no point after 9,000 tokens, runs: 1 done" in legend
    figure = n2n.viz.equal_size(n2n.at_equal_size(sweep))
    assert figure.layout.title.text.endswith("9,000 tokens; 1 of 9 runs left out; 1 of 2 without a point")
    assert list(figure.layout.yaxis.ticktext) == ["hawk", "mamba"]
    (note,) = figure.layout.annotations
    assert (note.text, note.y) == ("no point after 9,000 tokens, runs: 1 done", 0)
    running = swept(state="running")
    (said,) = n2n.viz.scaling_law(n2n.scaling_fits(running, "flops")).layout.annotations
    assert "mamba: no fit: no point, runs: 9 running" in said.text.replace(" <br>", " ")


def test_every_axis_has_its_names():
    assert set(LABELS) == set(AXES)


def test_the_evaluations_of_a_run_are_joined_against_data():
    sweep = swept()
    twice = pd.concat(
        [sweep.evaluations.assign(step=k, tokens=100 * k, last=k == 2) for k in (1, 2)], ignore_index=True
    )
    figure = n2n.viz.scaling_law(
        n2n.scaling_fits(SweepResults(sweep.path, sweep.table, twice, pd.DataFrame()), "tokens")
    )
    assert list(figure.data[0].x) == [100, 200, None] * 9


def test_equal_size_shows_a_dot_a_seed_beside_the_oracle():
    sweep = swept()
    sweep.evaluations.loc[1::2, "seed"] = 1
    found = n2n.at_equal_size(sweep)
    figure = n2n.viz.equal_size(found)
    dots = trace(figure, "mamba")
    assert list(dots.x) == pytest.approx(found.table["excess_loss"].tolist(), abs=1e-6)
    assert len(dots.x) == 2
    assert list(dots.error_x.array) == pytest.approx(
        (found.table["high"] - found.table["excess_loss"]).tolist(), abs=1e-6
    )
    assert figure.layout.shapes[0].line.color == ORACLE
    assert f"{found.parameters:,} parameters" in figure.layout.title.text
