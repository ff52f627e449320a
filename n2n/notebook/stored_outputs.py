"""Refresh the outputs that are stored in notebooks, or clear those that no test compares.

python -m n2n.notebook.stored_outputs refresh notebooks/explore.ipynb
python -m n2n.notebook.stored_outputs clear notebooks/*.ipynb
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
from nbformat import NotebookNode

from n2n.utils.files import write_text

MAX_BYTES = 300_000  # size of a notebook with its outputs
IGNORED = "NBVAL_IGNORE_OUTPUT"  # marks a cell whose outputs no test compares
WIDGET = "application/vnd.jupyter.widget-view+json"  # needs the kernel that made it


def refresh(path: Path) -> None:
    """Execute a notebook with its default parameters, from its own folder, and store its outputs.

    stderr, widgets and execution times are left out. If a cell fails, or the result is too large, the file is not
    changed.

    Raises:
        ValueError: if the file is no notebook, or exceeds 300 kB with its outputs; the message names the largest cell.
        papermill.exceptions.PapermillExecutionError: if a cell fails.
    """
    notebook = _read(path)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / path.name
        papermill.execute_notebook(path.absolute(), copy, cwd=str(path.absolute().parent), progress_bar=False)
        executed = {cell.id: cell for cell in nbformat.read(copy, as_version=4).cells if cell.cell_type == "code"}
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.execution_count = executed[cell.id].execution_count
        cell.outputs = [output for output in executed[cell.id].outputs if _is_kept(output)]
    _write(path, notebook)


def clear(path: Path) -> None:
    """Remove the outputs of cells that no test compares, and all state of widgets; keep all other outputs.

    Raises:
        ValueError: if the file is no notebook.
    """
    notebook = _read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code" and IGNORED in cell.source:
            cell.outputs, cell.execution_count = [], None
    _write(path, notebook)


def _read(path: Path) -> NotebookNode:
    if path.suffix != ".ipynb" or not path.is_file():
        raise ValueError(f"saw {str(path)!r}; the path of a notebook (.ipynb) is needed")
    notebook = nbformat.read(path, as_version=4)
    if "papermill" in notebook.metadata:
        raise ValueError(f"saw {str(path)!r}, an output of papermill; the source notebook is needed")
    return notebook


def _is_kept(output: NotebookNode) -> bool:
    return output.get("name") != "stderr" and WIDGET not in output.get("data", {})


def _write(path: Path, notebook: NotebookNode) -> None:
    notebook.metadata.pop("widgets", None)
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > MAX_BYTES:
        sizes = {len(str(cell)): i for i, cell in enumerate(notebook.cells)}
        raise ValueError(
            f"{path}: {len(text.encode()):,} bytes with its outputs, over {MAX_BYTES:,}; the largest cell is "
            f"{sizes[max(sizes)]}, from 0. The file was not changed"
        )
    write_text(path, text)


VERBS: dict[str, Callable[[Path], None]] = {"refresh": refresh, "clear": clear}


def main(arguments: list[str] | None = None) -> int:
    """Refresh or clear notebooks; return 2 if one is refused, else 0."""
    parser = argparse.ArgumentParser(prog="python -m n2n.notebook.stored_outputs", description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("notebooks", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    try:
        for path in options.notebooks:
            VERBS[options.verb](path)
            print(f"{path}: {path.stat().st_size:,} bytes")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
