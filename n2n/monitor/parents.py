"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

_PDEATHSIG = 1  # of prctl, from linux/prctl.h


def end_with_parent(number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent ends, be it killed; on Linux alone."""
    parent = os.getppid()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, int(number))
    if os.getppid() != parent:  # it ended meanwhile
        os.kill(os.getpid(), number)
