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
    """Write a temporary file, flush it to the disk, and rename it to ``path``: readers see the old file or the new one.

    Only the content of an existing file changes: a link stays and its target is replaced, and a file keeps its mode,
    its owner if the system allows it, and its extended attributes, such as access lists. Packages for atomic writes
    replace links and drop attributes.

    Raises:
        ValueError: a read-only file, a folder, a device, or a link without a target.
    """
    place = Path(os.path.realpath(path))
    before = _replaceable(path, place)
    unfinished = place.with_name(f".{place.name[:_MAX_NAME]}.{os.getpid()}.part")
    try:
        with open(unfinished, "wb") as file:
            write(file)
            if before is not None:
                _copy_attributes(file.fileno(), place, before)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, place)
    finally:
        unfinished.unlink(missing_ok=True)


def _replaceable(path: Path, place: Path) -> os.stat_result | None:
    """Status of the file that ``path`` leads to; None if there is none."""
    try:
        status = os.stat(place)
    except FileNotFoundError:
        status = None
    except OSError as error:  # links in a circle
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None
    if status is None and os.path.islink(path):
        raise ValueError(f"{path} cannot be written: it is a link to {os.readlink(path)}, which is not there")
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} cannot be written: it is a folder or a device, no plain file")
    # The mode is checked too, because root may write to read-only files.
    if status is not None and not (status.st_mode & 0o222 and os.access(place, os.W_OK)):
        mode = stat.S_IMODE(status.st_mode)
        raise ValueError(f"{path} cannot be written: it is read-only (mode {mode:04o}); name another file, or chmod it")
    return status


def _copy_attributes(file: int, place: Path, before: os.stat_result) -> None:
    """Give an open file the owner, mode and extended attributes of the file that it will replace."""
    if (os.fstat(file).st_uid, os.fstat(file).st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(file, before.st_uid, before.st_gid)
    os.fchmod(file, stat.S_IMODE(before.st_mode))
    with contextlib.suppress(OSError, AttributeError):  # the system or the file system has none
        for name in os.listxattr(place):
            os.setxattr(file, name, os.getxattr(place, name))


def remove_unfinished(folder: Path) -> None:
    """Delete the temporary files of killed ``write_atomic`` calls; only for a folder that nobody else writes to."""
    for path in folder.glob(".*.part"):
        if re.fullmatch(r"\..+\.\d+\.part", path.name) and path.is_file():
            path.unlink()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and its parents; return those that did not exist, innermost first."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(made)
        raise
    return made


def remove_empty(folders: list[Path]) -> None:
    """Remove the folders that are empty, in the order given."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def making_folder(folder: Path) -> Iterator[None]:
    """Make a folder for the block; if the block fails, the new folders that are still empty are removed."""
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


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, in one step."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a value to a JSON file, in one step."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        OSError: no such file, or a pipe or device, which might never end.
        ValueError: the file is not JSON.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file")
    return from_json(path.read_bytes())


def from_json(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's object.

    Raises:
        OSError, ValueError: as ``read_json``, or the value is not an object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"saw a value of type {type(value).__name__}; an object is needed")
    return value


def read_object_or_empty(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty if the file does not exist or is not an object."""
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}


def tail(path: Path, max_bytes: int) -> str:
    """The last ``max_bytes`` bytes of a text file, or all of it; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - max_bytes))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
