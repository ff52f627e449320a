"""Several processes, on one machine or on a Slurm job's nodes: started by torch's elastic launcher, watched, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

import psutil
import torch

from n2n.config.train_config import TrainConfig
from n2n.monitor import checkpoint
from n2n.monitor.metrics import METRICS, formatted_row
from n2n.monitor.status import STATUS
from n2n.monitor.stop import STOP_FILE, Preempted, Stop
from n2n.runs.run import Run
from n2n.training.learner import Learner
from n2n.training.live_curve import live_curve
from n2n.training.ranks import LAUNCHED, Ranks
from n2n.training.run_folder import (
    ANSWERS,
    TRAINS,
    describe,
    line_logger,
    owned,
    resumable,
    threads_before,
    write_status,
)
from n2n.utils.cpu import cores
from n2n.utils.files import tail
from n2n.utils.lock import LockHeld, locked
from n2n.utils.processes import end_with_parent
from n2n.utils.rows import DamagedFile, last_row
from n2n.utils.threads import THREADS_VARIABLE, Threads, choose_threads, torch_threads

PERIOD = 0.2  # seconds between looks at the run's folder
PATIENCE = 60.0  # seconds that processes may take to save once their launcher is gone
START = 300.0  # seconds that processes may take until the first of them has joined the others
TORCHRUN, TAIL = "torchrun.log", 4000  # its log, and bytes of it in an error


def launch(config: TrainConfig, folder: Path | None, learner: Learner, device: torch.device) -> Run:
    """Train with ``config.processes`` processes, an equal number on each node of the Slurm job that this is in.

    Their progress is shown here. What would stop a run in this process stops them: they save, leave at the same step,
    and none is left. Before they train there is nothing to save, and they are ended at once.

    Args:
        config: the whole configuration, already checked.
        folder: of the run; None: a new one.
        learner: of one process, which knows what a checkpoint must be; on the CPU.
        device: what the processes learn on.

    Raises:
        ValueError: a trainer is at work in the folder, a checkpoint of something else, or processes that the nodes do
            not divide. Nothing on disk is touched.
        Preempted: a signal asked it to leave; the processes have saved and left.
        RuntimeError: a process failed, with its traceback; or they did not start within ``START`` seconds, with the end
            of their log.
    """
    processes_per_node(config)
    with owned(folder, config, Ranks(), [ANSWERS]) as ours:
        folder = ours.path
        threads = _prepare(config, folder, learner, device)
        process = _started(config, folder, threads)
        stop = Stop(folder)
        try:
            with stop:
                trained = _watch(process, config, folder, stop)
            if not trained:
                write_status(folder, config, "preempted", _saved(folder))
        except BaseException as error:
            _end(process)
            state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
            if ours.in_place:
                write_status(folder, config, state, _saved(folder), error=traceback.format_exc())
            raise
        finally:
            if ours.in_place:
                stop.answered()
        ours.check("torchrun.log among its logs tells more.")
        return _result(config, folder, stop, process.returncode)


def processes_per_node(config: TrainConfig) -> int:
    """Processes that train on each node.

    Raises:
        ValueError: the nodes of this Slurm job do not divide them.
    """
    nodes = _nodes()
    if config.processes % nodes:
        raise ValueError(f"processes: saw {config.processes}, which the job's {nodes} nodes do not divide")
    return config.processes // nodes


def _nodes() -> int:
    """Of the Slurm job that this is in; 1 outside of one."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES", 1))


def _prepare(config: TrainConfig, folder: Path, learner: Learner, device: torch.device) -> int:
    """Write what is to be trained; the threads of each process."""
    with owned(folder, config, Ranks(), [TRAINS]):  # nobody trains there whose launcher is gone
        found = resumable(folder, config, tell=lambda line: None)  # the ranks tell it
        if found:
            learner.refuse_other(found.state, folder)
        step = found.step if found else 0
        chosen = Threads(max(1, cores() // processes_per_node(config)), "an equal part of the cores")
        if device.type == "cpu" and config.compile != "on" and step < config.steps:
            chosen = choose_threads(learner.rehearse, config.steps - step, chosen.number, threads_before(folder))
        with torch_threads(chosen.number):
            describe(folder, config)
        write_status(folder, config, "running", step)
    line_logger(folder)(f"of each process: {chosen}")
    return chosen.number


def _started(config: TrainConfig, folder: Path, threads: int) -> subprocess.Popen:
    environment = {**os.environ, THREADS_VARIABLE: str(threads), LAUNCHED: "1"}
    with open(folder / "logs" / TORCHRUN, "ab") as output:
        said = {"stdout": output, "stderr": output, "env": environment}
        return subprocess.Popen(_command(config, folder), start_new_session=True, **said)


def _saved(folder: Path) -> int:
    return checkpoint.last(folder / "checkpoints")


def _command(config: TrainConfig, folder: Path) -> list[str]:
    """torchrun's own command, by way of ``main`` below; in a Slurm job of several nodes once on each."""
    nodes, count = _nodes(), processes_per_node(config)
    torchrun = [sys.executable, "-m", __name__, f"--nproc-per-node={count}"]
    worker = ["-m", "n2n.training", str(folder / "config.json")]
    if nodes == 1:  # they meet on the loopback interface, because the machine's own name may not resolve
        return [*torchrun, "--standalone", "--local-addr=127.0.0.1", *worker]
    with socket.socket() as free:
        free.bind(("", 0))
        meeting = f"{socket.gethostname()}:{free.getsockname()[1]}"
    srun = ["srun", "--overlap", "--quit-on-interrupt", "--kill-on-bad-exit=1", f"--nodes={nodes}"]
    srun += [f"--ntasks={nodes}", "--ntasks-per-node=1"]
    if "SLURM_CPUS_PER_TASK" in os.environ:
        srun.append(f"--cpus-per-task={os.environ['SLURM_CPUS_PER_TASK']}")
    together = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", f"--rdzv-id={folder.name}"]
    return [*srun, *torchrun, *together, *worker]


def _watch(process: subprocess.Popen, config: TrainConfig, folder: Path, stop: Stop) -> bool:
    """Until the processes have ended: show their latest row; a request to stop becomes the file ``STOP``, once.

    Returns:
        False if they were asked to stop before they trained, and have been ended.
    """
    seen, passed_on, start = _saved(folder), False, _Start(folder)
    with live_curve(folder, seen, config.steps) as view:
        while process.poll() is None:
            if stop.asked and not start.trains:
                _end(process)
                return False
            if stop.asked and not passed_on:
                (folder / STOP_FILE).touch()
                passed_on = True
            start.refuse_late()
            row = None
            with contextlib.suppress(DamagedFile):  # the ranks have the word on that
                row = last_row(folder / METRICS)
            if row and row["step"] >= seen:
                seen = row["step"] + 1
                view.update(seen, formatted_row(row))
            time.sleep(PERIOD)
    return True


class _Start:
    """How far processes that have been started are: none has joined, some have joined, they train.

    Args:
        folder: of the run, whose ``status.json`` this process wrote last.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._began = folder, time.monotonic()
        self._logs = self._logged()
        self._status = (folder / STATUS).read_bytes()

    def _logged(self) -> int:
        return sum(path.stat().st_size for path in (self._folder / "logs").glob("rank*.log"))

    @property
    def trains(self) -> bool:
        """Whether the first process has written ``status.json``, after which it hears of the file ``STOP``."""
        return (self._folder / STATUS).read_bytes() != self._status

    def refuse_late(self) -> None:
        """Raise a ``RuntimeError`` if none has joined in time; each that has joined writes a line into its log."""
        if time.monotonic() - self._began > START and self._logged() == self._logs:
            raise RuntimeError(
                f"no process of {self._folder} has joined the others within {START:g} s. torchrun's log ends with:\n"
                f"{_log_tail(self._folder)}"
            )


def _log_tail(folder: Path) -> str:
    return tail(folder / "logs" / TORCHRUN, TAIL)


def _end(process: subprocess.Popen) -> None:
    """At once, with all that it started; srun ends what it started elsewhere."""
    with contextlib.suppress(psutil.NoSuchProcess, subprocess.TimeoutExpired):
        if process.args[0] == "srun":
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE / 2)
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _result(config: TrainConfig, folder: Path, stop: Stop, code: int) -> Run:
    _wait_until_free(folder)
    run = Run(folder)
    status = run.status
    if status["state"] == "running":  # killed before it could tell
        said = f"torchrun ended with {code}:\n{_log_tail(folder)}"
        write_status(folder, config, "failed", _saved(folder), error=said)
        status = run.status
    if status["state"] == "failed":
        raise RuntimeError(f"a process of {folder} failed at step {status['step']}:\n{status['error']}")
    if stop.signal:
        raise Preempted(
            f"{stop.by}: saved at step {status['step']} of {config.steps}, training again goes on", stop.signal
        )
    return run


def _wait_until_free(folder: Path) -> None:
    """Ranks may outlive a launcher of torch's that was killed, for as long as they save."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with locked(folder / TRAINS, wait=False):
                return
        except LockHeld:
            time.sleep(PERIOD)


def main() -> None:
    """torchrun, which ends when the process that started it does.

    Slurm sends SIGUSR2 to every process of a job: it is for the ranks, which save; torchrun would die of it.
    """
    end_with_parent(signal.SIGTERM)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    from torch.distributed.run import main as torchrun

    torchrun()


if __name__ == "__main__":
    main()
