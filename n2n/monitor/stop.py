"""Being stopped: signals and a file that ask a run to save and leave, and how it leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from n2n.utils.processes import KernelParent, outliving_parent

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)
STOP_FILE = "STOP"


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

    SIGTERM, SIGUSR1, SIGUSR2, SIGHUP (the terminal was closed) and the first Ctrl-C ask, and so do a file ``STOP`` in
    the folder and, in a notebook's kernel, the end of the program that started it; it counts as a SIGHUP. Handlers are
    installed in the main thread alone, and those before are put back; a SIGHUP that is ignored, as under ``nohup``,
    stays ignored. A second Ctrl-C raises ``KeyboardInterrupt`` at once, except under torchrun, which sends a terminal's
    Ctrl-C on to processes that may have it already.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / STOP_FILE
        self._before: dict[signal.Signals, Any] = {}
        self._patient = "TORCHELASTIC_RUN_ID" in os.environ
        self._parent, self._inside = KernelParent(), contextlib.ExitStack()
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Stop:
        self._inside.enter_context(outliving_parent())
        if threading.current_thread() is threading.main_thread():
            heard = [one for one in SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not installed from Python, and that Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._inside.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    @property
    def asked(self) -> bool:
        """Whether a signal came, the program that started this kernel is gone, or the file is there."""
        if self.signal is None and self._parent.gone:
            self.signal = signal.SIGHUP
        return self.signal is not None or self._file.exists()

    @property
    def by(self) -> str:
        """Who asked, for people."""
        if self.signal == signal.SIGHUP and self._parent.gone:
            return "the end of the program that ran this notebook"
        if self.signal:
            return self.signal.name
        return f"the file {STOP_FILE}" if self._file.exists() else "another rank"

    def answered(self) -> None:
        """The run has left or is done: the file has done its work, and does not stop the next one."""
        self._file.unlink(missing_ok=True)
