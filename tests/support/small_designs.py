"""Designs whose runs take a second, and tables of results without runs."""

from itertools import product

import numpy as np
import pandas as pd

import n2n
from n2n.experiments import Cell, Design, Level, Point, Size
from n2n.experiments.results import RUN_COLUMNS

TRAINING = {"eval_sequences": 8, "device": "cpu"}


def small_design(**changes) -> Design:
    """Two levels of one latent, two processes, two architectures, three updates."""
    graphs = {str(n): n2n.Graph.independent(1, num_states=n, vocab_size=8, alpha_x=0.1) for n in (4, 8)}
    fields = {"levels": [Level(name, graph) for name, graph in graphs.items()], "targets": [1.4], "processes": [0, 1]}
    fields |= {"sizes": [Size(8, 1)], "steps": [3], "lrs": [1e-2], "seq_len": 8, "batch_size": 4, "tolerance": 0.05}
    fields |= {"archs": ["transformer", "mingru"], "calibration_sequences": 64, "training": TRAINING}
    return Design("small", "states", **{**fields, **changes})


def planted_row(point: Point, excess: float, **changes) -> dict:
    """A row of the results on ``test`` for a run at the end."""
    row = {"factor": "states", **point.columns, "parameters": 100, "alpha": 1.0, "state": "done", "split": "test"}
    row |= {"step": point.cell.steps, "excess": excess, "standard_error": 1e-6, "oracle": 1.4}
    return {**row, "unigram": 2.0, "bigram": 1.8, "seconds": 1.0, **changes}


def planted_table(excess: np.ndarray, *, archs=("a",), standard_error: float = 1e-6) -> pd.DataFrame:
    """Results with these excess losses ``(levels, archs, processes, seeds)``; levels are named 0, 1, .."""
    rows = []
    for level, arch, process, seed in product(*map(range, excess.shape)):
        cell = Cell(str(level), 1.5, process, archs[arch], 32, 2, 500, 16_000, seed)
        rows.append(planted_row(Point(cell, 0.01), excess[level, arch, process, seed], standard_error=standard_error))
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))
