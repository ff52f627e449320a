"""Locks that the system releases when their holder ends, and whether what is held is still in its place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # as file systems say that they have none
_BLINK = 0.05  # seconds, in which one who only looks at a lock lets go of it


class LockHeld(RuntimeError):
    """Another process, or another thread of this one, holds the lock."""


class NoLocks(OSError):
    """The file system has no locks; the message says so and names a way on."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"{folder} lies on a file system without locks ({reason}), so two processes could write there at once; "
            "name a folder on another file system, with run_dir or the path given, or for all runs by N2N_RUNS"
        )


class FolderGone(RuntimeError):
    """A folder that this process works in, or its lock there, was moved, deleted or replaced."""


@dataclass(frozen=True)
class OpenedPath:
    """A file or folder that this process holds open, and the path that it was opened by.

    Args:
        path: where it was.
        handle: of the open file.
    """

    path: Path
    handle: int

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to it."""
        try:
            return os.path.samestat(os.fstat(self.handle), os.stat(self.path))
        except OSError:
            return False

    @property
    def whereabouts(self) -> str | None:
        """Its path now, if the system tells; None if it was deleted."""
        try:
            path = os.readlink(f"/proc/self/fd/{self.handle}")
        except OSError:
            return None
        return path if os.path.exists(path) else None


@contextlib.contextmanager
def opened_folder(path: Path) -> Iterator[OpenedPath]:
    """Hold a folder open."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield OpenedPath(path, handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[OpenedPath]:
    """Hold an exclusive lock on a file, which is made if need be and stays.

    Processes that this one starts do not inherit it.

    Args:
        path: of the file, empty for ever.
        wait: for the holder to leave.

    Raises:
        Held: it is held and ``wait`` is off.
        NoLocks: the file system has none; a file that was made for the lock is removed.
    """
    new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            granted = _granted(handle, wait)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if new:
                path.unlink(missing_ok=True)
            raise NoLocks(path.parent, error.strerror) from None
        if not granted:
            raise LockHeld(str(path))
        yield OpenedPath(path, handle)
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool | None:
    """Whether someone holds the lock; None where that cannot be known. Nothing is made or written."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return not _tried(handle, fcntl.LOCK_SH)
    except OSError:
        return None
    finally:
        os.close(handle)


def _granted(handle: int, wait: bool) -> bool:
    if wait:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    if _tried(handle):
        return True
    time.sleep(_BLINK)
    return _tried(handle)


def _tried(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
