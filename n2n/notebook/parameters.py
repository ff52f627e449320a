"""What a notebook was asked for: the parameters typed in it, and those that papermill injected."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from n2n.notebook.assignments import Assignments, read_assignments

_PLAIN = (bool, int, float, str, list, dict, tuple, type(None))
_SHELLS = {"In", "Out"}  # the shell's own plain values
TAG, INJECTED = "parameters", "injected-parameters"  # of cells, as papermill has them


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the running notebook by name, misspelt ones included, for a strict configuration to judge.

    A kernel's history tells parameters apart from a reader's own variables. The parameters cell is the first one that
    only assigns and has an annotation, such as ``steps: int = 5``. The parameters are the names that it assigned when
    it last ran, and those of the cell that ran right after it, if that one assigns nothing but plain values: papermill
    injects such a cell. In a notebook without annotations, and without a history, all plain values that the namespace
    holds so far are parameters.

    In a notebook or a script that another one runs (``%run other.ipynb``), the parameters are those that its own file
    assigns: in the cells tagged ``parameters`` and ``injected-parameters`` of a notebook, at the top level of a script.

    Args:
        namespace: ``globals()`` of the notebook.
    """
    names = _of_file(namespace, sys._getframe(1).f_code.co_filename)
    if names is None:
        names = _of_history(namespace) or [name for name, value in namespace.items() if _is_plain(name, value)]
    return {name: namespace[name] for name in names if name in namespace}


def _is_plain(name: str, value: Any) -> bool:
    return type(value) in _PLAIN and name not in _SHELLS and not name.startswith("_")


def _of_history(namespace: Mapping[str, Any]) -> list[str]:
    history = namespace.get("In")
    cells = [cell for cell in history if isinstance(cell, str)] if isinstance(history, list) else []
    return _named([read_assignments(cell) for cell in cells])


def _named(cells: list[Assignments]) -> list[str]:
    """The parameters' names among cells in the order in which they ran."""
    cells = [cell for cell in cells if not cell.empty]  # which separate nothing
    typed = [i for i, cell in enumerate(cells) if cell.alone and cell.typed]
    if not typed:
        return []
    first = cells[typed[0]].values.keys()  # the parameters'; a later one is its next run if they share most names
    latest = max(i for i in typed if _mostly(first, cells[i].values.keys()))
    names, after = list(cells[latest].values), cells[latest + 1 :]
    if after and after[0].literal:  # injected, and maybe edited and run again
        names += [
            name for cell in after if cell.literal and cell.values.keys() & after[0].values for name in cell.values
        ]
    return list(dict.fromkeys(names))


def _mostly(one: Any, other: Any) -> bool:
    return 2 * len(one & other) >= max(len(one), len(other))


def _of_file(namespace: Mapping[str, Any], code: str) -> list[str] | None:
    """The parameters' names in the file that ``%run`` runs in this namespace, which it shares with its caller.

    Args:
        code: the file of the code that asks. Cells have none, and ``%run -i`` leaves a script's ``__file__`` behind.

    Returns:
        None where no such file runs.
    """
    file = namespace.get("__file__")
    if not isinstance(file, str) or not isinstance(namespace.get("In"), list):
        return None
    path = Path(file)
    if path.suffix not in (".ipynb", ".ipy") and path.absolute() != Path(code).absolute():
        return None
    try:
        if path.suffix == ".ipynb":
            return _of_notebook(path)
        return [name for name in read_assignments(path.read_text()).values if _is_plain(name, namespace.get(name))]
    except (OSError, ValueError):
        return None


def _of_notebook(path: Path) -> list[str]:
    import nbformat

    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tagged = [read_assignments(cell.source) for cell in cells if {TAG, INJECTED} & set(cell.metadata.get("tags", []))]
    if tagged:
        return list(dict.fromkeys(name for cell in tagged for name in cell.values))
    found = [read_assignments(cell.source) for cell in cells]
    return _named(found) or list(dict.fromkeys(name for cell in found if cell.alone for name in cell.values))
