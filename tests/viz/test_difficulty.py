"""Figures of difficulty hold the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from support.figures import trace

import n2n
from n2n.difficulty.calibration import EqualDifficulty
from n2n.viz.style import ORACLE


def test_the_phase_diagram_marks_log_v_and_the_measured_points():
    grid = n2n.entropy_grid("four_chains", [0.01, 0.1, 1.0], [0.01, 0.3], sequences=4, length=8, seeds=[0, 1])
    figure = n2n.viz.phase_diagram(grid)
    surface, dots = figure.data[0], trace(figure, "measured")
    assert surface.zmax == pytest.approx(np.log(32))
    assert surface.colorbar.ticktext[-1] == "log V = 3.47"
    assert surface.colorbar.title.text == "nats per token"
    for (x, y), (mean, error, *_) in zip(zip(dots.x, dots.y, strict=True), dots.customdata, strict=True):
        (row,) = grid[(grid["alpha_x"] == x) & (grid["alpha_z"] == y)].to_dict("records")
        assert (mean, error) == pytest.approx((row["entropy"], row["standard_error"]), abs=1e-5)
        assert surface.z[list(surface.y).index(y)][list(surface.x).index(x)] == pytest.approx(mean)
    star = trace(figure, "original graph")
    assert (star.x[0], star.y[0]) == (0.01, 0.03)
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")


def test_equal_difficulty_shows_target_intervals_and_fresh_processes():
    table = pd.DataFrame(
        {"alpha given": [0.01], "entropy given": [0.5], "alpha": [0.1], "entropy": [1.49]}, index=["g"]
    )
    table = table.assign(
        standard_error=0.01, low=1.47, high=1.51, fresh=1.6, fresh_standard_error=0.1, fresh_low=1.3, fresh_high=2.0
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


def test_compressed_sizes_and_the_oracle_s_line():
    rows = [
        {"graph": g, "compressor": c, "tokens": t, "samples": 3, "nats": 2 - 0.1 * i}
        for g in ("one", "two")
        for c in ("lzma", "bz2")
        for i, t in enumerate((1000, 4000))
    ]
    table = pd.DataFrame(rows).assign(lowest=1.8, highest=2.1, entropy=1.0, entropy_low=0.98, entropy_high=1.03)
    against, by_tokens = n2n.viz.compression_against_entropy(table), n2n.viz.compression_by_tokens(table)
    diagonal = trace(against, "oracle")
    assert list(diagonal.x) == list(diagonal.y)
    assert trace(against, "two, bz2").y == (1.9,), "only the largest number of tokens"
    errors = trace(against, "two, bz2").error_x
    assert (errors.array[0], errors.arrayminus[0]) == pytest.approx((0.03, 0.02))
    assert "4,000 tokens" in against.layout.title.text
    assert trace(by_tokens, "one, lzma").y == (1.0, 0.9)
    assert by_tokens.layout.shapes[0].y0 == 0.0
    assert trace(by_tokens, "one, lzma").error_y.arrayminus[0] == pytest.approx(0.2)


def test_losses_are_drawn_with_their_differences():
    table = pd.DataFrame({"loss": [3.0, 2.0, 1.5, 1.0], "half": [0, 0, 0, 0.1]}, index=["a", "b", "c", "oracle"])
    bars, dots = n2n.viz.draw_losses(table).data
    assert list(bars.x) == [0.0, 1.0, 0.5, 0.5]
    assert list(bars.base) == list(dots.x) == [3.0, 2.0, 1.5, 1.0]
    assert list(dots.error_x.array) == [0, 0, 0, 0.1]
    assert dots.y[3] == "oracle<br><b>1.000 ± 0.100</b>"
    assert [colour == n2n.viz.style.ORACLE for colour in dots.marker.color] == [False, False, False, True]
