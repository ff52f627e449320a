import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from types import SimpleNamespace

import pytest
import torch

import n2n
from n2n.monitor import checkpoint
from n2n.monitor.environment import SNAPSHOT, describe_environment, git_state
from n2n.utils import progress
from n2n.utils.files import DamagedFile, append_row, last_row, read_json, read_rows, write_atomic, write_json

MARKS = {"rows.jsonl": {"bytes": 120, "crc": 7}}


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


def test_rows_are_plain_json_lines_for_other_readers(tmp_path):
    row = {"step": 3, "loss": 0.1 + 0.2, "by_position": [1e-300, -0.0], "text": 'a "crc": \u00e9\n}'}
    append_row(tmp_path / "rows.jsonl", row)
    (found,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    crc = found.pop("crc")
    assert found == row == last_row(tmp_path / "rows.jsonl")
    assert crc == f"{zlib.crc32(json.dumps(row).encode()):08x}"


def test_every_flipped_bit_of_a_row_is_noticed(tmp_path):
    path = tmp_path / "rows.jsonl"
    for step in range(3):
        append_row(path, {"step": step, "loss": 1.5})
    whole = path.read_bytes()
    length = len(whole) // 3
    for bit in range(8 * length, 16 * length - 8):  # of the second row; its newline is looked at below
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match=r"rows.jsonl, line 2: "):
            read_rows(path)
        assert last_row(path)["step"] == 2


@pytest.mark.parametrize(
    ("insert", "line"),
    [("garbage\n", 2), ("\n", 2), ("[]\n", 2), ('{"step": 1}\n', 2), ("\x00\x00\n", 2), ('{"step": 9, "lo', 2)],
)
def test_a_damaged_row_is_named_by_file_and_line(tmp_path, insert, line):
    path = tmp_path / "rows.jsonl"
    for step in range(2):
        append_row(path, {"step": step})
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first + insert + second)
    with pytest.raises(ValueError, match=rf"rows.jsonl, line {line}: .* is no row as it was written; training again"):
        read_rows(path)
    path.write_text(first + insert)
    if insert.endswith("\n"):
        with pytest.raises(ValueError, match=r"rows.jsonl, the last line: .* is no row as it was written"):
            last_row(path)
    else:
        assert last_row(path) == {"step": 0}, "a torn line is that of a crash"


def save(folder, step, state, run="mine"):
    return checkpoint.save(folder, step, state, run, MARKS)


def test_checkpoints_come_back(tmp_path):
    state = {"weights": torch.arange(5.0), "step": 3, "groups": [{"lr": 0.1}]}
    save(tmp_path, 3, state)
    save(tmp_path, 12, {**state, "step": 12})
    assert checkpoint.steps(tmp_path) == [3, 12]
    assert torch.equal(checkpoint.load(tmp_path, 3, "mine")["weights"], state["weights"])
    latest = checkpoint.load_latest(tmp_path, "mine")
    assert (latest.step, latest.state["step"], latest.marks) == (12, 12, MARKS)
    assert checkpoint.load_latest(tmp_path / "nothing", "mine") is None
    with pytest.raises(ValueError, match=r"no checkpoint of step 4 in .*; there are \[3, 12\]"):
        checkpoint.load(tmp_path, 4, "mine")


def flip(folder):
    content = bytearray((folder / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "state.pt").write_bytes(content)


def rewrite(folder, **fields):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **fields}))


def copy_over(source, target):
    shutil.rmtree(target)
    shutil.copytree(source, target)


def linked(folder, name, target):
    (folder / name).unlink()
    (folder / name).symlink_to(target)


def piped(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)


def evil(folder):
    """A whole checkpoint, by its manifest, that runs code if safety is turned off."""
    torch.save({"weights": os.system}, folder / "state.pt")
    content = (folder / "state.pt").read_bytes()
    rewrite(folder, files={"state.pt": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}})


DAMAGE = {
    "flip": (flip, "state.pt does not match its manifest"),
    "truncate": (lambda f: os.truncate(f / "state.pt", 100), "does not match"),
    "remove": (lambda f: (f / "state.pt").unlink(), "No such file"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "No such file"),
    "half a manifest": (lambda f: (f / "manifest.json").write_text("{"), "Expecting property name"),
    "nested manifest": (lambda f: (f / "manifest.json").write_text("[" * 10**5), "nested too deeply"),
    "a list": (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is incomplete"),
    "copied": (lambda f: copy_over(f.parent / "step_00000001", f), "manifest.json is of step 1"),
    "step": (lambda f: rewrite(f, step=1), "manifest.json is of step 1"),
    "no files": (lambda f: rewrite(f, files={}), "manifest.json is incomplete"),
    "files of another": (lambda f: rewrite(f, files={"state.pt": {}}), "manifest.json is incomplete"),
    "too many files": (lambda f: rewrite(f, files={"state.pt": {"bytes": 0, "sha256": ""}, "/dev/zero": {}}), "zero"),
    "no rows": (lambda f: rewrite(f, rows=None), "manifest.json is incomplete"),
    "run": (lambda f: rewrite(f, run="another"), "it is of another run"),
    "device": (lambda f: linked(f, "state.pt", "/dev/zero"), "symbolic link"),
    "manifest of a device": (lambda f: linked(f, "manifest.json", "/dev/zero"), "symbolic link"),
    "link": (lambda f: linked(f, "state.pt", "../step_00000001/state.pt"), "symbolic link"),
    "pipe": (lambda f: piped(f, "state.pt"), "no regular file"),
    "manifest of a pipe": (lambda f: piped(f, "manifest.json"), "no regular file"),
    "pickled code": (evil, r"state.pt cannot be read \(UnpicklingError\)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage):
    for step in (1, 2):
        save(tmp_path, step, {"weights": torch.ones(100) * step})
    hurt, said = DAMAGE[damage]
    hurt(tmp_path / "step_00000002")
    with pytest.warns(UserWarning, match=f"damaged checkpoint .*step_00000002: .*{said}") as heard:
        latest = checkpoint.load_latest(tmp_path, "mine")
    assert latest.step == 1
    assert torch.equal(latest.state["weights"], torch.ones(100))
    assert "weights_only" not in str(heard[0].message), "no advice to turn safety off"
    with pytest.raises(ValueError, match="damaged checkpoint"):
        checkpoint.load(tmp_path, 2, "mine")


@pytest.mark.parametrize(
    ("last", "every", "kept"),
    [(None, None, [2, 4, 6, 8, 9]), (1, None, [9]), (2, None, [8, 9]), (1, 4, [4, 8, 9]), (9, None, [2, 4, 6, 8, 9])],
)
def test_the_last_and_every_nth_stay(tmp_path, last, every, kept):
    for step in (2, 4, 6, 8, 9):
        save(tmp_path, step, {"a": 1})
        checkpoint.prune(tmp_path, last, every)
    assert checkpoint.steps(tmp_path) == kept


def test_damaged_and_unfinished_ones_are_set_aside(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, {"a": step})
    for step in (2, 3):
        (tmp_path / f"step_0000000{step}" / "state.pt").write_bytes(b"damage")
    (tmp_path / ".step_00000004.99.part").mkdir()
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        assert checkpoint.load_latest(tmp_path, "mine").step == 1
    checkpoint.set_aside(tmp_path, after=1)
    expected = ["aside_step_00000002", "aside_step_00000003", "step_00000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


def test_what_no_checkpoint_can_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"the checkpoint of step 3 could not be written .*; there is none before it"):
        save(tmp_path / "file", 3, {"a": 1})


def test_the_last_row_is_found_in_a_long_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert last_row(path) is None
    for step in range(5000):
        append_row(path, {"step": step, "text": "x" * 20})
    assert last_row(path)["step"] == 4999
    with open(path, "a") as file:
        file.write('{"step": 5000, "te')
    assert last_row(path)["step"] == 4999


@pytest.mark.parametrize("length", [10, 2**16 - 60, 2**16, 68_000, 2**18, 3_000_000])
def test_the_last_row_may_be_long(tmp_path, length):
    path = tmp_path / "rows.jsonl"
    for step in range(3):
        append_row(path, {"step": step, "text": "x" * length})
    assert last_row(path) == {"step": 2, "text": "x" * length}
    path.write_bytes(b"x" * length)
    assert last_row(path) is None, "nothing is finished"


def test_pipes_and_devices_are_not_read(tmp_path):
    """They might never end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        assert (read_rows(tmp_path / name), last_row(tmp_path / name)) == ([], None)
        with pytest.raises(OSError, match="no regular file"):
            read_json(tmp_path / name)


def test_an_unfinished_checkpoint_is_none(tmp_path):
    path = save(tmp_path, 1, {"a": 1})
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
