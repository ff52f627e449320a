"""Files that are whole at every instant: JSON replaced in one step, rows appended as JSON lines with checksums."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

_MAX_NAME = 60  # characters of a file's name in that of the file beside it
_SEAL = b', "crc": "%08x"}\n'  # the end of a row: the checksum of what the row is without it
_SEALED = len(_SEAL % 0)
_BLOCK, _LONGEST = 2**16, 2**28  # bytes from a file's end in which its last row is looked for, at first and at most


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


class DamagedFile(ValueError):
    """A row that is not as it was written; the message names its file and its place there."""


def append_row(path: Path, row: dict[str, Any]) -> bytes:
    """Add one object as one line, with a checksum of the rest of the line as its last field, ``crc``.

    Returns:
        the line.
    """
    assert row, "a row has fields"
    assert "crc" not in row, "crc is the checksum's own field"
    text = json.dumps(row, allow_nan=False).encode()
    line = text[:-1] + _SEAL % zlib.crc32(text)
    with open(path, "ab") as file:
        file.write(line)
    return line


def is_intact(line: bytes) -> bool:
    """Whether a line, with its newline, is one that ``append_row`` wrote, unchanged since."""
    body = memoryview(line)[:-_SEALED]
    return line[-_SEALED:] == _SEAL % zlib.crc32(b"}", zlib.crc32(body))


def read_lines(path: Path) -> Iterator[bytes]:
    """Every line of a file of rows, with its newline; a last one torn by a crash is left out. None without a file.

    Raises:
        Damaged: a line that is not as it was written; after those before it.
    """
    if not path.is_file():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            if not is_intact(line):
                raise _damaged(path, f"line {number}", line)
            yield line


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every row of a file of rows, without its checksum; a last one torn by a crash is left out.

    Raises:
        Damaged: a row that is not as it was written.
    """
    return [parse_row(line) for line in read_lines(path)]


def last_row(path: Path) -> dict[str, Any] | None:
    """The last whole row of a file of rows, however long the file and the row; None if there is none.

    Raises:
        Damaged: that row is not as it was written, or none ends in the last 256 MB.
    """
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        span = min(size, _BLOCK)
        while True:
            file.seek(size - span)
            lines = file.read(span).rsplit(b"\n", 2)  # what follows the last newline was never finished
            if len(lines) == 3 or span == size:
                break
            if span >= _LONGEST:
                raise _damaged(path, f"the last {span} bytes", lines[0])
            span = min(size, span * 4)
    if len(lines) == 1:
        return None
    line = lines[-2] + b"\n"
    if not is_intact(line):
        raise _damaged(path, "the last line", line)
    return parse_row(line)


def parse_row(line: bytes) -> dict[str, Any]:
    """The row that a sound line holds, without its checksum."""
    row = from_json(line)
    del row["crc"]
    return row


def _damaged(path: Path, where: str, line: bytes) -> DamagedFile:
    shown = line[:40].decode(errors="replace").strip() + ("..." if len(line) > 40 else "")
    return DamagedFile(
        f"{path}, {where}: {shown!r} is no row as it was written; training again into the folder sets it aside"
    )
