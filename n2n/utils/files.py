"""Files and folders that are complete at every instant: a file is replaced in one step, a failure leaves no folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

_MAX_NAME = 60  # characters of a file's name that its temporary file repeats


def write_atomic(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write beside ``path``, flush to the disk, and rename over it: a reader sees the old file or the new one.

    What is at ``path`` keeps what it was but for its content: of a link the file that it leads to is replaced, and a
    file keeps its mode, its owner where that is allowed, and its further attributes, such as access lists.

    Raises:
        ValueError: a file that may not be written to, a folder, a device, or a link that leads nowhere.
    """
    place = Path(os.path.realpath(path))
    before = _replaceable(path, place)
    beside = place.with_name(f".{place.name[:_MAX_NAME]}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            write(file)
            if before is not None:
                _take_after(file.fileno(), place, before)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)


def _replaceable(path: Path, place: Path) -> os.stat_result | None:
    """What is at the end of ``path``, or None if nothing is."""
    try:
        found = os.stat(place)
    except FileNotFoundError:
        found = None
    except OSError as error:  # a circle of links
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None
    if found is None and os.path.islink(path):
        raise ValueError(f"{path} cannot be written: it is a link to {os.readlink(path)}, which is not there")
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} cannot be written: it is a folder or a device, no plain file")
    # The mode is asked too, because root may write what its owner has made read-only.
    if found is not None and not (found.st_mode & 0o222 and os.access(place, os.W_OK)):
        mode = stat.S_IMODE(found.st_mode)
        raise ValueError(f"{path} cannot be written: it is read-only (mode {mode:04o}); name another file, or chmod it")
    return found


def _take_after(file: int, place: Path, before: os.stat_result) -> None:
    """Give an open file the owner, the mode and the attributes of the one that it will replace."""
    if (os.fstat(file).st_uid, os.fstat(file).st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(file, before.st_uid, before.st_gid)
    os.fchmod(file, stat.S_IMODE(before.st_mode))
    with contextlib.suppress(OSError, AttributeError):  # a file system or a system without them
        for name in os.listxattr(place):
            os.setxattr(file, name, os.getxattr(place, name))


def remove_unfinished(folder: Path) -> None:
    """Delete what ``write_atomic`` was writing into a folder when it was killed; for the folder's only writer."""
    for path in folder.glob(".*.part"):
        if re.fullmatch(r"\..+\.\d+\.part", path.name) and path.is_file():
            path.unlink()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those that it lies in; the ones that were not there, innermost first."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(made)
        raise
    return made


def remove_empty(folders: list[Path]) -> None:
    """Remove those of some folders that are empty, innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def making_folder(folder: Path) -> Iterator[None]:
    """Make a folder for what the block does in it; if the block fails, what was made and is empty is removed again."""
    made = make_folder(folder)
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file."""
    write_atomic(path, lambda file: file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode()))


def read_json(path: Path) -> Any:
    """A JSON file's value.

    Raises:
        OSError: no such file, or one that is a pipe or a device, which might never end.
        ValueError: it holds no JSON.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file")
    return from_json(path.read_bytes())


def from_json(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's object.

    Raises:
        OSError, ValueError: as ``read_json``, or it holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"saw a {type(found).__name__}; an object is needed")
    return found


def read_object_or_empty(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty if the file is not there or holds none."""
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}


def tail(path: Path, most: int) -> str:
    """At most the last ``most`` bytes of a text file; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - most))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
