"""The CPU: how many cores there are to use, functions compiled for it, memory that stays with the process."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt's parameters, from malloc.h
MAX_KEPT = 2**25  # bytes of one piece: the most that glibc allows
KEPT = 2**30  # bytes of freed memory in all that stay with the process


F = TypeVar("F", bound=Callable)


THREADS_VARIABLE = "OMP_NUM_THREADS"
CONTROL_GROUP = "/sys/fs/cgroup/cpu.max"  # microseconds that a container may compute in each period of so many


def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GiB of freed memory for the process, which is what a step of training reuses.

    By default glibc gives large pieces back to the system as soon as they are freed, and every page of the next one
    costs an interruption: on two cores a step of a Mamba took a third longer. It holds for the whole process, whose
    memory then falls less when it is freed; numbers do not change.

    Returns:
        whether the C library took it; others than glibc do not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all([mallopt(_MMAP_THRESHOLD, MAX_KEPT), mallopt(_TRIM_THRESHOLD, KEPT)])


def compiled(function: F) -> F:
    """``numba.njit`` that releases the GIL and keeps its machine code on disk, where any cache folder is writable.

    A cache that is damaged is emptied, and one that cannot be written to is done without: one warning tells it.
    """
    try:
        dispatcher = numba.njit(nogil=True, cache=True)(function)
    except (RuntimeError, OSError):  # numba found no folder to cache in
        return numba.njit(nogil=True)(function)
    dispatcher._cache = TolerantCache(dispatcher._cache)
    return dispatcher


class TolerantCache:
    """A cache of numba's that never stops a compilation.

    numba lets every error through. An index left empty by a full disk or a killed machine would stop each call of the
    function for ever, and a full disk each first call.
    """

    told = False  # whether this process has warned: a damaged or full disk concerns all functions alike

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:
        """What numba's own gives, or None, as of a function that is not cached."""
        try:
            return self._cache.load_overload(*arguments)
        except Exception as error:  # a damaged pickle may raise any
            self._make_anew(error)
            return None

    def save_overload(self, *arguments: Any) -> None:
        """As numba's own, if it can."""
        try:
            self._cache.save_overload(*arguments)
        except Exception as error:
            self._warn(f"cannot be written to ({_said(error)}), so n2n compiles anew in each process")

    def _make_anew(self, error: Exception) -> None:
        try:
            self._cache.flush()
        except Exception as also:
            said = f"is damaged ({_said(error)}) and cannot be emptied ({_said(also)}), so n2n compiles in each process"
        else:
            said = f"was damaged ({_said(error)}) and is made anew"
        self._warn(said)

    def _warn(self, said: str) -> None:
        if not TolerantCache.told:
            TolerantCache.told = True
            folder = self._cache.cache_path
            warnings.warn(
                f"numba's cache in {folder} {said}. NUMBA_CACHE_DIR names another folder", RuntimeWarning, stacklevel=3
            )


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"


def cores() -> int:
    """The cores that this process may use, no more than ``$OMP_NUM_THREADS``, which limits torch's threads too.

    A container's limit of processor time counts as so many cores, rounded up.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([there, *_quota(CONTROL_GROUP), *threads_from_environment()]))


def threads_from_environment() -> list[int]:
    """The number of threads that the user names by ``$OMP_NUM_THREADS``, or none."""
    value = os.environ.get(THREADS_VARIABLE, "")
    return [int(value)] if value.isdecimal() else []


@cache
def _quota(path: str | os.PathLike) -> list[int]:
    """The limit that a container's control group sets, in cores, or none."""
    try:
        share, period = Path(path).read_text().split()
    except (OSError, ValueError):
        return []
    return [-(-int(share) // int(period))] if share.isdecimal() else []
