import io
import re
import sys
from types import SimpleNamespace

import pytest

import n2n
from n2n.utils import progress


def run_progress(capsys, monkeypatch, watched: bool, seconds: list[float]) -> tuple[list[str], list[str]]:
    clock = iter(seconds)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "watched", lambda: watched)
    logged = []
    with progress.Progress(0, 3, logged.append) as bar:
        for done in (1, 2, 3):
            bar.update(done, {"loss": "1.5"})
    return logged, capsys.readouterr().out.splitlines()


def test_without_a_terminal_lines_come_every_few_seconds_and_at_the_end(capsys, monkeypatch):
    logged, printed = run_progress(capsys, monkeypatch, watched=False, seconds=[0.0, 6.0, 7.0, 9.0])
    assert printed == ["step 1/3  loss 1.5  12 s left", "step 3/3  loss 1.5  0 s left"]
    assert logged == printed


def test_lines_are_flushed_at_once(monkeypatch):
    """A pipe would otherwise show nothing until the end."""

    class Pipe(io.StringIO):
        flushed = ""

        def flush(self):
            self.flushed = self.getvalue()

    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", pipe)
    progress.announce("step 1/3", lambda line: None)
    assert pipe.flushed == "step 1/3\n"


@pytest.mark.parametrize("answers", [True, False])
def test_a_notebook_is_watched_if_its_front_end_accepts_input(monkeypatch, answers):
    shell = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=answers))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert progress.watched() is answers


def test_a_script_is_watched_in_a_terminal(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    for terminal in (True, False):
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda terminal=terminal: terminal))
        assert progress.watched() is terminal


def test_a_terminal_shows_a_bar_and_the_log_has_lines(capsys, monkeypatch):
    logged = []
    monkeypatch.setattr(progress, "watched", lambda: True)
    with progress.Progress(0, 3, logged.append) as bar:
        bar.update(3, {"loss": "1.5"})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(r"3/3 .*loss=1.5", captured.err)
    assert logged == ["step 3/3  loss 1.5  0 s left"]


def test_a_long_loop_reports_its_progress(monkeypatch, capsys):
    """Lines are flushed, at most one per period; a loop that is shorter than a period prints none."""
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
            break
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("work", ["calibrate", "grid", "checkpoints"])
def test_long_functions_of_the_library_show_progress(work, monkeypatch, capsys, small):
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
    printed = capsys.readouterr().out
    assert {"calibrate": "concentration 1/30", "grid": "point 2/2", "checkpoints": "checkpoint 1/2"}[work] in printed
