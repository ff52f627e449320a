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
    cell (every line of it an annotated assignment) and of the cell that papermill adds after it. Without a history
    they are all plain values that the namespace holds so far.

    Args:
        namespace: ``globals()`` of the notebook.
    """
    cells = [cell for cell in namespace.get("In", ()) if isinstance(cell, str)]
    names = _named(cells) or [name for name, value in namespace.items() if _is_plain(name, value)]
    return {name: namespace[name] for name in names if name in namespace}


def _is_plain(name: str, value: Any) -> bool:
    return type(value) in _PLAIN and name not in _SHELLS and not name.startswith("_")


def _named(cells: list[str]) -> list[str]:
    typed = [_names(cell, ast.AnnAssign) for cell in cells]
    size = max(map(len, typed), default=0)
    if size == 0:
        return []
    # The fullest cell, and its latest run: a reader's own typed line, or a corrected misspelling, does not count.
    last = max(i for i, names in enumerate(typed) if len(names) == size)
    injected = [_names(cell, ast.Assign) for cell in cells[last:] if cell.startswith(_INJECTED)]
    return list(dict.fromkeys([*typed[last], *(name for names in injected for name in names)]))


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
