"""The CPU: number of usable cores, compiled functions, work on several threads, memory that stays with the process.

``cores`` is neither ``psutil.cpu_count`` nor joblib's: it also respects ``$OMP_NUM_THREADS``.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's parameters, from malloc.h
MAX_KEPT = 2**25  # bytes of one allocation: the largest value that glibc allows
KEPT = 2**30  # bytes of freed memory that stay with the process

F = TypeVar("F", bound=Callable)
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


def compiled(function: F) -> F:
    """``numba.njit`` that releases the GIL and caches machine code on disk if a cache folder is writable.

    A damaged cache is emptied, and a cache that cannot be written is not used. Both give one warning. Code in the cache
    is used only as long as no file in the function's folder or in ``n2n.utils`` changes: numba itself watches only the
    function's own file, and would keep using old code of functions that it calls in other files.
    """
    import numba  # here, because a launcher that only counts cores starts without it

    try:
        dispatcher = numba.njit(nogil=True, cache=True)(function)
    except (RuntimeError, OSError):  # numba has no folder to cache in
        return numba.njit(nogil=True)(function)
    dispatcher._cache = TolerantCache(dispatcher._cache)
    index = dispatcher._cache._cache_file
    folders = {Path(function.__code__.co_filename).parent, Path(__file__).parent}
    index._source_stamp = (index._source_stamp, *sorted(map(_source_hash, folders)))
    return dispatcher


def compiled_part(function: F) -> F:
    """``numba.njit`` for a function that only compiled functions call, which contain its code.

    It compiles in a fraction of the time, because it needs no conversion of arguments from Python and no cache.
    """
    import numba

    return numba.njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


@cache
def _source_hash(folder: Path) -> str:
    """Hash of all Python files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class TolerantCache:
    """A numba cache whose errors never stop a compilation.

    numba raises every error of its cache. After a full disk or a killed machine, an empty index file would make every
    call of the function fail, and a full disk every first call.
    """

    has_warned = False  # of this process: a damaged or full disk affects all functions alike

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:
        """The overload from numba's cache; None if there is none or the cache is damaged."""
        try:
            return self._cache.load_overload(*arguments)
        except Exception as error:  # a damaged pickle may raise anything
            self._empty(error)
            return None

    def save_overload(self, *arguments: Any) -> None:
        """Save to numba's cache, or warn if that fails."""
        try:
            self._cache.save_overload(*arguments)
        except Exception as error:
            self._warn(f"cannot be written to ({_reason(error)}), so n2n compiles again in each process")

    def _empty(self, error: Exception) -> None:
        try:
            self._cache.flush()
        except Exception as second:
            state = f"is damaged ({_reason(error)}) and cannot be emptied ({_reason(second)})"
            message = f"{state}, so n2n compiles again in each process"
        else:
            message = f"was damaged ({_reason(error)}) and has been emptied"
        self._warn(message)

    def _warn(self, message: str) -> None:
        if not TolerantCache.has_warned:
            TolerantCache.has_warned = True
            folder = self._cache.cache_path
            warnings.warn(
                f"numba's cache in {folder} {message}. NUMBA_CACHE_DIR names another folder",
                RuntimeWarning,
                stacklevel=3,
            )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"


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
