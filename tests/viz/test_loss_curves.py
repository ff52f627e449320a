"""Figures of losses hold the numbers of their runs."""

import json

import numpy as np
import pytest

import n2n
from n2n.utils.statistics import student_quantile


@pytest.fixture
def run(small) -> n2n.Run:
    return n2n.train(small(steps=12))


def the_trace(figure, name: str):
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace


def test_the_learning_curve_shows_the_run(run):
    figure = n2n.viz.learning_curve(run)
    rows = run.metrics
    assert list(the_trace(figure, "transformer").y) == rows["loss"].tolist()
    assert list(the_trace(figure, "oracle").y) == rows["oracle_nll"].tolist()
    assert list(the_trace(figure, "oracle").x) == rows["step"].tolist()
    assert {note.text: note.y for note in figure.layout.annotations} == {
        name: run.evaluation[name] for name in ("unigram", "bigram")
    }
    assert figure.layout.yaxis.title.text == "loss, nats per token"


def test_an_unfinished_run_has_its_curve(run):
    (run.path / "evals.jsonl").unlink()
    figure = n2n.viz.learning_curve(run)
    assert list(the_trace(figure, "oracle").y) == run.metrics["oracle_nll"].tolist()
    assert not figure.layout.annotations
    (run.path / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="has no logged step yet; its state is 'done'"):
        n2n.viz.learning_curve(run)


def test_excess_by_position_shows_mean_and_band(run):
    figure = n2n.viz.excess_by_position(run)
    found = run.evaluation
    line, band = the_trace(figure, "transformer"), figure.data[0]
    assert list(line.x) == list(range(1, 12))
    assert list(line.y) == found["excess_by_position"]
    upper = np.array(band.y[:11]) - np.array(line.y)
    assert upper == pytest.approx(
        student_quantile(found["sequences"] - 1) * np.array(found["excess_standard_error_by_position"]), rel=1e-4
    )
    assert figure.layout.shapes[0].y0 == 0.0  # the oracle's line
    assert "nats per token" in figure.layout.yaxis.title.text


def test_figures_are_plain_json(run):
    for figure in (n2n.viz.learning_curve(run), n2n.viz.excess_by_position(run)):
        json.loads(figure.to_json())
