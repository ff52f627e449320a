"""Requests to stop, by signals and by the file STOP, in a script, in a thread and under papermill."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from support.killed_trainers import train_slowly, trainer
from support.notebooks import TRAIN
from support.run_folders import assert_same_run, config, logged, still_there, wait_until
from support.small_notebook import slow_training, trivial

import n2n
from n2n.monitor import checkpoint, stop
from n2n.monitor.stop import SIGNALS, Preempted, Stop

STEPS = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> n2n.Run:
    return n2n.train(config(steps=STEPS, run_dir=tmp_path_factory.mktemp("whole") / "run"))


def assert_stopped(folder: Path) -> int:
    """Check that the run was saved at its last step, and return the step."""
    status = n2n.Run(folder).status
    assert (status["state"], status["error"]) == ("preempted", None)
    assert 0 < status["step"] < STEPS
    assert checkpoint.steps(folder / "checkpoints")[-1] == status["step"]
    assert not (folder / "STOP").exists()
    return status["step"]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_saves_and_ends_a_run(number, whole, tmp_path):
    fields = {"steps": STEPS, "run_dir": tmp_path / "run"}
    process = trainer(train_slowly, fields, 0.02)
    wait_until(lambda: logged(tmp_path / "run") >= 6)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 1, "an uncaught exception"
    assert_stopped(tmp_path / "run")
    assert_same_run(whole, n2n.train(config(**fields)))


def test_the_file_saves_and_ends_a_run(whole, tmp_path):
    fields = {"steps": STEPS, "run_dir": tmp_path / "run"}
    process = trainer(train_slowly, fields, 0.02)
    wait_until(lambda: logged(tmp_path / "run") >= 6)
    (tmp_path / "run" / "STOP").touch()
    process.join(60)
    assert process.exitcode == 0
    assert_stopped(tmp_path / "run")
    assert_same_run(whole, n2n.train(config(**fields)))


def test_the_file_stops_a_run_before_its_first_step(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "STOP").touch()
    run = n2n.train(config(steps=STEPS, run_dir=tmp_path / "run"))
    assert (run.status["state"], run.status["step"]) == ("preempted", 0)
    assert not (run.path / "STOP").exists()
    assert n2n.train(config(steps=STEPS, run_dir=tmp_path / "run")).status["state"] == "done"


def test_a_second_ctrl_c_ends_a_run_at_once(tmp_path):
    """Both arrive within one long step. The first lets the step finish, the second does not."""
    process = trainer(train_slowly, {"steps": STEPS, "run_dir": tmp_path / "run"}, 30.0)
    wait_until(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
    os.kill(process.pid, signal.SIGINT)
    process.join(1)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(10)
    assert process.exitcode == 1
    status = n2n.Run(tmp_path / "run").status
    assert (status["state"], status["step"]) == ("preempted", 0)
    assert "KeyboardInterrupt" in status["error"]


def test_handlers_are_restored(tmp_path):
    def handler(number, frame):
        raise AssertionError

    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGUSR1, handler)
    try:
        n2n.train(config(steps=2))
        assert signal.getsignal(signal.SIGUSR1) is handler
        with contextlib.suppress(ZeroDivisionError), Stop(tmp_path / "STOP"):
            assert signal.getsignal(signal.SIGUSR1) is not handler
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before[signal.SIGUSR1])
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_another_thread_installs_no_handlers(tmp_path, monkeypatch):
    """Only the file can stop a run in another thread."""
    monkeypatch.setattr(stop.signal, "signal", None)
    folder, runs = tmp_path / "run", []
    thread = threading.Thread(target=lambda: runs.append(n2n.train(config(steps=10**6, run_dir=folder))))
    thread.start()
    wait_until(lambda: logged(folder) >= 4)
    (folder / "STOP").touch()
    thread.join(60)
    assert runs[0].status["state"] == "preempted"


def test_under_torchrun_a_ctrl_c_may_arrive_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with Stop(tmp_path / "STOP") as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert (stop.requested, stop.reason) == (True, "SIGINT")


def test_a_signal_during_the_last_evaluation_is_not_lost(tmp_path, monkeypatch):
    from n2n.training import reporter

    real = reporter.evaluate_model
    monkeypatch.setattr(reporter, "evaluate_model", lambda *g: os.kill(os.getpid(), signal.SIGTERM) or real(*g))
    with pytest.raises(Preempted, match="SIGTERM: the run is done"):
        n2n.train(config(steps=4, eval_every=None, run_dir=tmp_path / "run"))
    assert n2n.Run(tmp_path / "run").status["state"] == "done"


def test_the_exit_code_of_the_command(tmp_path):
    """``python -m n2n.training`` exits like a process that the signal has ended."""
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "config.json"
    path.write_text(json.dumps(config(steps=10**6).model_dump(mode="json")))
    process = subprocess.Popen([sys.executable, "-m", "n2n.training", str(path)], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: logged(folder) >= 6)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert stderr.startswith("SIGTERM: saved at step ")
    assert n2n.Run(folder).status["state"] == "preempted"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("exp1.json", "{}", "a file named config.json is needed"),
        ("config.json", None, "cannot be read"),
        ("config.json", "{", "cannot be read"),
        ("config.json", "[]", "holds no object"),
        ("config.json", '{"graph": "sparse", "step": 3}', "unknown parameter 'step'; did you mean 'steps'"),
    ],
)
def test_the_command_refuses_other_files(tmp_path, capsys, name, content, message):
    from n2n.training.cli import main

    if content is not None:
        (tmp_path / name).write_text(content)
    assert main([str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ([name] if content is not None else [])


def test_closing_the_terminal_saves_and_ends_a_run(whole, tmp_path):
    """The kernel sends SIGHUP to the foreground of a real terminal, and printing fails."""
    folder = tmp_path / "run"
    folder.mkdir()
    fields = config(steps=10**6).model_dump(mode="json")
    (folder / "config.json").write_text(json.dumps(fields))
    command = [sys.executable, "-m", "n2n.training", str(folder / "config.json")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command)
    wait_until(lambda: logged(folder) >= 6)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
    status = n2n.Run(folder).status
    assert (status["state"], status["error"]) == ("preempted", None)
    assert checkpoint.steps(folder / "checkpoints")[-1] == status["step"] > logged(folder)


def test_closing_the_terminal_has_no_effect_under_nohup(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop(tmp_path / "STOP") as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


SLOW = """
import time, n2n
from n2n.training import learner
real = learner.update
learner.update = lambda *arguments: time.sleep(3.0) or real(*arguments)  # longer than ipykernel's polling interval
"""


@pytest.mark.parametrize("steps", ["quick", "slow"])
def test_a_kernel_whose_papermill_was_killed_saves_and_ends(tmp_path, steps):
    """Its last step is saved and the kernel ends."""
    folder = tmp_path / "run"
    fields = {**config(steps=10**6, log_every=1, checkpoint_every=10**6, eval_every=None).model_dump(mode="json")}
    lines = [SLOW if steps == "slow" else "import n2n"]
    lines.append(f"n2n.train(n2n.TrainConfig(**{ {**fields, 'run_dir': str(folder)}!r}))")
    notebook = trivial(tmp_path / "notebook.ipynb", *lines)
    command = [sys.executable, "-m", "papermill", str(notebook), str(tmp_path / "out.ipynb")]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **streams)
    wait_until(lambda: logged(folder) >= 1)
    kernel = n2n.Run(folder).status["pid"]
    process.kill()
    process.wait()
    wait_until(lambda: n2n.Run(folder).status["state"] != "running")
    status = n2n.Run(folder).status
    assert (status["state"], status["error"]) == ("preempted", None)
    assert checkpoint.steps(folder / "checkpoints") == [status["step"]] == [logged(folder) + 1]
    assert "stopped by the end of the program that ran this notebook" in (folder / "logs" / "rank0.log").read_text()
    wait_until(lambda: not psutil.pid_exists(kernel))


def test_a_script_outlives_its_parent(tmp_path, monkeypatch):
    """A shell or a kernel may have started the script in the background."""
    from n2n.monitor.processes import KernelParent

    for value in (None, "1", str(os.getppid() + 1)):
        if value is None:
            monkeypatch.delenv("JPY_PARENT_PID", raising=False)
        else:
            monkeypatch.setenv("JPY_PARENT_PID", value)
        parent = KernelParent()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getppid", lambda: 1)
            assert not parent.gone


def papermill(notebook: Path, folder: Path) -> subprocess.Popen:
    folder.parent.mkdir()
    fields = {
        "steps": 10**6,
        "dim": 16,
        "heads": 2,
        "layers": 1,
        "batch_size": 4,
        "seq_len": 12,
        "run_dir": str(folder),
    }
    arguments = [part for name, value in fields.items() for part in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", str(notebook), str(folder.parent / "out.ipynb"), *arguments]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    defaults = {
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    }  # a shell's background jobs ignore SIGINT
    return subprocess.Popen(
        command, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **streams, **defaults
    )


def test_a_notebook_saves_and_ends(tmp_path):
    """Five notebooks run at once, one for each way to stop. Signals stop train.ipynb without its figures."""
    slow = slow_training(tmp_path / "slow.ipynb", 0.02)
    ways = {"SIGTERM": slow, "SIGUSR1": slow, "SIGUSR2": slow, "Ctrl-C": TRAIN, "STOP": TRAIN}
    processes = {way: papermill(notebook, tmp_path / way / "run") for way, notebook in ways.items()}
    for way, process in processes.items():
        folder = tmp_path / way / "run"
        wait_until(lambda folder=folder: logged(folder) >= 20)
        if way == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        elif way == "STOP":
            (folder / "STOP").touch()
        else:
            os.kill(n2n.Run(folder).status["pid"], signal.Signals[way])
    for way, process in processes.items():
        folder = tmp_path / way / "run"
        _, stderr = process.communicate(timeout=120)
        assert process.returncode != 0
        status = n2n.Run(folder).status
        assert status["state"] == "preempted", stderr
        assert checkpoint.steps(folder / "checkpoints")[-1] == status["step"]
        wait_until(lambda pid=status["pid"]: not psutil.pid_exists(pid))
    wait_until(lambda: not still_there(str(tmp_path)))
