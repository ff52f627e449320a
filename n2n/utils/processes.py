"""Processes and those that started them: whether one outlives the other, and for how long."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator

_PDEATHSIG = 1  # of prctl, from linux/prctl.h


def end_with_parent(number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent ends, be it killed; on Linux alone."""
    parent = os.getppid()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, int(number))
    if os.getppid() != parent:  # it ended meanwhile
        os.kill(os.getpid(), number)


class KernelParent:
    """The program that started this process if it is a notebook's kernel, such as papermill; else nobody."""

    def __init__(self) -> None:
        named = os.environ.get("JPY_PARENT_PID", "")  # processes that a kernel starts inherit it
        self._number = os.getppid() if named == str(os.getppid()) else None

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._number is not None and os.getppid() != self._number


class _Anyone(int):
    """A process's number that equals every other."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


@contextlib.contextmanager
def outliving_parent() -> Iterator[None]:
    """A notebook's kernel lives on when the program that started it ends, so that it can save; until this is left.

    ipykernel compares its parent's number once a second, and ends the process at once where it has changed.
    """
    module = sys.modules.get("ipykernel.kernelapp")
    app = module.IPKernelApp.instance() if module and module.IPKernelApp.initialized() else None
    poller = getattr(app, "poller", None)
    number = getattr(poller, "parent_pid", None)
    if not number:
        yield
        return
    poller.parent_pid = _Anyone(number)
    try:
        yield
    finally:
        poller.parent_pid = number
