"""Files of rows: JSON objects appended as lines, each with a checksum, so that a damaged or torn line is noticed."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from n2n.utils.files import from_json

_SEAL = b', "crc": "%08x"}\n'  # the end of a line: the checksum of the row without it
_SEAL_LENGTH = len(_SEAL % 0)
_BLOCK, _MAX_SPAN = 2**16, 2**28  # bytes at a file's end in which its last row is looked for: at first, and at most


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
    body = memoryview(line)[:-_SEAL_LENGTH]
    return line[-_SEAL_LENGTH:] == _SEAL % zlib.crc32(b"}", zlib.crc32(body))


def read_lines(path: Path) -> Iterator[bytes]:
    """Every line of a file of rows, with its newline; a last one torn by a crash is left out. None without a file.

    Raises:
        DamagedFile: a line that is not as it was written; after those before it.
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
        DamagedFile: a row that is not as it was written.
    """
    return [parse_row(line) for line in read_lines(path)]


def last_row(path: Path) -> dict[str, Any] | None:
    """The last whole row of a file of rows, however long the file and the row; None if there is none.

    Raises:
        DamagedFile: that row is not as it was written, or none ends in the last 256 MB.
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
            if span >= _MAX_SPAN:
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
