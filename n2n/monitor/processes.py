"""Processes and their parents: which ends with the other, and when.

psutil can report a parent but not end a process with it, which needs the system calls here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator

_PDEATHSIG = 1  # of prctl, from linux/prctl.h


def end_with_parent(number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent ends, even if it is killed; on Linux only."""
    parent = os.getppid()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, int(number))
    if os.getppid() != parent:  # the parent ended before the call
        os.kill(os.getpid(), number)


class KernelParent:
    """The parent of a notebook's kernel, such as papermill; without effect in any other process."""

    def __init__(self) -> None:
        kernel_parent = os.environ.get("JPY_PARENT_PID", "")  # child processes of a kernel inherit it
        self._number = os.getppid() if kernel_parent == str(os.getppid()) else None

    @property
    def gone(self) -> bool:
        """Whether the parent has ended."""
        return self._number is not None and os.getppid() != self._number


class _Anyone(int):
    """A process number that equals every other."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


@contextlib.contextmanager
def outliving_parent() -> Iterator[None]:
    """Within this context a notebook's kernel survives its parent, so that it can save.

    ipykernel compares its parent's number once a second and ends the process at once if the number has changed.
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
