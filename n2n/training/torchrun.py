"""Training with several processes, on one machine or on the nodes of a Slurm job.

torch's elastic launcher starts the processes; this module waits for them and ends them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from functools import partial

import psutil
import torch

from n2n.config.train_config import TrainConfig
from n2n.data import Batches
from n2n.monitor.metrics import formatted_row
from n2n.monitor.rows import DamagedFile, last_row
from n2n.monitor.stop import Preempted, Stop
from n2n.runs.folder import LAUNCH_LOCK, TRAINING_LOCK, RunFolder
from n2n.runs.run import Run
from n2n.training.batches import open_batches, rehearsal
from n2n.training.hardware import nodes, processes_per_node
from n2n.training.learner import check_checkpoint
from n2n.training.live_curve import live_curve
from n2n.training.process_group import LAUNCHED, ProcessGroup
from n2n.training.run_folder import WritableRunFolder, open_for_writing
from n2n.utils.cpu import cores
from n2n.utils.files import tail
from n2n.utils.lock import LockHeld, locked
from n2n.utils.threads import THREADS_VARIABLE, Threads, choose_threads, torch_threads

PERIOD = 0.2  # seconds between looks at the run's folder
PATIENCE = 60.0  # seconds that processes may take to save after their launcher has ended
START = 300.0  # seconds until the first process must have joined the group
MAX_TAIL = 4000  # bytes of torchrun's log in an error


def launch(config: TrainConfig, requested: RunFolder | None, device: torch.device) -> Run:
    """Train with ``config.processes`` processes, an equal number on each node of this Slurm job.

    This process shows their progress. Whatever would stop a run in this process stops them: they save, leave at the
    same step, and all of them end. Before they train there is nothing to save, and they are ended at once.

    Args:
        config: the whole configuration, already checked.
        requested: folder of the run; None makes a new one.
        device: what the processes train on.

    Raises:
        ValueError: if a trainer is at work in the folder, if a checkpoint there belongs to something else, if the data
            do not fit, or if the nodes do not divide the processes. Nothing on disk is changed.
        Preempted: if a signal requested a stop; the processes have saved and left.
        RuntimeError: if a process failed, with its traceback; or if none joined within ``START`` seconds, with the end
            of torchrun's log.
    """
    processes_per_node(config)
    batches = open_batches(config, ProcessGroup())
    with open_for_writing(requested, config, ProcessGroup(), [LAUNCH_LOCK]) as folder:
        threads = _prepare(folder, batches, device)
        process = _start(folder, threads)
        stop = Stop(folder.stop_path)
        try:
            with stop:
                trained = _watch(process, folder, stop)
            if not trained:
                folder.write_status("preempted", folder.last_step)
        except BaseException as error:
            _end(process)
            state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
            if folder.in_place:
                folder.write_status(state, folder.last_step, error=traceback.format_exc())
            raise
        finally:
            if folder.in_place:
                stop.clear()
        folder.check_in_place(f"See {folder.torchrun_log_path.name} in its logs.")
        return _result(folder, stop, process.returncode)


def _prepare(folder: WritableRunFolder, batches: Batches, device: torch.device) -> int:
    """Check the checkpoint, write the configuration, and choose the number of threads of each process."""
    config = folder.config
    # The lock excludes processes that still train although their launcher has ended.
    with open_for_writing(folder, config, ProcessGroup(), [TRAINING_LOCK]):
        newest = folder.resumable(on_skip=lambda line: None)  # the processes warn
        if newest:
            check_checkpoint(newest, config, batches, folder)
        step = newest.step if newest else 0
        chosen = Threads(max(1, cores() // processes_per_node(config)), "an equal part of the cores")
        if device.type == "cpu" and config.compile != "on" and step < config.steps:
            work = partial(rehearsal, config.build_model("torch"), batches, config)
            chosen = choose_threads(work, config.steps - step, chosen.number, folder.previous_threads())
        with torch_threads(chosen.number):
            folder.describe()
        folder.write_status("running", step)
    folder.log(f"of each process: {chosen}")
    return chosen.number


def _start(folder: WritableRunFolder, threads: int) -> subprocess.Popen:
    environment = {**os.environ, THREADS_VARIABLE: str(threads), LAUNCHED: "1"}
    with open(folder.torchrun_log_path, "ab") as log:
        streams = {"stdout": log, "stderr": log, "env": environment}
        return subprocess.Popen(_command(folder), start_new_session=True, **streams)


def _command(folder: WritableRunFolder) -> list[str]:
    """The command that runs ``n2n.training.agent``; in a Slurm job of several nodes once on each."""
    torchrun = [sys.executable, "-m", "n2n.training.agent", f"--nproc-per-node={processes_per_node(folder.config)}"]
    worker = ["-m", "n2n.training", str(folder.config_path)]
    if nodes() == 1:  # the processes meet on the loopback interface, because the machine's name may not resolve
        return [*torchrun, "--standalone", "--local-addr=127.0.0.1", *worker]
    with socket.socket() as free:
        free.bind(("", 0))
        endpoint = f"{socket.gethostname()}:{free.getsockname()[1]}"
    srun = ["srun", "--overlap", "--quit-on-interrupt", "--kill-on-bad-exit=1", f"--nodes={nodes()}"]
    srun += [f"--ntasks={nodes()}", "--ntasks-per-node=1"]
    if "SLURM_CPUS_PER_TASK" in os.environ:
        srun.append(f"--cpus-per-task={os.environ['SLURM_CPUS_PER_TASK']}")
    rendezvous = [f"--nnodes={nodes()}", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}"]
    return [*srun, *torchrun, *rendezvous, f"--rdzv-id={folder.path.name}", *worker]


def _watch(process: subprocess.Popen, folder: WritableRunFolder, stop: Stop) -> bool:
    """Show the latest row until the processes have ended; pass a request to stop on as the file ``STOP``, once.

    Returns:
        False if a stop was requested before they trained; they have been ended then.
    """
    done, passed_on, start = folder.last_step, False, _Start(folder)
    with live_curve(folder, done, folder.config.steps) as view:
        while process.poll() is None:
            if stop.requested and not start.is_training:
                _end(process)
                return False
            if stop.requested and not passed_on:
                folder.stop_path.touch()
                passed_on = True
            start.check_time()
            row = None
            with contextlib.suppress(DamagedFile):  # the processes report damage
                row = last_row(folder.metrics_path)
            if row and row["step"] >= done:
                done = row["step"] + 1
                view.update(done, formatted_row(row))
            time.sleep(PERIOD)
    return True


class _Start:
    """The progress of processes that are starting.

    Args:
        folder: folder of the run; this process wrote its ``status.json`` last.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._began = folder, time.monotonic()
        self._log_bytes = self._count_log_bytes()
        self._status = folder.status_path.read_bytes()

    def _count_log_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.logs_path.glob("rank*.log"))

    @property
    def is_training(self) -> bool:
        """Whether the first process has written ``status.json``. From then on it obeys the file ``STOP``."""
        return self._folder.status_path.read_bytes() != self._status

    def check_time(self) -> None:
        """Raise a ``RuntimeError`` if no process has joined in time. A process that joins writes a line to its log."""
        if time.monotonic() - self._began > START and self._count_log_bytes() == self._log_bytes:
            raise RuntimeError(
                f"no process of {self._folder.path} has joined the others within {START:g} s. torchrun's log ends "
                f"with:\n{_log_tail(self._folder)}"
            )


def _log_tail(folder: RunFolder) -> str:
    return tail(folder.torchrun_log_path, MAX_TAIL)


def _end(process: subprocess.Popen) -> None:
    """Kill torchrun and all its descendants at once; srun ends those on other nodes."""
    with contextlib.suppress(psutil.NoSuchProcess, subprocess.TimeoutExpired):
        if process.args[0] == "srun":
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE / 2)
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _result(folder: WritableRunFolder, stop: Stop, code: int) -> Run:
    _wait_until_unlocked(folder)
    status = folder.read_status()
    if status["state"] == "running":  # the processes were killed before they could write
        folder.write_status("failed", folder.last_step, error=f"torchrun ended with {code}:\n{_log_tail(folder)}")
        status = folder.read_status()
    if status["state"] == "failed":
        raise RuntimeError(f"a process of {folder.path} failed at step {status['step']}:\n{status['error']}")
    if stop.signal:
        saved = f"saved at step {status['step']} of {folder.config.steps}, training again goes on"
        raise Preempted(f"{stop.reason}: {saved}", stop.signal)
    return Run(folder.path)


def _wait_until_unlocked(folder: RunFolder) -> None:
    """Wait for processes that are still saving because torch's launcher was killed."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with locked(folder.path / TRAINING_LOCK, wait=False):
                return
        except LockHeld:
            time.sleep(PERIOD)
