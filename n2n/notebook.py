"""What a notebook was asked for: the parameters typed in it, and those that papermill injected."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

_INJECTED = "# Parameters"  # papermill's first line of the cell that it adds
_PLAIN = (bool, int, float, str, list, dict, tuple, type(None))
_SHELLS = {"In", "Out"}  # the shell's own plain values


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the running notebook by name, misspelt ones included, for a strict configuration to judge.

    A kernel that keeps a history tells them apart from a reader's own variables: they are the names of the parameters
    cell (the first in which every line is an annotated assignment) as it was last run, and of the cell that papermill
    adds after it. Without a history
    they are all plain values that the namespace holds so far.

    Args:
        namespace: ``globals()`` of the notebook.
    """
    history = namespace.get("In")
    cells = [cell for cell in history if isinstance(cell, str)] if isinstance(history, list) else []
    names = _named(cells) or [name for name, value in namespace.items() if _is_plain(name, value)]
    return {name: namespace[name] for name in names if name in namespace}


def _is_plain(name: str, value: Any) -> bool:
    return type(value) in _PLAIN and name not in _SHELLS and not name.startswith("_")


def _named(cells: list[str]) -> list[str]:
    typed = [(i, names) for i, cell in enumerate(cells) if (names := _names(cell, ast.AnnAssign))]
    if not typed:
        return []
    # The first typed cell is the parameters'; a later one is its next run if it shares most of the names.
    first = set(typed[0][1])
    last, latest = [(i, names) for i, names in typed if 2 * len(first & set(names)) >= max(len(first), len(names))][-1]
    injected = [_names(cell, ast.Assign) for cell in cells[last:] if cell.startswith(_INJECTED)]
    return list(dict.fromkeys([*latest, *(name for names in injected for name in names)]))


def _names(cell: str, kind: type[ast.AnnAssign] | type[ast.Assign]) -> list[str]:
    """Names assigned by a cell in which every statement is of one kind, else none."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:  # a cell with a magic
        return []
    if not all(isinstance(statement, kind) for statement in body):
        return []
    targets = [t for s in body for t in (s.targets if isinstance(s, ast.Assign) else [s.target])]
    return [target.id for target in targets if isinstance(target, ast.Name)]
