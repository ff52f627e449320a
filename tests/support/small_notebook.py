"""A notebook for sweeps that need none in particular."""

from pathlib import Path

import nbformat


def trivial(path: Path, *lines: str) -> Path:
    """A notebook that does next to nothing."""
    cells = [nbformat.v4.new_code_cell("i: int = 0  # which\nfail: bool = False  # whether it does")]
    cells[0].metadata["tags"] = ["parameters"]
    cells += [nbformat.v4.new_code_cell(line) for line in ("assert not fail, 'as it was asked to'", *lines)]
    spec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path
