"""The notebooks of the repository, and notebooks that tests write."""

from collections.abc import Sequence
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TRAIN = NOTEBOOKS / "train.ipynb"
# Warnings of Jupyter's own packages when a kernel starts and ends.
quiet_kernel = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def write_notebook(path: Path, *cells: str, tags: Sequence[str] = (), **metadata) -> Path:
    """Write a notebook with these code cells, the first of which has the tags, and return its path."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.cells[0].metadata["tags"] = list(tags)
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook.metadata.update(metadata)
    nbformat.write(notebook, path)
    return path
