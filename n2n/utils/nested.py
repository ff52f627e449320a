"""Limits on the depth and size of nested plain values.

A few lines of text can nest thousands of brackets, and aliases of aliases in a file can stand for more values than fit
into memory. Both are refused before any other code walks through them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Route = tuple[str | int, ...]  # the keys and indices that lead to a value
MAX_DEPTH = 100  # levels: far more than a graph has, far fewer than Python's recursion limit
MAX_VALUES = 2_000_000  # values in a text; an alias counts wherever it is used
MAX_VALUES_IN_MEMORY = 2**27  # values in memory, where tables of kernels may be large

_SINGLE = {float, int, str, bool, type(None)}

TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
TOO_LARGE = "stands for more than {:,} values"


def check_nesting(what: str, value: Any, max_values: int = MAX_VALUES) -> None:
    """Check that a value is not nested too deeply, does not contain itself, and is not too large.

    Raises:
        ValueError: beginning with ``what``.
    """
    size, height = _measured(value, 0, {})
    if height > MAX_DEPTH:
        raise ValueError(f"{what}: {TOO_DEEP}")
    if size > max_values:
        raise ValueError(f"{what}: {TOO_LARGE.format(max_values)}")


def nesting_errors(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(field, error message) pairs of the fields that fail ``check_nesting``."""
    errors = []
    for name, value in fields.items():
        try:
            check_nesting(name, value, MAX_VALUES_IN_MEMORY)
        except ValueError as error:
            errors.append((name, str(error)))
    return errors


def _measured(value: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Numbers of values and of levels. ``known`` holds those of every mapping and list, so that each is walked once."""
    if not isinstance(value, Mapping | list | tuple):
        return 1, 0
    if id(value) in known:
        return known[id(value)]
    if depth > MAX_DEPTH:
        return 1, MAX_DEPTH + 1  # also stops at a list that contains itself
    inside = value.values() if isinstance(value, Mapping) else value
    nested = [_measured(child, depth + 1, known) for child in inside if type(child) not in _SINGLE]
    size = 1 + len(value) - len(nested) + sum(size for size, _ in nested)
    known[id(value)] = size, 1 + max((height for _, height in nested), default=0)
    return known[id(value)]
