"""A lock on a file that the system releases when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # as file systems say that they have none


class Held(RuntimeError):
    """Another process, or another thread of this one, holds the lock."""


class NoLocks(OSError):
    """The file system has no locks; the message says so and names a way on."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"{folder} lies on a file system without locks ({reason}), so two processes could write there at once; "
            "name a folder on another file system, with run_dir or the path given, or for all runs by N2N_RUNS"
        )


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
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
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Held(str(path)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if new:
                path.unlink(missing_ok=True)
            raise NoLocks(path.parent, error.strerror) from None
        yield
    finally:
        os.close(handle)
