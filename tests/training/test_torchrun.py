"""Processes that start late, are stopped before they train, or run on a machine whose name does not resolve."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support import forked_torchrun
from support.forked_torchrun import LAUNCHED, assert_all_gone, exit_code, launcher_program, tree
from support.run_folders import config, contents, logged, still_there, wait_until

import n2n
from n2n.monitor import checkpoint
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
    """They may check a dataset, for example."""
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
    def request_stop() -> None:
        wait_until(
            lambda: (hung / "logs" / "torchrun.log").is_file() and (hung / "logs" / "torchrun.log").stat().st_size
        )
        (hung / "STOP").touch() if way == "STOP" else os.kill(os.getpid(), signal.Signals[way])

    thread = threading.Thread(target=request_stop)
    thread.start()
    fields = {"steps": 4, "batch_size": 8, "processes": 2, "run_dir": hung}
    if way == "STOP":
        n2n.train(config(**fields))
    else:
        with pytest.raises(Preempted, match=f"{way}: saved at step 0 of 4"):
            n2n.train(config(**fields))
    thread.join()
    status = n2n.Run(hung).status
    assert (status["state"], status["step"], status["error"]) == ("preempted", 0, None)
    assert not (hung / "STOP").exists()
    assert not still_there(str(hung))


def test_a_second_launcher_is_refused_and_a_killed_one_leaves_no_process(tmp_path, log):
    """The second is refused from the start. Processes whose launcher is killed save first: the system signals them."""
    folder = tmp_path / "run"
    process = launcher_program(folder, log)
    try:
        wait_until(lambda: (folder / "status.json").exists())
        for fields in ({**LAUNCHED, "log_every": 7}, {**LAUNCHED, "processes": 1}):
            with pytest.raises(ValueError, match=rf"is being trained by process {process.pid} on"):
                n2n.train(config(**fields, run_dir=folder))
        assert n2n.Run(folder).config.log_every != 7
        wait_until(lambda: logged(folder) >= 6)
        assert n2n.Run(folder).status["state"] == "running"
        processes = tree(process.pid)
    finally:
        process.kill()
        process.wait()
    assert_all_gone(processes, folder)
    status = n2n.Run(folder).status
    assert status["state"] == "preempted"
    assert checkpoint.steps(folder / "checkpoints")[-1] == status["step"]


def test_a_second_ctrl_c_kills_the_processes(tmp_path, log):
    folder = tmp_path / "run"
    process = forked_torchrun.launched({**LAUNCHED, "run_dir": folder}, log)
    wait_until(lambda: logged(folder) >= 6)
    processes = tree(process.pid)
    os.kill(n2n.Run(folder).status["pid"], signal.SIGSTOP)  # the processes cannot leave by themselves
    os.kill(process.pid, signal.SIGINT)
    wait_until((folder / "STOP").exists)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    exit_code(process)
    assert n2n.Run(folder).status["state"] == "preempted"
    assert_all_gone(processes, folder)


def test_another_dataset_is_refused_before_processes_start(tmp_path):
    process = config().process
    paths = [str(n2n.data.generate(process, tmp_path / f"{n}.npy", n, 12).path) for n in (40, 41)]
    fields = {"steps": 5, "batch_size": 8, "run_dir": tmp_path / "run"}
    run = n2n.train(config(**fields, data=paths[0]))
    before = contents(run.path)
    with pytest.raises(ValueError, match="was trained on a dataset of SHA-256"):
        n2n.train(config(**{**fields, "steps": 10}, data=paths[1], processes=2))
    assert contents(run.path) == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 7}, r"batch_size: saw 7; a multiple of processes \(2\) times accumulate \(1\)"),
        (
            {"batch_size": 6, "accumulate": 2},
            r"batch_size: saw 6; .* processes \(2\) times accumulate \(2\)",
        ),
        ({"batch_size": 8, "parallel": "dpp"}, "parallel: saw 'dpp'.*did you mean 'ddp'"),
        ({"batch_size": 8, "data": "nowhere.npy"}, "no dataset at"),
    ],
)
def test_a_batch_that_cannot_be_shared_starts_no_process(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        n2n.train(config(processes=2, run_dir=tmp_path / "run", **fields))
    assert not (tmp_path / "run").exists()


def test_processes_that_the_job_s_nodes_do_not_divide_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "3")
    with pytest.raises(ValueError, match="processes: saw 2, which the job's 3 nodes do not divide"):
        n2n.train(config(processes=2, batch_size=8, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
