"""The table of a sweep with damaged files: the point's row has the error, and all other rows are complete."""

import json
from pathlib import Path

import pytest
from support.small_notebook import trivial

import n2n
from n2n import launch
from n2n.launch import point_states, slurm
from n2n.launch.clusters import CLUSTERS, Debug
from n2n.launch.command import main
from n2n.launch.point_states import COLUMNS
from n2n.launch.slurm import Live
from n2n.monitor.rows import append_row

POINTS = ("seed=0", "seed=1", "seed=2")
BAD = "seed=1"
CONFIG = {"steps": 100, "batch_size": 4, "seq_len": 8}
METRICS = {"step": 49, "excess_loss": 0.5, "tokens_per_second": 160.0}
JOB = {"state": "running", "job_id": "7", "error": None}


@pytest.fixture
def folder(monkeypatch) -> Path:
    """A sweep of three running points, each saved at step 40 and logged up to step 50 of 100."""
    monkeypatch.setattr(Debug, "live", lambda self, sweep: dict.fromkeys(POINTS, Live(True, "1:00")))
    folder = n2n.runs.root() / "s"
    for i, point in enumerate(POINTS):
        (folder / point).mkdir(parents=True)
        for name, value in (("job.json", JOB), ("config.json", CONFIG), ("status.json", {"step": 40, "steps": 100})):
            (folder / point / name).write_text(json.dumps(value))
        append_row(folder / point / "metrics.jsonl", METRICS)
        append_row(folder / point / "evals.jsonl", {"step": 40, "excess_loss": 0.25 + i})
    points = {point: {"seed": i} for i, point in enumerate(POINTS)}
    sweep = {"notebook": "t.ipynb", "cluster": "debug", "points": points, "parameters": points, "environment": {}}
    sweep["resources"] = launch.Resources().model_dump()
    (folder / "sweep.json").write_text(json.dumps(sweep))
    (folder / "jobs.json").write_text(json.dumps(dict.fromkeys(POINTS, "7")))
    return folder


def row_of_bad_point() -> dict:
    """Check that the other rows are complete, in Python and in a shell, and return the row of the bad point."""
    table = launch.load("s").table()
    assert list(table.columns) == COLUMNS
    assert table.index.tolist() == list(POINTS)
    for i in (0, 2):
        row = table.iloc[i].to_dict()
        known = {"state": "running", "step": 50, "steps": 100, "excess_loss": 0.25 + i, "time_left": "0:00:10"}
        assert row == {**known, "limit": "1:00", "job": "7", "log": "", "error": ""}
    assert main(["status", "s"]) == 0
    return table.loc[BAD].to_dict()


def test_an_undamaged_sweep(folder, capsys):
    assert row_of_bad_point()["error"] == ""
    assert "3 running" in capsys.readouterr().out


def test_long_evaluation_rows_are_read(folder, capsys):
    """Rows of 68 kB, for sequences of 1,500 tokens, and of more than 1 MB."""
    for length in (1_500, 30_000):
        row = {"step": 50, "excess_loss": 0.125, "excess_by_position": [1 / 3] * length, "oracle": [1 / 7] * length}
        append_row(folder / BAD / "evals.jsonl", row)
        assert (folder / BAD / "evals.jsonl").stat().st_size > 2**15
        row = row_of_bad_point()
        assert (row["excess_loss"], row["error"]) == (0.125, "")
    assert "0.1250" in capsys.readouterr().out


CONTENTS = {
    "empty": b"",
    "no JSON": b"garbage\n",
    "a list": b"[]\n",
    "a number": b"5\n",
    "no text": b"\xff\xfe\x00\n",
    "nested": b"[" * 100_000 + b"\n",
    "cut off": b'{"step": 4',
    "zeros": b"\0" * 4096 + b"\n",
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", ["job.json", "status.json", "config.json", "metrics.jsonl", "evals.jsonl"])
def test_a_damaged_file_is_reported_in_its_row(folder, name, content):
    (folder / BAD / name).write_bytes(CONTENTS[content])
    row = row_of_bad_point()
    assert row["state"] == "running"
    if name.endswith("jsonl") and content in ("empty", "cut off"):  # an unfinished row is not an error
        assert row["error"] == ""
    else:
        assert row["error"].startswith(f"damaged: {name}")
    if name in ("job.json", "config.json"):
        assert (row["step"], row["excess_loss"]) == (50, 1.25)
    if name == "metrics.jsonl":
        assert (row["step"], row["excess_loss"]) == (40, 1.25)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job.json", {"state": ["done"], "job_id": {}}),
        ("job.json", {"state": "failed", "job_id": "7", "error": [1]}),
        ("job.json", {"state": "no such", "job_id": "7"}),
        ("status.json", {"step": "x", "steps": 3}),
        ("status.json", {"step": None, "steps": [1]}),
        ("config.json", {**CONFIG, "steps": "many"}),
        ("config.json", {**CONFIG, "batch_size": None}),
        ("config.json", {**CONFIG, "seq_len": 10**300}),
        ("metrics.jsonl", {**METRICS, "step": "x"}),
        ("metrics.jsonl", {**METRICS, "tokens_per_second": 0}),
        ("metrics.jsonl", {**METRICS, "tokens_per_second": "fast"}),
        ("metrics.jsonl", {**METRICS, "tokens_per_second": 1e-300}),
        ("metrics.jsonl", {"loss": 1}),
        ("evals.jsonl", {"excess_loss": "low"}),
        ("evals.jsonl", {"excess_loss": None}),
        ("evals.jsonl", {"excess_loss": [1]}),
        ("evals.jsonl", {"loss": 1}),
    ],
)
def test_a_strange_value_affects_only_its_row(folder, name, value):
    path = folder / BAD / name
    path.unlink()
    append_row(path, value)
    row = row_of_bad_point()
    assert isinstance(row["excess_loss"], float)
    if name != "job.json" and any(isinstance(entry, str | list | None) for entry in value.values()):
        assert row["error"].startswith(f"damaged: {name}: ")


def test_a_missing_folder_a_file_and_a_link_to_itself_are_read(folder):
    for path in (folder / BAD).iterdir():
        path.unlink()
    (folder / BAD).rmdir()
    assert row_of_bad_point()["step"] == ""
    (folder / BAD).write_text("a file")
    row_of_bad_point()
    (folder / BAD).unlink()
    (folder / BAD).symlink_to(folder / BAD)
    row_of_bad_point()


@pytest.mark.parametrize("name", ["status.json", "evals.jsonl", "job.json"])
def test_a_folder_instead_of_a_file(folder, name):
    (folder / BAD / name).unlink()
    (folder / BAD / name).mkdir()
    row_of_bad_point()


@pytest.mark.parametrize("name", ["sweep.json", "jobs.json"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"points": 3}'])
def test_a_damaged_sweep_is_refused(folder, name, content, capsys):
    """These files describe all points. If they counted as empty, jobs would be started twice."""
    (folder / name).write_bytes(content)
    assert main(["status", "s"]) == 2
    assert f"{folder / name} is damaged: " in capsys.readouterr().err


def test_control_characters_of_errors_are_escaped(folder, monkeypatch, capsys):
    monkeypatch.setattr(Debug, "live", lambda self, sweep: {p: Live(True, "1:00") for p in POINTS if p != BAD})
    error = "ValueError: \x1b]0;title\x07\x1b[2Jgone\u202e \u00fcber"
    (folder / BAD / "job.json").write_text(json.dumps({"state": "failed", "job_id": "7", "error": f"one\n{error}"}))
    row = row_of_bad_point()
    assert row["error"] == "ValueError: \\x1b]0;title\\x07\\x1b[2Jgone\\u202e \u00fcber"
    assert "\x1b" not in capsys.readouterr().out


def test_local_jobs_with_a_damaged_status_are_listed(folder, monkeypatch):
    """A local job is looked up by its process in ``job.json``."""
    monkeypatch.undo()
    monkeypatch.setenv("N2N_RUNS", str(folder.parent))
    sweep = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**sweep, "cluster": "local"}))
    assert sweep["cluster"] in CLUSTERS
    for content in CONTENTS.values():
        (folder / BAD / "job.json").write_bytes(content)
        table = launch.load("s").table()
        assert table["excess_loss"].tolist() == [0.25, 1.25, 2.25]


@pytest.mark.parametrize(
    ("job_state", "job_id", "live", "log", "state"),
    [
        (None, None, None, False, "missing"),
        (None, "waiting", None, False, "missing"),
        (None, "7", slurm.Live(False), False, "queued"),
        ("requeued", "7", slurm.Live(False), True, "queued"),
        ("running", "7", slurm.Live(True), True, "running"),
        ("running", "7", None, True, "killed"),
        (None, "7", None, True, "killed"),
        (None, "7", None, False, "cancelled"),
        ("requeued", "7", None, True, "preempted"),
        ("failed", "7", None, True, "failed"),
        ("done", "8", None, True, "done"),
    ],
)
def test_the_state_of_a_point(job_state, job_id, live, log, state):
    assert point_states._state(job_state, job_id, live, log) == state


def test_a_job_that_did_not_start_has_the_error_of_its_log(tmp_path):
    """Its interpreter is missing, as on a node without the virtual environment."""
    notebook = trivial(tmp_path / "t.ipynb")
    jobs = launch.submit(notebook, [{}], name="broken", cluster="debug")
    logs = jobs.path / "jobs"
    logs.mkdir(exist_ok=True)
    (logs / "12_0_log.out").write_text("")
    (logs / "12_0_log.err").write_text("first\nModuleNotFoundError: No module named 'n2n'\n")
    (jobs.path / "defaults" / "job.json").unlink()
    jobs.sweep.record_jobs({"defaults": "12"})
    (row,) = jobs.table().to_dict("records")
    assert (row["state"], row["error"]) == ("killed", "ModuleNotFoundError: No module named 'n2n'")
