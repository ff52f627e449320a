"""Loss curves hold the numbers of their runs."""

import json

import numpy as np
import pytest
from support.figures import trace

import n2n
from n2n.utils.statistics import student_quantile


def test_the_learning_curve_holds_the_run_s_metrics(run):
    figure = n2n.viz.learning_curve(run)
    rows = run.metrics
    assert list(trace(figure, "transformer").y) == rows["loss"].tolist()
    assert list(trace(figure, "oracle").y) == rows["oracle_nll"].tolist()
    assert list(trace(figure, "oracle").x) == rows["step"].tolist()
    assert {note.text: note.y for note in figure.layout.annotations} == {
        name: run.evaluation[name] for name in ("unigram", "bigram")
    }
    assert figure.layout.yaxis.title.text == "loss, nats per token"


def test_a_run_without_an_evaluation_has_a_curve(run):
    (run.path / "evals.jsonl").unlink()
    figure = n2n.viz.learning_curve(run)
    assert list(trace(figure, "oracle").y) == run.metrics["oracle_nll"].tolist()
    assert not figure.layout.annotations
    (run.path / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="has no logged step yet; its state is 'done'"):
        n2n.viz.learning_curve(run)


def test_excess_by_position_in_context_is_over_both_oracles(small):
    graph = n2n.Graph([n2n.Node("X", 3, observed=True, recurrent=True, mode="context", alpha=1.0)])
    run = n2n.train(small(graph=graph))
    figure, evaluation = n2n.viz.excess_by_position(run), run.evaluation
    known, learned = (trace(figure, f"over the oracle that {does}") for does in ("knows the kernels", "learns them"))
    assert list(known.y) == evaluation["excess_by_position"]
    assert list(learned.y) == evaluation["in_context_excess_by_position"]


def test_excess_by_position_has_mean_and_band(run):
    figure = n2n.viz.excess_by_position(run)
    evaluation = run.evaluation
    line, band = trace(figure, "transformer"), figure.data[0]
    assert list(line.x) == list(range(1, 12))
    assert list(line.y) == evaluation["excess_by_position"]
    upper = np.array(band.y[:11]) - np.array(line.y)
    assert upper == pytest.approx(
        student_quantile(evaluation["sequences"] - 1) * np.array(evaluation["excess_standard_error_by_position"]),
        rel=1e-4,
    )
    assert figure.layout.shapes[0].y0 == 0.0  # the oracle's line
    assert "nats per token" in figure.layout.yaxis.title.text


def test_figures_are_plain_json(run):
    for figure in (n2n.viz.learning_curve(run), n2n.viz.excess_by_position(run)):
        json.loads(figure.to_json())


def test_a_learning_curve_of_several_runs(small, tmp_path):
    paths = {"a": {"seed": 0}, "b": {"seed": 1}, "c": {"arch": "mamba"}, "d": {"process_seed": 1}}
    runs = {name: n2n.train(small(**fields, run_dir=tmp_path / name)) for name, fields in paths.items()}
    lines = {line.name: line for line in n2n.viz.learning_curve([runs["a"], runs["b"], runs["c"]]).data}
    assert set(lines) == {"a", "b", "mamba", "oracle"}, "the three runs have the same batches"
    for name, run in (("a", runs["a"]), ("b", runs["b"]), ("mamba", runs["c"])):
        assert list(lines[name].y) == run.metrics["loss"].tolist()
    assert list(lines["oracle"].y) == runs["a"].metrics["oracle_nll"].tolist()
    names = {line.name for line in n2n.viz.learning_curve([runs["a"], runs["d"]]).data}
    assert names == {"a", "oracle, a", "d", "oracle, d"}
    assert n2n.viz.learning_curve([runs["a"]]) == n2n.viz.learning_curve(runs["a"])
    for value in ([], "a", [runs["a"], "b"], None):
        with pytest.raises(ValueError, match="a Run or a list of runs is needed"):
            n2n.viz.learning_curve(value)
