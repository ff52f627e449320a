"""Nested plain values: how deep and how large they may be.

A text of a few lines can hold thousands of brackets in one another, and a file in which aliases name aliases stands for
more values than fit into memory. Both are refused before anything walks through them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Route = tuple[str | int, ...]  # the keys and indices that lead to a value
MAX_DEPTH = 100  # levels: far more than a graph has, far fewer than Python's own limit
MAX_VALUES = 2_000_000  # values in a text, where one that stands in several places counts in each
MAX_VALUES_IN_MEMORY = 2**27  # values in memory, where a process's tables may be large

_SINGLE = {float, int, str, bool, type(None)}

TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
TOO_LARGE = "stands for more than {:,} values"


def check_nesting(what: str, value: Any, largest: int = MAX_VALUES) -> None:
    """Refuse a value that is nested too deeply, holds itself, or is too large.

    Raises:
        ValueError: naming ``what``.
    """
    size, height = _measured(value, 0, {})
    if height > MAX_DEPTH:
        raise ValueError(f"{what}: {TOO_DEEP}")
    if size > largest:
        raise ValueError(f"{what}: {TOO_LARGE.format(largest)}")


def nesting_errors(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fields that no configuration can walk through, each with what is wrong with it."""
    wrong = []
    for name, value in fields.items():
        try:
            check_nesting(name, value, MAX_VALUES_IN_MEMORY)
        except ValueError as error:
            wrong.append((name, str(error)))
    return wrong


def _measured(value: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """The number of values and of levels; each mapping or list is looked at once, however often it is used."""
    if not isinstance(value, Mapping | list | tuple):
        return 1, 0
    if id(value) in known:
        return known[id(value)]
    if depth > MAX_DEPTH:
        return 1, MAX_DEPTH + 1  # deeper than is looked at, as a list that holds itself is
    inside = value.values() if isinstance(value, Mapping) else value
    found = [_measured(child, depth + 1, known) for child in inside if type(child) not in _SINGLE]  # most are
    size = 1 + len(value) - len(found) + sum(size for size, _ in found)
    known[id(value)] = size, 1 + max((height for _, height in found), default=0)
    return known[id(value)]
