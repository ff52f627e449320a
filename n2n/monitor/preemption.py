"""Being stopped: signals and a file that ask a run to save and leave, and how it leaves."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
FILE = "STOP"


class Preempted(KeyboardInterrupt):
    """A run was asked by a signal to leave, saved its state and left: training again into its folder goes on.

    A ``KeyboardInterrupt``, so that whatever comes after the run in a script or a notebook does not start.

    Args:
        told: for people.
        number: the signal.
    """

    def __init__(self, told: str, number: signal.Signals) -> None:
        super().__init__(told)
        self.signal = number


class Stop:
    """Whether someone asked for the end; use as a context manager.

    SIGTERM, SIGUSR1, SIGUSR2 and the first Ctrl-C ask, and so does a file ``STOP`` in the folder. Handlers are
    installed in the main thread alone, and those before are put back. A second Ctrl-C raises ``KeyboardInterrupt`` at
    once, except under torchrun, which sends a terminal's Ctrl-C on to processes that may have it already.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._before: dict[signal.Signals, Any] = {}
        self._patient = "TORCHELASTIC_RUN_ID" in os.environ
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not installed from Python, and that Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    @property
    def asked(self) -> bool:
        """Whether a signal came or the file is there."""
        return self.signal is not None or self._file.exists()

    @property
    def by(self) -> str:
        """Who asked, for people."""
        if self.signal:
            return self.signal.name
        return f"the file {FILE}" if self._file.exists() else "another rank"

    def answered(self) -> None:
        """The run has left or is done: the file has done its work, and does not stop the next one."""
        self._file.unlink(missing_ok=True)
