"""Requests to stop: signals and a file that make a run save and leave."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from n2n.monitor.processes import KernelParent, outliving_parent

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)


class Preempted(KeyboardInterrupt):
    """A signal made a run save and leave. Training again in its folder resumes it.

    It is a ``KeyboardInterrupt``, so that the rest of a script or notebook does not run.

    Args:
        message: for the user.
        number: the signal.
    """

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.signal = number


class Stop:
    """Requests to stop; use as a context manager.

    SIGTERM, SIGUSR1, SIGUSR2, SIGHUP (the terminal was closed) and the first Ctrl-C are requests. So are the file
    ``path`` and, in a notebook's kernel, the end of the program that started it, which counts as SIGHUP. Handlers are
    installed only in the main thread, and the previous ones are restored. SIGHUP stays ignored if it was, as under
    ``nohup``. A second Ctrl-C raises ``KeyboardInterrupt`` at once, except under torchrun, which forwards a terminal's
    Ctrl-C to processes that may already have received it.

    Args:
        path: the file that requests a stop.

    Attributes:
        signal: the last signal, or None.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._previous: dict[signal.Signals, Any] = {}
        self._under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
        self._parent, self._contexts = KernelParent(), contextlib.ExitStack()
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Stop:
        self._contexts.enter_context(outliving_parent())
        if threading.current_thread() is threading.main_thread():
            numbers = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
            self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and that Python cannot restore.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._contexts.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == signal.SIGINT and not self._under_torchrun:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    @property
    def requested(self) -> bool:
        """Whether a signal arrived, the kernel's parent program ended, or the file exists."""
        if self.signal is None and self._parent.gone:
            self.signal = signal.SIGHUP
        return self.signal is not None or self._path.exists()

    @property
    def reason(self) -> str:
        """The source of the request, for the user."""
        if self.signal == signal.SIGHUP and self._parent.gone:
            return "the end of the program that ran this notebook"
        if self.signal:
            return self.signal.name
        return f"the file {self._path.name}" if self._path.exists() else "another process"

    def clear(self) -> None:
        """Delete the file, so that it does not stop the next run."""
        self._path.unlink(missing_ok=True)
