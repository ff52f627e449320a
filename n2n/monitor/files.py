"""Files that are whole at every instant: JSON replaced in one motion, JSON lines appended and flushed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

LONGEST_ROW = 2**16  # bytes that are read to find the last row


def write_atomic(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write beside ``path``, flush to the disk, and rename over it: a reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Delete what ``write_atomic`` was writing into a folder when it was killed; for the folder's only writer."""
    for path in folder.glob(".*.part"):
        path.unlink()


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
    """A JSON file's value."""
    return json.loads(path.read_text())


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty if the file is not there or holds none."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add one object as one line."""
    with open(path, "a") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a JSON-lines file; a last line torn by a crash is left out. Empty if there is no file."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]  # what follows the last newline was never finished
    return [json.loads(line) for line in lines]


def last_row(path: Path) -> dict[str, Any] | None:
    """The last whole line of a JSON-lines file, however long the file; None if there is none."""
    if not path.exists():
        return None
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST_ROW))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1]) if lines else None


def keep_rows(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Rewrite a JSON-lines file with only the rows that ``keep`` accepts."""
    rows = [json.dumps(row) + "\n" for row in read_rows(path) if keep(row)]
    write_atomic(path, lambda file: file.write("".join(rows).encode()))
