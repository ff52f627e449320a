"""Files of rows: JSON objects, one appended to each line with a checksum that exposes damaged and torn lines."""

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
    """A row differs from what was written; the message names the file and the line."""


def append_row(path: Path, row: dict[str, Any]) -> bytes:
    """Append an object as one line. Its last field, ``crc``, is the checksum of the rest.

    Returns:
        The line.
    """
    assert row, "a row has fields"
    assert "crc" not in row, "crc is the checksum's own field"
    text = json.dumps(row, allow_nan=False).encode()
    line = text[:-1] + _SEAL % zlib.crc32(text)
    with open(path, "ab") as file:
        file.write(line)
    return line


def is_intact(line: bytes) -> bool:
    """Whether a line, including its newline, is unchanged since ``append_row`` wrote it."""
    body = memoryview(line)[:-_SEAL_LENGTH]
    return line[-_SEAL_LENGTH:] == _SEAL % zlib.crc32(b"}", zlib.crc32(body))


def read_lines(path: Path) -> Iterator[bytes]:
    """Every line of a file of rows, including its newline, but no last line torn by a crash; nothing without a file.

    Raises:
        DamagedFile: a line differs from what was written; the lines before it come first.
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
    """Every row of a file, without its checksum; a last line torn by a crash is left out.

    Raises:
        DamagedFile: a row differs from what was written.
    """
    return [parse_row(line) for line in read_lines(path)]


def last_row(path: Path) -> dict[str, Any] | None:
    """The last complete row of a file of rows; None if there is none. Only the end of the file is read.

    Raises:
        DamagedFile: the row differs from what was written, or no row ends in the last 256 MB.
    """
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        span = min(size, _BLOCK)
        while True:
            file.seek(size - span)
            lines = file.read(span).rsplit(b"\n", 2)  # a torn line may follow the last newline
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
    """The row in an intact line, without its checksum."""
    row = from_json(line)
    del row["crc"]
    return row


def _damaged(path: Path, where: str, line: bytes) -> DamagedFile:
    beginning = line[:40].decode(errors="replace").strip() + ("..." if len(line) > 40 else "")
    return DamagedFile(
        f"{path}, {where}: {beginning!r} is no row as it was written; training again into the folder sets it aside"
    )
