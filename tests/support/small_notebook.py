"""A small notebook for sweeps whose points do not matter."""

from pathlib import Path

from support.notebooks import write_notebook

PARAMETERS = "i: int = 0  # an index\nfail: bool = False  # whether the notebook fails"


def trivial(path: Path, *lines: str) -> Path:
    """Write a notebook that checks its parameter ``fail`` and then runs these cells, and return its path."""
    return write_notebook(path, PARAMETERS, "assert not fail, 'as it was asked to'", *lines, tags=["parameters"])
