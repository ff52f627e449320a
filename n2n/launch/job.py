"""A job: one point's notebook, executed by papermill; stopped, requeued and resumed without a loss."""

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
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from n2n.runs.folder import RunFolder
from n2n.utils.files import read_object_or_empty, write_json
from n2n.utils.lock import LockHeld, locked

NOTEBOOK = "notebook.ipynb"
CANCELLED = ".cancelled"  # in the folder of a point that was taken back, which does not come back by itself
ASKED_TO_REQUEUE, ASKED_TO_LEAVE = signal.SIGUSR2, signal.SIGTERM  # Slurm sends one before a job's time is up
MAX_FRUITLESS = 3
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class JobFailed(RuntimeError):
    """A notebook failed; its traceback is in the message."""


@dataclass(frozen=True)
class NotebookJob:
    """What submitit runs: a value, called in the job's first process.

    Args:
        notebook: to execute.
        folder: of the point, where the executed notebook, a run's files and ``job.json`` go.
        parameters: for papermill.
        environment: variables that the notebook's kernel gets.
        fruitless: jobs before this one, in a row, that were ended before they had got on.
    """

    notebook: Path
    folder: Path
    parameters: dict[str, Any]
    environment: dict[str, str]
    fruitless: int = 0

    def __call__(self) -> str:
        """Execute the notebook.

        Returns:
            ``"done"``, or ``"preempted"`` if it was told to save and leave.

        Raises:
            JobFailed: the notebook failed, or another job is at work in the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.folder / ".job.lock", wait=False):
                state, error, heard = self._run()
        except LockHeld:
            raise JobFailed(f"another job is at work in {self.folder}") from None
        cancelled = (self.folder / CANCELLED).exists()
        if state == "preempted" and heard.requeue and not cancelled and callable(signal.getsignal(ASKED_TO_REQUEUE)):
            os.kill(os.getpid(), ASKED_TO_REQUEUE)  # submitit's handler asks ``checkpoint`` and requeues
        if state == "failed":
            raise JobFailed(error)
        return state

    def _run(self) -> tuple[str, str | None, _Heard]:
        """The state in which the notebook ended, the traceback if it failed, and what it was told meanwhile."""
        RunFolder(self.folder).stop_path.unlink(missing_ok=True)  # meant for an earlier job
        begun, before = self.step, self._run_status()
        with _Heard(self.folder) as heard, _environment(self.environment):
            self._tell("running", begun)
            error = self._execute(heard)
        after = self._run_status()
        state = _state(error, after.get("state") if after != before else None, heard)
        self._tell(state, begun, None if state == "done" else error)
        RunFolder(self.folder).stop_path.unlink(missing_ok=True)
        return state, error, heard

    def checkpoint(self) -> Any:
        """The same again, for submitit to requeue; None if a job that gets nowhere would come back for ever."""
        from submitit.helpers import DelayedSubmission

        begun = told(self.folder).get("begun_at_step", 0)
        fruitless = 0 if self.step > begun else self.fruitless + 1
        if fruitless == MAX_FRUITLESS:
            nowhere = f"{fruitless} jobs in a row were ended before they had saved a step beyond {begun}"
            self._tell("failed", begun, f"{nowhere}; give them more time")
            return None
        self._tell("requeued", begun)
        return DelayedSubmission(dataclasses.replace(self, fruitless=fruitless))

    @property
    def step(self) -> int:
        """That the run in the folder has saved; 0 without one."""
        return int(self._run_status().get("step", 0))

    def _run_status(self) -> dict[str, Any]:
        return read_object_or_empty(RunFolder(self.folder).status_path)

    def _execute(self, heard: _Heard) -> str | None:
        """Run the notebook; the traceback if it failed."""
        for attempt in (1, 2):
            try:
                self._papermill()
            except RuntimeError as error:  # two kernels that start at once may choose the same port
                if attempt == 1 and "before replying to kernel_info" in str(error) and not heard.any:
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
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # else ipykernel warns of plain TCP
            kernel_name="python3",
        )

    def _tell(self, state: str, begun: int, error: str | None = None) -> None:
        """Replace ``job.json``."""
        about = {"state": state, "job_id": job_id(), "host": socket.gethostname(), "pid": os.getpid()}
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_json(
            RunFolder(self.folder).job_path, {**about, "begun_at_step": begun, "updated_at": now, "error": error}
        )


def _state(error: str | None, run: str | None, heard: _Heard) -> str:
    """Of a job, from its run's own last word, if it said one: a notebook whose training is stopped fails after it."""
    if error is None:
        return "done" if run in (None, "done") else "preempted"
    stopped = run == "preempted" or (heard.any and run != "failed")
    return "preempted" if stopped else "failed"


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """These are set meanwhile; and where nobody says how many threads there may be, as many as Slurm gave cores."""
    before = dict(os.environ)
    if "SLURM_CPUS_ON_NODE" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", os.environ["SLURM_CPUS_ON_NODE"])
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def told(folder: Path) -> dict[str, Any]:
    """What the last job in a point's folder told of itself; empty if there was none."""
    return RunFolder(folder).read_job()


def job_id() -> str | None:
    """The identifier that submitit gives to the job that this process is, None outside of one."""
    from submitit import JobEnvironment

    try:
        return JobEnvironment().job_id
    except (RuntimeError, KeyError):
        return None


class _Heard:
    """Notes the signals that tell a job to end, and tells the notebook.

    A run is told by the file ``STOP``. Slurm sends its signals to the kernel, too; elsewhere they are passed on, and a
    kernel that does not train ends by them. Handlers are installed in the main thread alone, and those before are put
    back.
    """

    def __init__(self, folder: Path) -> None:
        self._file = RunFolder(folder).stop_path
        self._before: dict[signal.Signals, Callable[..., Any] | int | None] = {}
        self.requeue = self.leave = False

    def __enter__(self) -> _Heard:
        if threading.current_thread() is threading.main_thread():
            for number in (ASKED_TO_REQUEUE, ASKED_TO_LEAVE):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def any(self) -> bool:
        return self.requeue or self.leave

    def _note(self, number: int, frame: object) -> None:
        if number == ASKED_TO_REQUEUE:
            self.requeue = True
        else:
            self.leave = True
        self._file.touch()
        if "SLURM_JOB_ID" in os.environ:
            return
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if "ipykernel" in " ".join(child.cmdline()):
                    child.send_signal(number)
