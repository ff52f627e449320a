"""Figures of comparisons and probes hold the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.viz import style


def named(figure, name: str) -> list:
    return [trace for trace in figure.data if trace.name == name]


def excess(**columns) -> pd.DataFrame:
    table = pd.DataFrame(columns)
    return table.assign(low=table["excess_loss"] - 0.01, high=table["excess_loss"] + 0.02, tokens=[10] * len(table))


TWO = {"model": ["a", "a", "b", "b"], "excess_loss": [0.1, 0.2, 0.3, 0.4]}


def test_excess_along_has_a_line_and_a_band_for_each_model():
    figure = n2n.viz.excess_along(excess(**TWO, position=[1, 2, 1, 2]), "position", "position t", "title")
    (line,) = named(figure, "b")
    assert (list(line.x), list(line.y)) == ([1, 2], [0.3, 0.4])
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert list(bands[1].y) == pytest.approx([0.32, 0.42, 0.39, 0.29])
    assert figure.layout.shapes[0].y0 == 0.0
    assert figure.layout.shapes[0].line.color == named(figure, "oracle")[0].line.color == style.ORACLE
    assert figure.layout.yaxis.title.text == "excess loss, nats per token"


def test_states_are_told_with_their_share():
    figure = n2n.viz.excess_by_state(excess(**TWO, state=[0, 2, 0, 2]), "Z1", "title")
    assert list(figure.layout.xaxis.ticktext) == ["0<br>50.0%", "2<br>50.0%"]
    (dots,) = named(figure, "a")
    assert list(dots.y) == [0.1, 0.2]
    assert list(dots.error_y.array) == pytest.approx([0.02, 0.02])
    assert list(dots.error_y.arrayminus) == pytest.approx([0.01, 0.01])


def test_ngrams_and_models_share_an_axis():
    table = excess(predictor=["n-gram", "n-gram", "mamba"], order=[1, 2, None], excess_loss=[0.5, 0.2, 0.05])
    figure = n2n.viz.excess_against_ngrams(table.astype({"order": "Int64"}), "title")
    assert list(named(figure, "n-gram, fitted")[0].y) == [0.5, 0.2]
    assert list(named(figure, "mamba")[0].y) == [0.05, 0.05]
    assert figure.layout.yaxis.type == "log"


def test_what_has_no_logarithm_is_named():
    table = excess(predictor=["n-gram", "near", "there"], order=[1, None, None], excess_loss=[0.5, 0.004, -0.001])
    figure = n2n.viz.excess_against_ngrams(table.astype({"order": "Int64"}), "title")
    assert figure.layout.title.text == "title; there at -0.0010"
    assert named(figure, "there") == []
    (band,) = (trace for trace in figure.data if trace.fill == "toself")
    assert min(band.y) == pytest.approx(0.002), "the lower end, -0.006, at the foot"


def test_reliability_shows_what_never_came_by_its_bound():
    table = pd.DataFrame({"model": ["m", "m", "oracle"], "predicted": [0.01, 0.5, 0.5], "observed": [0.0, 0.6, 0.5]})
    figure = n2n.viz.reliability_diagram(table.assign(low=0.1, high=0.7), "title")
    assert list(named(figure, "m")[0].x) == [0.5]
    (never,) = (trace for trace in figure.data if trace.mode == "markers" and trace.x)
    assert (list(never.x), list(never.y)) == ([0.01], [0.7])
    assert named(figure, "oracle")[0].line.color == style.ORACLE


def probed() -> pd.DataFrame:
    rows = [("trained", 0, 0.5), ("trained", 1, 0.9), ("mean field", None, 0.8), ("constant", None, 0.0)]
    table = pd.DataFrame(rows, columns=["source", "layer", "r2"]).astype({"layer": "Int64"})
    table = pd.concat([table.assign(latent=latent) for latent in ("Z1", "Z2")])
    return table.assign(
        r2_low=table["r2"] - 0.1, r2_high=table["r2"] + 0.1, kl=1 - table["r2"], kl_low=0.0, kl_high=1.0
    )


def test_probe_curves_have_a_panel_for_each_latent():
    figure = n2n.viz.probe_curves(probed(), "r2")
    assert [note.text for note in figure.layout.annotations] == ["Z1", "Z2"]
    assert [list(trace.y) for trace in named(figure, "trained")] == [[0.5, 0.9]] * 2
    assert [list(trace.y) for trace in named(figure, "mean field")] == [[0.8, 0.8]] * 2  # a level over all layers
    assert [list(trace.y) for trace in named(figure, "the belief itself")] == [[1, 1]] * 2
    assert list(figure.layout.xaxis.ticktext) == ["embedding", "block 1"]
    assert list(named(n2n.viz.probe_curves(probed(), "kl"), "trained")[0].y) == [0.5, 0.1]
    with pytest.raises(ValueError, match=r"saw the sources \['mean field', 'constant'\], none of several layers"):
        n2n.viz.probe_curves(probed().query("layer.isna()"), "r2")
    with pytest.raises(ValueError, match="unknown measure 'R2'; did you mean 'r2'"):
        n2n.viz.probe_curves(probed(), "R2")


def test_the_simplex_s_corners_are_certain_beliefs():
    corners = np.eye(3)
    figure = n2n.viz.belief_simplex(corners, 2 * corners, "title")
    truth, image = (trace for trace in figure.data if trace.mode == "markers")
    assert (*truth.x, *truth.y) == pytest.approx((0, 1, 0.5, 0, 0, 0.866), abs=1e-3)
    assert list(image.x) == [0, 2, 1]
    assert list(truth.marker.color) == list(image.marker.color) == ["#0072b2", "#e69f00", "#009e73"]
    with pytest.raises(ValueError, match=r"saw shapes \(3, 2\) and \(3, 2\)"):
        n2n.viz.belief_simplex(corners[:, :2], corners[:, :2])


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.1."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#111111"])
def test_text_and_the_oracle_are_seen_on_a_light_and_a_dark_page(page):
    assert contrast(style.TEXT, page) > 4.2
    assert contrast(style.ORACLE, page) > 3.0
    assert all(contrast(colour, page) > 2.0 for colour in style.COLOURS)
    assert style.TEMPLATE.layout.paper_bgcolor == style.TEMPLATE.layout.plot_bgcolor == style.CLEAR


def test_many_lines_are_told_apart():
    looks = [(line["color"], line["dash"]) for line in style.lines(20)]
    assert len(set(looks)) == 20
    assert style.ORACLE not in {colour for colour, _ in looks}


def test_a_matrix_is_reduced_and_says_so():
    matrix = np.arange(12.0).reshape(6, 2)
    small, (rows, columns), told = style.reduced(matrix, max_cells=3)
    np.testing.assert_array_equal(small, [[1, 2], [5, 6], [9, 10]])
    assert (rows.tolist(), columns.tolist(), told) == ([0.5, 2.5, 4.5], [0, 1], "6 rows averaged to 3")
    same, _, nothing = style.reduced(matrix)
    assert nothing == ""
    np.testing.assert_array_equal(same, matrix)
