"""torchrun by its command, and torchrun whose agent and processes are forked from a server that has imported all.

In the second, the agent, the rendezvous, the signals and the tree of processes are torch's own as well. Only the start
of three programs, each of which imports torch, is saved.
"""

import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO
from unittest import mock

import psutil
from support.killed_trainers import trainer
from support.run_folders import config, still_there, wait_until
from torch.distributed import run as torch_run
from torch.distributed.elastic.multiprocessing.api import MultiprocessContext

from n2n.training import agent, learner, torchrun as launcher
from n2n.training.cli import main
from n2n.training.trainer import train

TESTS = Path(__file__).parents[1]
LAUNCHER = """
import n2n
from support.run_folders import config
n2n.train(config(**{fields!r}, run_dir={folder!r}))
print("not reached")
"""
LAUNCHED = {"steps": 10**6, "batch_size": 8, "processes": 2, "schedule": "constant", "warmup": 0.0}
Started = subprocess.Popen | multiprocessing.Process  # by its command, or forked


def slow_down() -> None:
    """Make each step take longer, which leaves time to stop there."""
    real = learner.update
    learner.update = lambda *arguments: time.sleep(0.05) or real(*arguments)


def fail_in_second_process() -> None:
    """Make the eighth step of the process of rank 1 fail."""
    real, calls = learner.update, itertools.count(1)

    def update(*arguments):
        if next(calls) == 8 and os.environ["RANK"] == "1":
            raise ArithmeticError("of the second process")
        return real(*arguments)

    learner.update = update


def torchrun(path: Path, errors: Path, processes: int = 2, before: Callable = time.time) -> multiprocessing.Process:
    """Start torchrun for a run's ``config.json``; each process calls ``before`` first, and stderr goes to a file."""
    command = ["--standalone", f"--nproc-per-node={processes}", "-m", "n2n.training", str(path)]
    return trainer(_torchrun, command, dict(os.environ), errors, before, daemon=False)


def launched(fields: dict, errors: Path) -> multiprocessing.Process:
    """A started process that calls ``n2n.train``, whose agent and processes are forked from it."""
    return trainer(_launch, fields, dict(os.environ), errors, daemon=False)


def program(arguments: list[str], log: Path) -> subprocess.Popen:
    """Start Python in a session of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    with open(log, "ab") as file:
        streams = {"stdout": file, "stderr": file, "env": environment}
        return subprocess.Popen([sys.executable, *arguments], start_new_session=True, **streams)


def exit_code(process: Started) -> int:
    """Wait for the end of a process."""
    if isinstance(process, subprocess.Popen):
        return process.wait(60)
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def launcher_program(folder: Path, log: Path) -> subprocess.Popen:
    """A program that trains with two processes."""
    return program(["-c", LAUNCHER.format(folder=str(folder), fields=LAUNCHED)], log)


def assert_all_gone(processes: list[psutil.Process], folder: Path) -> None:
    """Assert that processes end, and all whose command names a folder."""
    wait_until_gone(processes)
    wait_until(lambda: not still_there(str(folder)))


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def wait_until_gone(processes: list[psutil.Process]) -> None:
    """Wait until all have ended."""
    for process in processes:
        wait_until(lambda process=process: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def _torchrun(command: list[str], environment: dict[str, str], errors: Path, before: Callable) -> None:
    with open(errors, "ab") as file:
        _become_torchrun(torch_run.main, command, {**environment, "OMP_NUM_THREADS": "1"}, file.fileno(), before)


def _launch(fields: dict, environment: dict[str, str], errors: Path) -> None:
    """Train as ``n2n.train`` does, but with an agent that is forked."""
    os.environ.clear()
    os.environ.update(environment)
    with open(errors, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    forking = SimpleNamespace(Popen=_Agent, TimeoutExpired=subprocess.TimeoutExpired)
    with mock.patch.object(launcher, "subprocess", forking):
        train(config(**fields))


class _Agent:
    """The part of ``subprocess.Popen`` that a launcher uses; it forks."""

    def __init__(self, command: list[str], *, stdout: BinaryIO, env: dict[str, str], **_: object) -> None:
        self.args = command
        given = (agent.main, command[command.index("n2n.training.agent") + 1 :], env, stdout.fileno(), time.time)
        self._process = multiprocessing.get_context("fork").Process(target=_become_torchrun, args=given)
        self._process.start()
        self.pid, self.kill = self._process.pid, self._process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int | None:
        self._process.join()
        return self.returncode


def _become_torchrun(
    run: Callable, command: list[str], environment: dict[str, str], output: int, before: Callable
) -> None:
    """Run torch's agent in this process, with forked functions as its processes."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(output, 1)
    os.dup2(output, 2)
    real, path = torch_run.config_from_args, command[-1]
    torch_run.config_from_args = lambda arguments: (real(arguments)[0], _worker, [path, before])
    close = MultiprocessContext._close

    def close_at_once(context: MultiprocessContext, *arguments, **named) -> None:
        context._worker_finished_event.set()  # otherwise a process that has ended waits until it is killed
        close(context, *arguments, **named)

    MultiprocessContext._close = close_at_once
    sys.argv = ["torchrun", "--start-method=fork", *command]
    run()


def _worker(path: str, before: Callable) -> None:
    before()
    if code := main([path]):
        sys.exit(code)
