"""Figures of comparisons hold the numbers of their tables."""

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
