"""Locks that the system releases when their holder ends, and folders that notice when they are moved.

filelock does not fit: it cannot test from outside, without writing, whether another process holds a lock, and does not
notice that a lock file was moved.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # errors of file systems without locks
_RETRY_AFTER = 0.05  # seconds, enough for ``is_locked`` elsewhere to release its shared lock


class LockHeld(RuntimeError):
    """Another process, or another thread of this one, holds the lock."""


class NoLocks(OSError):
    """The file system has no locks; the message suggests where to write instead."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"{folder} lies on a file system without locks ({reason}), so two processes could write there at once; "
            "name a folder on another file system, with run_dir or the path given, or for all runs by N2N_RUNS"
        )


class FolderGone(RuntimeError):
    """A folder in use, or its lock file, was moved, deleted or replaced."""


@dataclass(frozen=True)
class OpenedPath:
    """An open file or folder and the path that it was opened by.

    Args:
        path: path when it was opened.
        handle: file descriptor.
    """

    path: Path
    handle: int

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to this file or folder."""
        try:
            return os.path.samestat(os.fstat(self.handle), os.stat(self.path))
        except OSError:
            return False

    @property
    def whereabouts(self) -> str | None:
        """The current path; None if it was deleted or the system does not say."""
        try:
            path = os.readlink(f"/proc/self/fd/{self.handle}")
        except OSError:
            return None
        return path if os.path.exists(path) else None


@contextlib.contextmanager
def opened_folder(path: Path) -> Iterator[OpenedPath]:
    """Keep a folder open."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield OpenedPath(path, handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[OpenedPath]:
    """Hold an exclusive lock on a file. The file is created if necessary and stays; child processes do not inherit it.

    Args:
        path: the lock file, which stays empty.
        wait: whether to wait until the holder releases the lock.

    Raises:
        LockHeld: the lock is held, and ``wait`` is false.
        NoLocks: the file system has no locks. A lock file that was created is removed.
    """
    new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            acquired = _acquire(handle, wait)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if new:
                path.unlink(missing_ok=True)
            raise NoLocks(path.parent, error.strerror) from None
        if not acquired:
            raise LockHeld(str(path))
        yield OpenedPath(path, handle)
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool | None:
    """Whether the lock is held; None if that cannot be known. Creates and writes nothing."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return not _try_lock(handle, fcntl.LOCK_SH)
    except OSError:
        return None
    finally:
        os.close(handle)


def _acquire(handle: int, wait: bool) -> bool:
    if wait:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    if _try_lock(handle):
        return True
    time.sleep(_RETRY_AFTER)
    return _try_lock(handle)


def _try_lock(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
