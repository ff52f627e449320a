"""Processes that start late, are stopped before they train, or run on a machine whose name does not resolve."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.run_folders import config, still_there, waited

import n2n
from n2n.monitor.stop import Preempted
from n2n.training import torchrun
from n2n.training.run_folder import append_log

OTHER_NAME = [
    "unshare",
    "--user",
    "--map-root-user",
    "--uts",
    "sh",
    "-c",
    'hostname nosuchname.invalid && exec "$@"',
    "-",
]
TRAINER = (
    "import sys; sys.path.insert(0, {tests!r}); import n2n; "
    "from support.run_folders import config; n2n.train(config(**{fields}))"
)


def can_be_renamed() -> bool:
    try:
        return subprocess.run([*OTHER_NAME, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_be_renamed(), reason="needs a namespace of its own for the machine's name (unshare --uts)")
def test_a_machine_whose_own_name_does_not_resolve(tmp_path):
    fields = {"steps": 4, "batch_size": 8, "processes": 2, "run_dir": str(tmp_path / "run")}
    code = TRAINER.format(tests=str(Path(__file__).parents[1]), fields=fields)
    done = subprocess.run([*OTHER_NAME, sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    status = n2n.Run(tmp_path / "run").status
    assert (status["state"], status["step"], status["host"]) == ("done", 4, "nosuchname.invalid")


@pytest.fixture
def hung(tmp_path, monkeypatch) -> Path:
    """The folder of a run whose processes print something and then hang."""
    folder = tmp_path / "run"
    code = "import sys, time; print('no route to nowhere', flush=True); time.sleep(600)"
    monkeypatch.setattr(torchrun, "_command", lambda *_: [sys.executable, "-c", code, str(folder)])
    return folder


def test_processes_that_do_not_join_are_ended_and_their_log_is_shown(hung, monkeypatch):
    monkeypatch.setattr(torchrun, "START", 2.0)
    with pytest.raises(RuntimeError, match=r"no process of .*run has joined the others within 2 s.*\n.*no route to"):
        n2n.train(config(steps=4, batch_size=8, processes=2, run_dir=hung))
    status = n2n.Run(hung).status
    assert (status["state"], status["step"]) == ("failed", 0)
    assert "no route to nowhere" in status["error"]
    assert not still_there(str(hung))


def test_processes_that_have_joined_may_take_their_time(hung, monkeypatch):
    """For example, to check a dataset."""
    monkeypatch.setattr(torchrun, "START", 0.5)
    real = torchrun._start

    def joined(*arguments):
        (hung / "logs" / "rank0.log").write_text("an older run's\n")
        process = real(*arguments)
        threading.Timer(0.2, append_log, [hung / "logs" / "rank0.log", "joined"]).start()
        threading.Timer(2.5, process.kill).start()
        return process

    monkeypatch.setattr(torchrun, "_start", joined)
    with pytest.raises(RuntimeError, match="torchrun ended with -9"):
        n2n.train(config(steps=4, batch_size=8, processes=2, run_dir=hung))


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "STOP"])
def test_a_stop_before_training_ends_the_processes(hung, way):
    def ask() -> None:
        waited(lambda: (hung / "logs" / "torchrun.log").is_file() and (hung / "logs" / "torchrun.log").stat().st_size)
        (hung / "STOP").touch() if way == "STOP" else os.kill(os.getpid(), signal.Signals[way])

    asking = threading.Thread(target=ask)
    asking.start()
    fields = {"steps": 4, "batch_size": 8, "processes": 2, "run_dir": hung}
    if way == "STOP":
        n2n.train(config(**fields))
    else:
        with pytest.raises(Preempted, match=f"{way}: saved at step 0 of 4"):
            n2n.train(config(**fields))
    asking.join()
    status = n2n.Run(hung).status
    assert (status["state"], status["step"], status["error"]) == ("preempted", 0, None)
    assert not (hung / "STOP").exists()
    assert not still_there(str(hung))
