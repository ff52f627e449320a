"""Sweeps with known excess losses."""

from pathlib import Path

import numpy as np
import pandas as pd

from n2n.sweeps.results import SweepResults
from n2n.utils.statistics import t_interval

SIZES = (1000, 3000, 10_000, 30_000)


def results(rows: list[dict]) -> SweepResults:
    """A sweep with these last evaluations; intervals use the normal quantile, as for very many held-out sequences."""
    common = {"arch": "a", "task": "g, process 0", "seed": 0, "state": "done", "split": "test", "step": 10}
    common |= {"tokens": 5000, "flops": 1e9, "excess_standard_error": 0.01, "last": True}
    frame = pd.DataFrame([{**common, "run": f"r{i}", **row} for i, row in enumerate(rows)])
    low, high = t_interval(frame["excess_loss"], frame["excess_standard_error"], 10**6)
    frame = frame.assign(low=low, high=high)
    table = frame.drop_duplicates("run").set_index("run")[["arch", "seed", "state", "task"]]
    return SweepResults(Path("x"), table, frame, pd.DataFrame())


def joined(sweep: SweepResults, *rows: dict) -> SweepResults:
    """The sweep with more runs, which have no evaluation."""
    more = pd.DataFrame([{"seed": 0, "state": "failed", "task": "g, process 0", **row} for row in rows])
    more.index = [f"more{i}" for i in range(len(rows))]
    return SweepResults(sweep.path, pd.concat([sweep.table, more]), sweep.evaluations, pd.DataFrame())


def planted(arch: str, exponent: float, sizes=SIZES, seeds=(0, 1), noise: float = 0.0) -> list[dict]:
    """Evaluations on the power law ``50 * parameters ** -exponent``, with noise in the logarithm."""
    rng = np.random.default_rng(0)
    return [
        {"arch": arch, "seed": s, "parameters": n, "excess_loss": 50 * n**-exponent * np.exp(noise * rng.normal())}
        for n in sizes
        for s in seeds
    ]
