"""A file of rows read as columns, in chunks, so that a million rows need little more memory than their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd

from n2n.monitor.rows import read_lines

_CHUNK = 4096  # rows parsed at a time


def read_columns(path: Path) -> pd.DataFrame:
    """All rows of a file, with a column for each field; empty if there is no file.

    Raises:
        DamagedFile: if a row is damaged.
    """
    chunks = list(_chunks(path))
    return pd.concat(chunks, ignore_index=True) if chunks else pd.DataFrame()


def _chunks(path: Path) -> Iterator[pd.DataFrame]:
    lines = read_lines(path)
    while chunk := list(islice(lines, _CHUNK)):
        rows = json.loads(b"[" + b",".join(chunk) + b"]")  # a single call shares the field names
        if all(list(row) == list(rows[0]) for row in rows):
            columns = zip(*(row.values() for row in rows), strict=True)
            frame = pd.DataFrame(dict(zip(rows[0], columns, strict=True)))
        else:
            frame = pd.DataFrame(rows)
        yield frame.drop(columns="crc")
