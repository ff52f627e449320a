"""A file of rows read as columns, in parts, so that a million rows need little more memory than their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd

from n2n.utils.rows import read_lines

_PART = 4096  # rows that are parsed at a time


def read_columns(path: Path) -> pd.DataFrame:
    """Every row of a file of rows, a column for each field; empty if there is no file.

    Raises:
        Damaged: a row that is not as it was written.
    """
    parts = list(_parts(path))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _parts(path: Path) -> Iterator[pd.DataFrame]:
    lines = read_lines(path)
    while part := list(islice(lines, _PART)):
        rows = json.loads(b"[" + b",".join(part) + b"]")  # one call, which shares the names of fields
        if all(list(row) == list(rows[0]) for row in rows):
            columns = zip(*(row.values() for row in rows), strict=True)
            found = pd.DataFrame(dict(zip(rows[0], columns, strict=True)))
        else:
            found = pd.DataFrame(rows)
        yield found.drop(columns="crc")
