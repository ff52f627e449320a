"""The CPU: number of usable cores, work on several threads, memory that stays with the process.

``cores`` is neither ``psutil.cpu_count`` nor joblib's: it also respects ``$OMP_NUM_THREADS``.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TypeVar

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's parameters, from malloc.h
MAX_KEPT = 2**25  # bytes of one allocation: the largest value that glibc allows
KEPT = 2**30  # bytes of freed memory that stay with the process

Part = TypeVar("Part")

THREADS_VARIABLE = "OMP_NUM_THREADS"
CONTROL_GROUP = "/sys/fs/cgroup/cpu.max"  # a container's processor time in each period, and the period, microseconds


def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GiB of freed memory for the process, because each training step reuses it.

    By default glibc returns large allocations to the system when they are freed, and every page of the next allocation
    costs a page fault: on two cores a training step of a Mamba took a third longer. The setting applies to the whole
    process, which then returns less memory to the system. Results do not change.

    Returns:
        whether the C library accepted the setting; only glibc does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all([mallopt(_MMAP_THRESHOLD, MAX_KEPT), mallopt(_TRIM_THRESHOLD, KEPT)])


def cores() -> int:
    """Number of cores that this process may use, at most ``$OMP_NUM_THREADS``, which also limits torch's threads.

    A container's limit of processor time counts as a number of cores, rounded up.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([available, *_quota(CONTROL_GROUP), *threads_from_environment()]))


def run_parts(work: Callable[[Part], None], parts: Iterable[Part], threads: int) -> None:
    """Call ``work`` for each part on several threads, one of which is the caller's.

    A thread takes the next part when it has done one, so a thread that is held up leaves its work to the others. A call
    costs less than one of a thread pool, which starts and ends its threads one after the other.

    Raises:
        BaseException: the first error of ``work``, after which no thread takes a further part.
    """
    parts = list(parts)
    waiting, errors = iter(parts), []  # threads may share the iterator of a list

    def take() -> None:
        try:
            for part in waiting:
                if errors:
                    return
                work(part)
        except BaseException as error:
            errors.append(error)

    others = [threading.Thread(target=take) for _ in range(min(threads, len(parts)) - 1)]
    for thread in others:
        thread.start()
    take()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]


def threads_from_environment() -> list[int]:
    """The number of threads in ``$OMP_NUM_THREADS``; empty if it is not set."""
    value = os.environ.get(THREADS_VARIABLE, "")
    return [int(value)] if value.isdecimal() else []


@cache
def _quota(path: str | os.PathLike) -> list[int]:
    """The limit of a container's control group, in cores; empty if there is none."""
    try:
        share, period = Path(path).read_text().split()
    except (OSError, ValueError):
        return []
    return [-(-int(share) // int(period))] if share.isdecimal() else []
