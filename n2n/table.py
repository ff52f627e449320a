"""Rows as aligned text."""

from __future__ import annotations


def aligned(rows: list[dict[str, str]]) -> list[str]:
    """A line of the column names, which all rows share, and a line for each row."""
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
