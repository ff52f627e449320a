"""The status of a run agrees with whether its process is alive."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from support.killed_trainers import train_slowly, trainer
from support.run_folders import config, contents, logged, wait_until

import n2n
from n2n.monitor import status
from n2n.runs.folder import LAUNCH_LOCK, TRAINING_LOCK, RunFolder
from n2n.utils.files import read_json, write_json
from n2n.utils.lock import locked

BOOT = status.machine()["boot"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder of a killed run."""
    folder = tmp_path_factory.mktemp("sweep") / "killed"
    process = trainer(train_slowly, {"steps": 10**6, "run_dir": folder}, 0.01)
    wait_until(lambda: logged(folder) >= 6)
    assert n2n.Run(folder).status["state"] == "running"
    assert n2n.runs.table(folder.parent).loc["killed", "state"] == "running"
    process.kill()
    process.join()
    return folder


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return shutil.copytree(folder, tmp_path / "run")


def state_after(folder: Path, **fields) -> str:
    """The run's state after fields of ``status.json`` are replaced."""
    write_json(folder / "status.json", {**read_json(folder / "status.json"), **fields})
    return n2n.Run(folder).status["state"]


def test_a_killed_run_has_the_state_killed(folder):
    before = contents(folder)
    run = n2n.Run(folder)
    assert run.status["state"] == "killed"
    assert read_json(folder / "status.json")["state"] == "running"
    assert n2n.runs.table(folder.parent).loc["killed", "state"] == "killed"
    with pytest.raises(ValueError, match="no evaluation yet; its state is 'killed'"):
        _ = run.evaluation
    assert contents(folder) == before, "reading writes nothing"


@pytest.mark.parametrize("name", [LAUNCH_LOCK, TRAINING_LOCK])
def test_a_process_that_holds_a_lock_is_alive(copy, name):
    """Even in another container, where its number means nothing, or on another host."""
    with locked(copy / name):
        assert state_after(copy, pid=2**22 + 1) == "running"
        assert state_after(copy, host="elsewhere", boot="another") == "running"
    assert state_after(copy, host=status.machine()["host"], boot=BOOT) == "killed"


def test_the_state_stays_if_it_cannot_be_checked(copy):
    """Some file systems do not share locks between hosts, so that a free lock proves nothing."""
    assert state_after(copy, host="elsewhere", boot="another") == "running"
    assert state_after(copy, host="elsewhere", boot=None) == "running"


def test_a_container_with_another_name_is_the_same_machine(copy):
    assert BOOT
    assert state_after(copy, host="0d2f6c", boot=BOOT) == "killed"


def test_a_reboot_ends_a_run(copy):
    assert state_after(copy, host=status.machine()["host"], boot="before") == "killed"


def test_a_trainer_that_ended_silently_is_gone(copy):
    """Its process is still alive, as a notebook's kernel is."""
    assert state_after(copy, pid=os.getpid()) == "killed"


def test_without_locks_the_process_is_checked(copy):
    for name in (LAUNCH_LOCK, TRAINING_LOCK):
        (copy / name).unlink()
    assert state_after(copy) == "killed"
    now = time.time()
    later, earlier = (pd.Timestamp(now + days * 86400, unit="s", tz="UTC").isoformat() for days in (0, -365))
    assert state_after(copy, pid=os.getpid(), updated_at=later) == "running"
    assert state_after(copy, pid=os.getpid(), updated_at=earlier) == "killed", "another process has the number now"
    assert state_after(copy, pid="none") == "killed"


def test_the_final_state_of_a_run_stays(copy):
    for state in ("done", "failed", "preempted"):
        assert state_after(copy, state=state) == state


def test_a_run_that_ends_between_two_reads_is_not_killed(copy, monkeypatch):
    def ends(path):
        write_json(copy / "status.json", {"state": "done"})
        return False

    monkeypatch.setattr(status, "is_locked", ends)
    assert RunFolder(copy).read_status() == {"state": "done"}


@pytest.mark.parametrize("content", [None, "", "[]", "{", "[" * 10**5])
def test_a_run_without_a_status_is_missing(copy, content):
    (copy / "status.json").unlink()
    if content is not None:
        (copy / "status.json").write_text(content)
    assert n2n.Run(copy).status["state"] == "missing"
    assert n2n.runs.table(copy.parent).loc["run", "state"] == "missing"


def test_a_script_that_is_killed_with_its_group(tmp_path):
    """A real SIGKILL of the whole session, including torchrun's processes."""
    run_dir = tmp_path / "run"
    fields = {**config(steps=10**6, processes=2).model_dump(mode="json"), "run_dir": str(run_dir)}
    code = f"import json, n2n; n2n.train(n2n.TrainConfig(**json.loads({json.dumps(fields)!r})))"
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **streams)
    wait_until(lambda: logged(run_dir) >= 4, seconds=120)
    assert n2n.Run(run_dir).status["state"] == "running"
    everyone = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in everyone:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in everyone[1:]))
    assert n2n.Run(run_dir).status["state"] == "killed"
