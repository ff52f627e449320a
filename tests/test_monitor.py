import io
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import n2n
from n2n.monitor import checkpoint, progress
from n2n.monitor.environment import SNAPSHOT, describe_environment, git_state
from n2n.monitor.files import append_row, keep_rows, last_row, read_json, read_rows, write_atomic, write_json


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fail)
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]


def test_rows_are_appended_and_a_torn_line_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    for step in range(4):
        append_row(path, {"step": step})
    with open(path, "a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in read_rows(path)] == [0, 1, 2, 3]
    keep_rows(path, lambda row: row["step"] < 2)
    append_row(path, {"step": 2})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2]


def test_checkpoints_come_back(tmp_path):
    state = {"weights": torch.arange(5.0), "step": 3, "groups": [{"lr": 0.1}]}
    checkpoint.save(tmp_path, 3, state)
    checkpoint.save(tmp_path, 12, {**state, "step": 12})
    assert checkpoint.steps(tmp_path) == [3, 12]
    assert torch.equal(checkpoint.load(tmp_path, 3)["weights"], state["weights"])
    step, latest = checkpoint.load_latest(tmp_path)
    assert (step, latest["step"]) == (12, 12)
    assert checkpoint.load_latest(tmp_path / "nothing") is None
    with pytest.raises(ValueError, match=r"no checkpoint of step 4 in .*; there are \[3, 12\]"):
        checkpoint.load(tmp_path, 4)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"weights": torch.ones(100) * step})
    state, manifest = tmp_path / "step_00000002" / "state.pt", tmp_path / "step_00000002" / "manifest.json"
    content = bytearray(state.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
    elif damage == "truncate":
        state.write_bytes(content[:-10])
    elif damage == "remove":
        state.unlink()
    else:
        manifest.write_text("{")
    with pytest.warns(UserWarning, match="damaged checkpoint .*step_00000002"):
        step, latest = checkpoint.load_latest(tmp_path)
    assert step == 1
    assert torch.equal(latest["weights"], torch.ones(100))
    with pytest.raises(ValueError, match="damaged checkpoint"):
        checkpoint.load(tmp_path, 2)


@pytest.mark.parametrize(
    ("last", "every", "kept"),
    [(None, None, [2, 4, 6, 8, 9]), (1, None, [9]), (2, None, [8, 9]), (1, 4, [4, 8, 9]), (9, None, [2, 4, 6, 8, 9])],
)
def test_the_last_and_every_nth_stay(tmp_path, last, every, kept):
    for step in (2, 4, 6, 8, 9):
        checkpoint.save(tmp_path, step, {"a": 1})
        checkpoint.prune(tmp_path, last, every)
    assert checkpoint.steps(tmp_path) == kept


def test_damaged_and_unfinished_ones_are_set_aside(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"a": step})
    for step in (2, 3):
        (tmp_path / f"step_0000000{step}" / "state.pt").write_bytes(b"damage")
    (tmp_path / ".step_00000004.99.part").mkdir()
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        assert checkpoint.load_latest(tmp_path)[0] == 1
    checkpoint.set_aside(tmp_path, after=1)
    expected = ["damaged_step_00000002", "damaged_step_00000003", "step_00000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


def test_what_no_checkpoint_can_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"the checkpoint of step 3 could not be written .*; there is none before it"):
        checkpoint.save(tmp_path / "file", 3, {"a": 1})


def test_the_last_row_is_found_in_a_long_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert last_row(path) is None
    for step in range(5000):
        append_row(path, {"step": step, "text": "x" * 20})
    assert last_row(path)["step"] == 4999
    with open(path, "a") as file:
        file.write('{"step": 5000, "te')
    assert last_row(path)["step"] == 4999


def test_an_unfinished_checkpoint_is_none(tmp_path):
    path = checkpoint.save(tmp_path, 1, {"a": 1})
    shutil.copytree(path, tmp_path / ".step_00000002.123.part")
    assert checkpoint.steps(tmp_path) == [1]


def test_environment_names_packages_and_machine(tmp_path):
    found = describe_environment(tmp_path)
    assert found["packages"]["torch"] == torch.__version__
    assert found["git_commit"] is None  # a temporary folder is no checkout
    json.dumps(found)


def test_a_copy_tells_of_the_checkout_that_it_was_made_from(tmp_path):
    (tmp_path / SNAPSHOT).write_text('{"git_commit": "abc", "git_diff": "+1"}')
    assert git_state(tmp_path / "n2n") == {"git_commit": "abc", "git_diff": "+1"}


def test_new_files_of_a_checkout_are_named(tmp_path):
    for command in (
        ["init", "-q"],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "mine.py").write_text("1")
    (tmp_path / "n2n").mkdir()
    found = git_state(tmp_path / "n2n")
    assert found["git_untracked"] == ["mine.py"]
    assert len(found["git_commit"]) == 40


def run_progress(capsys, monkeypatch, watched: bool, seconds: list[float]) -> tuple[list[str], list[str]]:
    clock = iter(seconds)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "watched", lambda: watched)
    logged = []
    with progress.Progress(0, 3, logged.append) as shown:
        for done in (1, 2, 3):
            shown.update(done, {"loss": "1.5"})
    return logged, capsys.readouterr().out.splitlines()


def test_headless_lines_come_every_few_seconds_and_at_the_end(capsys, monkeypatch):
    logged, printed = run_progress(capsys, monkeypatch, watched=False, seconds=[0.0, 6.0, 7.0, 9.0])
    assert printed == ["step 1/3  loss 1.5  12 s left", "step 3/3  loss 1.5  0 s left"]
    assert logged == printed


def test_lines_are_flushed_at_once(monkeypatch):
    """Into a pipe nothing would be seen until the end."""

    class Pipe(io.StringIO):
        flushed = ""

        def flush(self):
            self.flushed = self.getvalue()

    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", pipe)
    progress.announce("step 1/3", lambda line: None)
    assert pipe.flushed == "step 1/3\n"


@pytest.mark.parametrize("answers", [True, False])
def test_a_notebook_is_watched_where_its_front_end_answers_questions(monkeypatch, answers):
    shell = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=answers))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert progress.watched() is answers


def test_a_script_is_watched_in_a_terminal(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    for terminal in (True, False):
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda terminal=terminal: terminal))
        assert progress.watched() is terminal


def test_a_person_sees_a_bar_and_the_log_has_the_lines(capsys, monkeypatch):
    logged = []
    monkeypatch.setattr(progress, "watched", lambda: True)
    with progress.Progress(0, 3, logged.append) as shown:
        shown.update(3, {"loss": "1.5"})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(r"3/3 .*loss=1.5", captured.err)
    assert logged == ["step 3/3  loss 1.5  0 s left"]


def test_a_long_loop_says_how_far_it_is(monkeypatch, capsys):
    """Flushed lines, at most one a period, and nothing of a loop that ends within one."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "watched", lambda: False)

    def loop(each: float) -> list[str]:
        for _ in progress.track(range(10), "point"):
            now[0] += each
        return capsys.readouterr().out.splitlines()

    assert loop(0.4) == []
    assert loop(2.0) == [
        "point 3/10  14 s left",
        "point 6/10  8 s left",
        "point 9/10  2 s left",
        "point 10/10  0 s left",
    ]
    for point in progress.track(range(10), "point"):
        if point == 3:
            break  # whoever found what was looked for
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("work", ["calibrate", "grid", "checkpoints"])
def test_long_work_of_the_library_shows_its_progress(work, monkeypatch, capsys, small):
    monkeypatch.setattr(progress, "watched", lambda: False)
    few = {"length": 4, "sequences": 2}
    run = n2n.train(small(steps=4)) if work == "checkpoints" else None
    capsys.readouterr()
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    if work == "calibrate":
        n2n.calibrate(n2n.Graph.preset("two_chains"), 2.0, "X", tolerance=0.05, seeds=range(2), **few)
    elif work == "grid":
        n2n.entropy_grid("two_chains", [0.1, 1.0], [0.1], seeds=range(2), **few)
    else:
        n2n.dynamics.trace(run, [0, 4], sequences=4)
    said = capsys.readouterr().out
    assert {"calibrate": "concentration 1/30", "grid": "point 2/2", "checkpoints": "checkpoint 1/2"}[work] in said
