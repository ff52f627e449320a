"""Figures of comparisons hold the numbers of their tables."""

import pandas as pd
import pytest
from support.figures import excess_table, traces

import n2n
from n2n.viz import style

TWO = {"model": ["a", "a", "b", "b"], "excess_loss": [0.1, 0.2, 0.3, 0.4]}


def test_excess_along_has_a_line_and_a_band_for_each_model():
    figure = n2n.viz.excess_along(excess_table(**TWO, position=[1, 2, 1, 2]), "position", "position t", "title")
    (line,) = traces(figure, "b")
    assert (list(line.x), list(line.y)) == ([1, 2], [0.3, 0.4])
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert list(bands[1].y) == pytest.approx([0.32, 0.42, 0.39, 0.29])
    assert figure.layout.shapes[0].y0 == 0.0
    assert figure.layout.shapes[0].line.color == traces(figure, "oracle")[0].line.color == style.ORACLE
    assert figure.layout.yaxis.title.text == "excess loss, nats per token"


def test_states_are_labelled_with_their_share():
    figure = n2n.viz.excess_by_state(excess_table(**TWO, state=[0, 2, 0, 2]), "Z1", "title")
    assert list(figure.layout.xaxis.ticktext) == ["0<br>50.0%", "2<br>50.0%"]
    (dots,) = traces(figure, "a")
    assert list(dots.y) == [0.1, 0.2]
    assert list(dots.error_y.array) == pytest.approx([0.02, 0.02])
    assert list(dots.error_y.arrayminus) == pytest.approx([0.01, 0.01])


def test_ngrams_and_models_share_an_axis():
    table = excess_table(predictor=["n-gram", "n-gram", "mamba"], order=[1, 2, None], excess_loss=[0.5, 0.2, 0.05])
    table = table.assign(fitted_on=[3000, 3000, None]).astype({"order": "Int64", "fitted_on": "Int64"})
    figure = n2n.viz.excess_against_ngrams(table, "title")
    assert list(traces(figure, "n-gram, fitted on 3,000 sequences")[0].y) == [0.5, 0.2]
    own = n2n.viz.excess_against_ngrams(table.assign(fitted_on=pd.NA), "title")
    assert list(traces(own, "n-gram of each sequence's own tokens")[0].y) == [0.5, 0.2]
    assert list(traces(figure, "mamba")[0].y) == [0.05, 0.05]
    assert figure.layout.yaxis.type == "log"


def test_losses_that_are_not_positive_are_in_the_title():
    table = excess_table(
        predictor=["n-gram", "small", "negative"], order=[1, None, None], excess_loss=[0.5, 0.004, -0.001]
    )
    table = table.assign(fitted_on=pd.NA).astype({"order": "Int64"})
    figure = n2n.viz.excess_against_ngrams(table, "title")
    assert figure.layout.title.text == "title; negative at -0.0010"
    assert traces(figure, "negative") == []
    (band,) = (trace for trace in figure.data if trace.fill == "toself")
    assert min(band.y) == pytest.approx(0.002), "the lower end, -0.006, is drawn at the foot"


def test_reliability_draws_the_upper_end_where_nothing_was_observed():
    table = pd.DataFrame({"model": ["m", "m", "oracle"], "predicted": [0.01, 0.5, 0.5], "observed": [0.0, 0.6, 0.5]})
    figure = n2n.viz.reliability_diagram(table.assign(low=0.1, high=0.7), "title")
    assert list(traces(figure, "m")[0].x) == [0.5]
    (marker,) = (trace for trace in figure.data if trace.mode == "markers" and trace.x)
    assert (list(marker.x), list(marker.y)) == ([0.01], [0.7])
    assert traces(figure, "oracle")[0].line.color == style.ORACLE
