"""The reader of a point's files: missing and damaged files, and files that are read only once."""

import json

import pytest

from n2n.monitor.rows import append_row
from n2n.runs.point import PointReader


def test_a_point_without_files_is_missing(tmp_path):
    point = PointReader(tmp_path / "nowhere", {"seed": 1})
    assert (point.state, point.parameters) == ("missing", {"seed": 1})
    assert (point.job, point.status, point.run_config, point.last_metrics, point.evaluations) == ({}, {}, {}, {}, [])
    assert (point.damage, point.error) == ("", "")


def test_the_error_of_the_run_comes_before_that_of_its_job(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({"state": "failed", "error": "of the job"}))
    assert (PointReader(tmp_path).state, PointReader(tmp_path).error) == ("failed", "of the job")
    (tmp_path / "status.json").write_text(json.dumps({"state": "preempted", "error": "of the run"}))
    assert (PointReader(tmp_path).state, PointReader(tmp_path).error) == ("preempted", "of the run")


@pytest.mark.parametrize("name", ["job", "status", "config"])
def test_a_damaged_file_counts_as_empty_and_is_reported(tmp_path, name):
    (tmp_path / f"{name}.json").write_text("[]")
    point = PointReader(tmp_path)
    assert getattr(point, name) == {}
    assert point.damage == f"damaged: {name}.json: saw a value of type list; an object is needed"
    assert point.error == point.damage


def test_a_damaged_evaluation_is_reported(tmp_path):
    append_row(tmp_path / "evals.jsonl", {"step": 1, "excess_loss": 0.5})
    with open(tmp_path / "evals.jsonl", "a") as file:
        file.write("garbage\n")
    point = PointReader(tmp_path)
    assert point.evaluations == []
    assert point.damage.startswith("damaged: evals.jsonl: line 2: 'garbage' is no row")


def test_a_configuration_without_a_graph_is_damage(tmp_path):
    (tmp_path / "config.json").write_text('{"steps": 3}')
    point = PointReader(tmp_path)
    assert (point.config, point.run_config) == ({"steps": 3}, {})
    assert point.damage == "damaged: config.json: it holds no configuration of a run"


def test_a_number_that_is_none_is_damage(tmp_path):
    point = PointReader(tmp_path)
    fields = {"step": 3, "steps": "many", "done": True}
    numbers = [point.number(tmp_path / "status.json", fields, name) for name in ("step", "steps", "done", "lr")]
    assert numbers == [3, None, None, None]
    assert point.damage == "damaged: status.json: steps: saw 'many'; a number is needed"


def test_each_file_is_read_once(tmp_path):
    (tmp_path / "job.json").write_text('{"state": "running"}')
    point = PointReader(tmp_path)
    assert point.job == {"state": "running"}
    (tmp_path / "job.json").write_text('{"state": "done"}')
    assert point.state == "running"
