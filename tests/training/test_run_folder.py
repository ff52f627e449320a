"""The content of a run's folder is checked before it is used."""

import json
import re
import shutil
import warnings
from pathlib import Path

import pytest
from support.run_folders import assert_same_run, config, contents

import n2n
from n2n.monitor import checkpoint
from n2n.monitor.rows import append_row, read_rows
from n2n.training import learner

STEPS = 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> n2n.Run:
    return n2n.train(config(steps=STEPS, run_dir=tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture
def run(whole, tmp_path) -> n2n.Run:
    """A finished run that may be damaged."""
    return n2n.Run(shutil.copytree(whole.path, tmp_path / "run"))


def train_again(run: n2n.Run, text: str, **fields) -> n2n.Run:
    """Train again in the folder, and check that a warning contains a text and that the log has all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resumed = n2n.train(config(steps=STEPS, run_dir=run.path, **fields))
    lines = [str(warning.message) for warning in caught]
    log = (run.path / "logs" / "rank0.log").read_text()
    assert any(text in line for line in lines), lines
    assert all(line in log for line in lines)
    assert resumed.status["state"] == "done"
    return resumed


def flip(path: Path, line: int) -> bytes:
    """Flip one bit of a line, and return the changed line."""
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = bytearray(lines[line])
    damaged[len(damaged) // 2] ^= 1
    lines[line] = bytes(damaged)
    path.write_bytes(b"".join(lines))
    return lines[line]


def resumed_at(run: n2n.Run) -> int:
    """The step from which the run last resumed."""
    return int(re.findall(r"from step (\d+)", (run.path / "logs" / "rank0.log").read_text())[-1])


def test_a_copied_checkpoint_is_not_used_for_another_step(whole, tmp_path):
    folder = tmp_path / "run"
    run = n2n.train(config(steps=10, run_dir=folder))
    shutil.copytree(folder / "checkpoints" / "step_00000010", folder / "checkpoints" / "step_00000020")
    with pytest.raises(ValueError, match=r"damaged checkpoint .*step_00000020: manifest.json is of step 10"):
        run.model(20)
    resumed = train_again(run, "manifest.json is of step 10; it is passed over")
    assert resumed.metrics["step"].tolist() == [*range(0, 10, 2), 9, *range(10, 20, 2), 19]
    assert not resumed.model(20).state_dict()["head.weight"].equal(resumed.model(10).state_dict()["head.weight"])
    assert (folder / "checkpoints" / "aside_step_00000020").is_dir()


def test_a_copied_checkpoint_does_not_make_a_run_longer(tmp_path):
    run = n2n.train(config(steps=10, run_dir=tmp_path / "run"))
    shutil.copytree(run.path / "checkpoints" / "step_00000010", run.path / "checkpoints" / "step_00000020")
    with pytest.warns(UserWarning, match="is of step 10"):
        assert n2n.train(config(steps=10, run_dir=run.path)).status["step"] == 10


OTHERS = {
    "rate": {"lr": 0.5},
    "seed": {"seed": 1},
    "schedule": {"schedule": "constant"},
    "process": {"process_seed": 3},
    "model": {"arch": "mingru"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_checkpoints_of_another_run_are_not_used(whole, run, tmp_path, other):
    foreign = n2n.train(config(**OTHERS[other], steps=STEPS, run_dir=tmp_path / "other")).path / "checkpoints"
    for step in ("step_00000015", "step_00000020"):
        shutil.rmtree(run.path / "checkpoints" / step)
        shutil.copytree(foreign / step, run.path / "checkpoints" / step)
    with pytest.raises(ValueError, match="of another run"):
        run.model()
    with pytest.raises(ValueError, match="of another run"):
        n2n.evaluate(run)
    before = contents(foreign / "step_00000020")
    assert_same_run(whole, train_again(run, "it is of another run, with another configuration; it is passed over"))
    assert resumed_at(run) == 10
    assert contents(run.path / "checkpoints" / "aside_step_00000020") == before, "nothing is lost"


def test_with_only_foreign_checkpoints_a_run_starts_again(whole, run, tmp_path):
    foreign = n2n.train(config(lr=0.5, steps=STEPS, run_dir=tmp_path / "other")).path / "checkpoints"
    shutil.rmtree(run.path / "checkpoints")
    shutil.copytree(foreign, run.path / "checkpoints")
    assert_same_run(whole, train_again(run, "it is of another run"))
    assert len(list((run.path / "checkpoints").glob("aside_*"))) == 4


@pytest.mark.parametrize("name", ["metrics.jsonl", "evals.jsonl"])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_foreign_line_is_set_aside(whole, run, monkeypatch, name, place):
    lines = (run.path / name).read_bytes().splitlines(keepends=True)
    lines.insert(place if place >= 0 else len(lines), b"garbage\n")
    (run.path / name).write_bytes(b"".join(lines))
    number = lines.index(b"garbage\n") + 1
    with pytest.raises(ValueError, match=rf"{name}, line {number}: 'garbage' is no row"):
        _ = (run.metrics, run.evaluations)
    monkeypatch.setattr(learner, "update", None)  # no step is trained again
    resumed = train_again(run, f"{name}: damaged at line {number}; moved to {name}.damaged")
    assert_same_run(whole, resumed)
    assert (run.path / f"{name}.damaged").read_bytes() == b"garbage\n"
    assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize(("name", "line", "start"), [("metrics.jsonl", 0, 0), ("metrics.jsonl", 7, 10)])
def test_a_damaged_row_of_metrics_is_made_again(whole, run, name, line, start):
    damaged = flip(run.path / name, line)
    assert_same_run(whole, train_again(run, f"rows of {name} that it counts on are damaged or missing"))
    assert resumed_at(run) == start
    assert (run.path / f"{name}.damaged").read_bytes() == damaged


def test_a_damaged_evaluation_is_made_again(whole, run):
    (run.path / "evals.jsonl").write_bytes((whole.path / "evals.jsonl").read_bytes())
    damaged = flip(run.path / "evals.jsonl", -1)
    with pytest.raises(ValueError, match=r"evals.jsonl, line \d: .* is no row as it was written"):
        _ = run.evaluation
    assert_same_run(whole, train_again(run, "evals.jsonl: damaged at line"))
    assert (run.path / "evals.jsonl.damaged").read_bytes() == damaged


@pytest.mark.parametrize("name", ["metrics.jsonl", "evals.jsonl"])
@pytest.mark.parametrize("kept", [0, 1])
def test_deleted_rows_are_made_again(whole, run, name, kept):
    lines = (run.path / name).read_bytes().splitlines(keepends=True)
    (run.path / name).write_bytes(b"".join(lines[:kept]))
    assert_same_run(whole, train_again(run, f"rows of {name} that it counts on are damaged or missing"))


def test_evaluations_of_another_run_are_not_used(tmp_path):
    """No checkpoint marks the rows of the last step's evaluation."""
    fields = {"eval_every": None, "steps": 10}
    whole = n2n.train(config(**fields, run_dir=tmp_path / "whole"))
    other = n2n.train(config(**fields, run_dir=tmp_path / "other", lr=0.5))
    run = n2n.Run(shutil.copytree(whole.path, tmp_path / "run"))
    shutil.copy(other.path / "evals.jsonl", run.path / "evals.jsonl")
    assert_same_run(whole, n2n.train(config(**fields, run_dir=run.path)))


def test_rows_after_the_checkpoint_are_silently_made_again(whole, run):
    shutil.rmtree(run.path / "checkpoints" / "step_00000020")
    append_row(run.path / "metrics.jsonl", {"step": 25})
    assert_same_run(whole, n2n.train(config(steps=STEPS, run_dir=run.path)))
    assert read_rows(run.path / "metrics.jsonl")[-1]["step"] == STEPS - 1


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"lr": 0.5}, False),
        ({"seed": 1}, False),
        ({"schedule": "wsd"}, False),
        ({"model_options": {"dropout": 0.1}}, False),
        ({"graph": "two_chains"}, False),
        ({"lr": 1e-2, "batch_size": 4, "model_options": {}}, True),
        ({"steps": 5, "log_every": 1, "device": "auto", "run_dir": "elsewhere", "keep_last": 1}, True),
        ({"graph": n2n.Graph.preset("four_chains").model_copy(update={"name": "mine"})}, True),
    ],
)
def test_identities_are_equal_if_no_field_differs(fields, same):
    one, other = config(), config(**fields)
    assert (one.identity == other.identity) is (not one.differences(other)) is same
    assert n2n.TrainConfig(**dict(reversed(json.loads(other.model_dump_json()).items()))).identity == other.identity


def test_the_path_of_a_dataset_is_not_part_of_the_identity():
    """Checkpoints have the dataset's hash. A run with a dataset still differs from one without."""
    recorded = config().model_dump(mode="json")
    one, other = (n2n.TrainConfig.recorded({**recorded, "data": path}) for path in ("/here/train.npy", "/there/x.npy"))
    assert not one.differences(other)
    assert one.identity == other.identity != config().identity
    assert one.differences(config())


def test_equal_numbers_are_the_same_run():
    one, other = (config(model_options={"dropout": value}) for value in (0, 0.0))
    assert not one.differences(other)
    assert one.identity == other.identity


def test_a_checkpoint_that_lacks_something_is_refused(run):
    checkpoint.save(run.path / "checkpoints", 20, {"model": {}}, run.config.identity, checkpoint_marks(run))
    before = contents(run.path)
    with pytest.raises(ValueError, match="lacks data, kernels, optimizer"):
        n2n.train(config(steps=STEPS, run_dir=run.path))
    assert contents(run.path) == before


def checkpoint_marks(run: n2n.Run) -> dict:
    return json.loads((run.path / "checkpoints" / "step_00000020" / "manifest.json").read_text())["rows"]


@pytest.mark.parametrize("content", ["[]", "3", "", '{"graph"', '{"a": 1}'])
def test_a_foreign_config_is_refused_by_its_path(small, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json is no configuration of a run"):
        n2n.train(small(run_dir=str(tmp_path)))
    assert (tmp_path / "config.json").read_text() == content


def test_folders_with_other_files_are_refused(small, tmp_path):
    (tmp_path / "thesis.tex").write_text("the only copy")
    with pytest.raises(ValueError, match=r"holds 'thesis.tex' but no run"):
        n2n.train(small(run_dir=str(tmp_path)))
    with pytest.raises(ValueError, match="is a file; a folder is needed"):
        n2n.train(small(run_dir=str(tmp_path / "thesis.tex")))
    with pytest.raises(ValueError, match=r"thesis.tex is a file; a folder is needed"):
        n2n.train(small(run_dir=str(tmp_path / "thesis.tex" / "run")))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_notebook_may_lie_in_the_folder_before_its_run(small, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notebook.ipynb").write_text("{}")
    assert n2n.train(small(run_dir=str(tmp_path / "run"))).status["state"] == "done"


def test_runs_without_a_folder_get_new_ones(small):
    first, second = n2n.train(small()), n2n.train(small())
    assert first.path != second.path
    assert first.path.parent == n2n.runs.root()
    assert "four_chains-transformer-s0" in first.path.name
    assert_same_run(first, second)
