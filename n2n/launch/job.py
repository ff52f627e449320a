"""Jobs: papermill executes the notebook of a point; a job can be stopped, requeued and resumed without loss."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from n2n.monitor.status import now
from n2n.runs.folder import RunFolder
from n2n.utils.files import read_object_or_empty, write_json
from n2n.utils.lock import LockHeld, locked

NOTEBOOK = "notebook.ipynb"
CANCELLED = ".cancelled"  # in the folder of a cancelled point, whose job must not requeue itself
REQUEUE, LEAVE = signal.SIGUSR2, signal.SIGTERM  # Slurm sends the first before a job's time is up
MAX_FRUITLESS = 3  # jobs in a row that saved no further step
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class JobFailed(RuntimeError):
    """A notebook failed; the message is its traceback."""


@dataclass(frozen=True)
class NotebookJob:
    """The function that submitit pickles and calls in the job's first process.

    Args:
        notebook: notebook to execute.
        folder: folder of the point, for the executed notebook, the run's files and ``job.json``.
        parameters: parameters for papermill.
        environment: environment variables for the notebook's kernel.
        fruitless: number of jobs in a row before this one that ended without saving a further step.
    """

    notebook: Path
    folder: Path
    parameters: dict[str, Any]
    environment: dict[str, str]
    fruitless: int = 0

    def __call__(self) -> str:
        """Execute the notebook.

        Returns:
            ``"done"``, or ``"preempted"`` if it saved and stopped on a signal.

        Raises:
            JobFailed: if the notebook failed, or another job works in the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.folder / ".job.lock", wait=False):
                state, error, signals = self._run()
        except LockHeld:
            raise JobFailed(f"another job works in {self.folder}") from None
        cancelled = (self.folder / CANCELLED).exists()
        if state == "preempted" and signals.requeue and not cancelled and callable(signal.getsignal(REQUEUE)):
            os.kill(os.getpid(), REQUEUE)  # submitit's handler calls ``checkpoint`` and requeues
        if state == "failed":
            raise JobFailed(error)
        return state

    def _run(self) -> tuple[str, str | None, _Signals]:
        """Return the state in which the notebook ended, its traceback if it failed, and the signals received."""
        stop_path = RunFolder(self.folder).stop_path
        stop_path.unlink(missing_ok=True)  # left for an earlier job
        first_step, before = self.step, self._run_status()
        with _Signals(self.folder) as signals, _environment(self.environment):
            self._write("running", first_step)
            error = self._execute(signals)
        after = self._run_status()
        state = _state(error, after.get("state") if after != before else None, signals)
        self._write(state, first_step, None if state == "done" else error)
        stop_path.unlink(missing_ok=True)
        return state, error, signals

    def checkpoint(self) -> Any:
        """Return the same job for submitit to requeue; None if it made no progress too often."""
        from submitit.helpers import DelayedSubmission

        first_step = read_job(self.folder).get("begun_at_step", 0)
        fruitless = 0 if self.step > first_step else self.fruitless + 1
        if fruitless == MAX_FRUITLESS:
            error = f"{fruitless} jobs in a row ended before they saved a step beyond {first_step}; give them more time"
            self._write("failed", first_step, error)
            return None
        self._write("requeued", first_step)
        return DelayedSubmission(dataclasses.replace(self, fruitless=fruitless))

    @property
    def step(self) -> int:
        """Last step that the run in the folder saved; 0 without a run."""
        return int(self._run_status().get("step", 0))

    def _run_status(self) -> dict[str, Any]:
        return read_object_or_empty(RunFolder(self.folder).status_path)

    def _execute(self, signals: _Signals) -> str | None:
        """Run the notebook, and return its traceback if it failed."""
        for attempt in (1, 2):
            try:
                self._papermill()
            except RuntimeError as error:  # two kernels that start at the same time may choose the same port
                if attempt == 1 and "before replying to kernel_info" in str(error) and not signals.any:
                    continue
                return _COLOURS.sub("", traceback.format_exc())
            except Exception as error:
                return _COLOURS.sub("", str(error) if hasattr(error, "ename") else traceback.format_exc())
            return None
        return None

    def _papermill(self) -> None:
        import papermill
        from traitlets.config import Config

        papermill.execute_notebook(
            str(self.notebook),
            str(self.folder / NOTEBOOK),
            parameters=self.parameters,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            config=Config(
                {"KernelManager": {"transport_encryption": "auto"}}
            ),  # silences ipykernel's warning about TCP without encryption
            kernel_name="python3",
        )

    def _write(self, state: str, first_step: int, error: str | None = None) -> None:
        """Replace ``job.json``."""
        job = {
            "state": state,
            "job_id": job_id(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "begun_at_step": first_step,
            "updated_at": now(),
            "error": error,
        }
        write_json(RunFolder(self.folder).job_path, job)


def _state(error: str | None, run_state: str | None, signals: _Signals) -> str:
    """Return the state of a job that ended.

    Args:
        error: traceback of the notebook; a notebook whose training is stopped fails afterwards.
        run_state: state that the run wrote during this job; None if it wrote none.
        signals: signals that the job received.
    """
    if error is None:
        return "done" if run_state in (None, "done") else "preempted"
    stopped = run_state == "preempted" or (signals.any and run_state != "failed")
    return "preempted" if stopped else "failed"


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables temporarily; by default, the number of threads is that of the cores from Slurm."""
    before = dict(os.environ)
    if "SLURM_CPUS_ON_NODE" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", os.environ["SLURM_CPUS_ON_NODE"])
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def read_job(folder: Path) -> dict[str, Any]:
    """Return what the last job in a point's folder wrote; empty if there was none."""
    return RunFolder(folder).read_job()


def job_id() -> str | None:
    """Return submitit's identifier of the job that this process is; None outside of a job."""
    from submitit import JobEnvironment

    try:
        return JobEnvironment().job_id
    except (RuntimeError, KeyError):
        return None


class _Signals:
    """Records the signals that ask a job to end, and asks its notebook to end.

    The file ``STOP`` asks a run. Slurm sends its signals to the kernel, too; without Slurm they are passed on to it,
    which ends a kernel that does not train. Handlers are installed only in the main thread, and the previous ones are
    restored.
    """

    def __init__(self, folder: Path) -> None:
        self._stop_path = RunFolder(folder).stop_path
        self._before: dict[signal.Signals, Callable[..., Any] | int | None] = {}
        self.requeue = self.leave = False

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (REQUEUE, LEAVE):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def any(self) -> bool:
        return self.requeue or self.leave

    def _on_signal(self, number: int, frame: object) -> None:
        if number == REQUEUE:
            self.requeue = True
        else:
            self.leave = True
        self._stop_path.touch()
        if "SLURM_JOB_ID" in os.environ:
            return
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if "ipykernel" in " ".join(child.cmdline()):
                    child.send_signal(number)
