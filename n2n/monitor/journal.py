"""A file of rows that grows while checkpoints are written; each checkpoint marks the file's length."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from n2n.monitor.rows import append_row, is_intact, parse_row, read_rows
from n2n.utils.files import sync, write_atomic

Mark = dict[str, int]  # "bytes" from the start of a file, and their checksum "crc"
Marks = dict[str, Mark]  # marks of a run's files, by name
NOTHING: Mark = {"bytes": 0, "crc": 0}
_BLOCK = 2**20
_MAX_NUMBERS = 10  # damaged lines that a message lists


class ChangedFile(RuntimeError):
    """Another program changed a file while a run was writing it."""


class Journal:
    """The rows that a run appends to a file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = self._crc = 0

    def holds(self, mark: Mark) -> bool:
        """Whether the file begins with the marked rows; damaged lines between them are ignored."""
        if not mark["bytes"] or self._starts_with(mark):
            return True
        return self._intact_lengths.get(mark["bytes"]) == mark["crc"]

    def restore(self, mark: Mark, keep: Callable[[dict[str, Any]], bool] | None = None) -> list[str]:
        """Truncate the file to one of its marks; rows after the mark stay only if they satisfy ``keep``.

        Damaged lines move to another file, ``<name>.damaged``.

        Returns:
            a sentence for the user if there were damaged lines.
        """
        repairs = []
        whole = self._starts_with(mark)
        if any(not is_intact(line) for line in self._lines(mark["bytes"] if whole else 0)):
            repairs.append(self._move_damaged())
        kept = [line for line in self._lines(mark["bytes"]) if keep(parse_row(line))] if keep else []
        size = mark["bytes"] + sum(map(len, kept))
        if self.path.is_file() and self.path.stat().st_size != size:
            if kept:
                write_atomic(self.path, lambda file: file.writelines([*self._lines(0, mark["bytes"]), *kept]))
            else:
                os.truncate(self.path, size)
        self._bytes, self._crc = size, zlib.crc32(b"".join(kept), mark["crc"])
        return repairs

    def append(self, row: dict[str, Any]) -> None:
        """Add a row."""
        line = append_row(self.path, row)
        self._bytes, self._crc = self._bytes + len(line), zlib.crc32(line, self._crc)

    def rows(self) -> list[dict[str, Any]]:
        """All rows."""
        return read_rows(self.path)

    def mark(self) -> Mark:
        """The length of the file, flushed to disk.

        Raises:
            ChangedFile: if the length is not what this run has written.
        """
        size = self.path.stat().st_size if self.path.is_file() else 0
        if size != self._bytes:
            raise ChangedFile(
                f"{self.path} has {size} bytes, but this run left it with {self._bytes}: someone changed it"
            )
        if size:
            sync(self.path)
        return {"bytes": self._bytes, "crc": self._crc}

    def _starts_with(self, mark: Mark) -> bool:
        crc, left = 0, mark["bytes"]
        if not self.path.is_file():
            return not left
        with open(self.path, "rb") as file:
            while block := file.read(min(left, _BLOCK)):
                crc, left = zlib.crc32(block, crc), left - len(block)
        return (crc, left) == (mark["crc"], 0)

    def _lines(self, start: int, end: int | None = None) -> Iterator[bytes]:
        """Complete lines between two positions in the file."""
        if not self.path.is_file():
            return
        with open(self.path, "rb") as file:
            file.seek(start)
            for line in file:
                start += len(line)
                if not line.endswith(b"\n") or (end is not None and start > end):
                    return
                yield line

    @cached_property
    def _intact_lengths(self) -> dict[int, int]:
        """Length and checksum of the intact lines up to each of them."""
        checksums, size, crc = {}, 0, 0
        for line in self._lines(0):
            if is_intact(line):
                size, crc = size + len(line), zlib.crc32(line, crc)
                checksums[size] = crc
        return checksums

    def _move_damaged(self) -> str:
        damaged = [(number, line) for number, line in enumerate(self._lines(0), start=1) if not is_intact(line)]
        target = self.path.with_name(f"{self.path.name}.damaged")
        with open(target, "ab") as file:
            file.writelines(line for _, line in damaged)
        sync(target)
        write_atomic(self.path, lambda file: file.writelines(line for line in self._lines(0) if is_intact(line)))
        numbers = ", ".join(str(number) for number, _ in damaged[:_MAX_NUMBERS])
        more = ", ..." if len(damaged) > _MAX_NUMBERS else ""
        return f"{self.path}: damaged at line {numbers}{more}; moved to {target.name}"
