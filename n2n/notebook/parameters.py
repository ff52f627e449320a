"""The parameters of the running notebook: those in its parameters cell, and those that papermill injected."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from n2n.notebook.assignments import Assignments, read_assignments

_PLAIN = (bool, int, float, str, list, dict, tuple, type(None))
_SHELL = {"In", "Out"}  # plain values that belong to the shell
TAG, INJECTED = "parameters", "injected-parameters"  # papermill's tags of cells


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the running notebook by name, misspelt ones included, for a strict configuration.

    The kernel's history distinguishes parameters from a user's own variables. The parameters cell is the first cell
    that only assigns and has an annotation, such as ``steps: int = 5``. The parameters are the names that it assigned
    when it last ran. If the next cell to run assigns only plain values, as the cell does that papermill injects, its
    names are parameters, too. In a notebook without annotations, and without a history, all plain values in the
    namespace are parameters.

    In a notebook or a script that another one runs (``%run other.ipynb``), the parameters are those that its own file
    assigns: in the cells of a notebook that are tagged ``parameters`` and ``injected-parameters``, or at the top level
    of a script.

    Args:
        namespace: ``globals()`` of the notebook.
    """
    names = _names_in_file(namespace, sys._getframe(1).f_code.co_filename)
    if names is None:
        names = _names_in_history(namespace) or [name for name, value in namespace.items() if _is_plain(name, value)]
    return {name: namespace[name] for name in names if name in namespace}


def _is_plain(name: str, value: Any) -> bool:
    return type(value) in _PLAIN and name not in _SHELL and not name.startswith("_")


def _names_in_history(namespace: Mapping[str, Any]) -> list[str]:
    history = namespace.get("In")
    sources = [source for source in history if isinstance(source, str)] if isinstance(history, list) else []
    return _parameter_names([read_assignments(source) for source in sources])


def _parameter_names(cells: list[Assignments]) -> list[str]:
    """Return the names of the parameters among cells in the order in which they ran."""
    cells = [cell for cell in cells if not cell.empty]
    annotated = [i for i, cell in enumerate(cells) if cell.only_assigns and cell.annotated]
    if not annotated:
        return []
    first = cells[annotated[0]].values.keys()
    latest = max(i for i in annotated if _share_most(first, cells[i].values.keys()))  # the last run of the same cell
    names, after = list(cells[latest].values), cells[latest + 1 :]
    if after and after[0].literal:  # injected by papermill; it may have been edited and run again
        injected = [cell for cell in after if cell.literal and cell.values.keys() & after[0].values.keys()]
        names += [name for cell in injected for name in cell.values]
    return list(dict.fromkeys(names))


def _share_most(one: Set[str], other: Set[str]) -> bool:
    return 2 * len(one & other) >= max(len(one), len(other))


def _names_in_file(namespace: Mapping[str, Any], caller: str) -> list[str] | None:
    """Return the parameters of the file that ``%run`` runs in this namespace, which it shares with its caller.

    Args:
        caller: file of the calling code. Cells have none, and ``%run -i`` leaves a script's ``__file__`` behind.

    Returns:
        the names, or None if no such file runs.
    """
    file = namespace.get("__file__")
    if not isinstance(file, str) or not isinstance(namespace.get("In"), list):
        return None
    path = Path(file)
    if path.suffix not in (".ipynb", ".ipy") and path.absolute() != Path(caller).absolute():
        return None
    try:
        if path.suffix == ".ipynb":
            return _names_in_notebook(path)
        return [name for name in read_assignments(path.read_text()).values if _is_plain(name, namespace.get(name))]
    except (OSError, ValueError):
        return None


def _names_in_notebook(path: Path) -> list[str]:
    import nbformat

    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tagged = [read_assignments(cell.source) for cell in cells if {TAG, INJECTED} & set(cell.metadata.get("tags", []))]
    if tagged:
        return list(dict.fromkeys(name for cell in tagged for name in cell.values))
    assignments = [read_assignments(cell.source) for cell in cells]
    all_names = [name for cell in assignments if cell.only_assigns for name in cell.values]
    return _parameter_names(assignments) or list(dict.fromkeys(all_names))
