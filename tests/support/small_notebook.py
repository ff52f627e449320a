"""A small notebook for sweeps whose points do not matter."""

from pathlib import Path

import nbformat
from support.notebooks import TRAIN, write_notebook

PARAMETERS = "i: int = 0  # an index\nfail: bool = False  # whether the notebook fails"


def trivial(path: Path, *lines: str) -> Path:
    """Write a notebook that checks its parameter ``fail`` and then runs these cells, and return its path."""
    return write_notebook(path, PARAMETERS, "assert not fail, 'fail is set'", *lines, tags=["parameters"])


SLOW_DOWN = """
import time
from n2n.training import learner
real = learner.update
learner.update = lambda *arguments: time.sleep({seconds}) or real(*arguments)
"""


def slow_training(path: Path, seconds: float) -> Path:
    """Write train.ipynb without its figures, each step of which takes longer, and return its path.

    A run without an end then leaves the processor to other tests.
    """
    sources = [cell.source for cell in nbformat.read(TRAIN, 4).cells if cell.cell_type == "code"]
    parameters, config = sources[:2]
    training = "run = n2n.train(config)"
    assert any(source.count(training) for source in sources)
    return write_notebook(path, parameters, config, SLOW_DOWN.format(seconds=seconds), training, tags=["parameters"])
