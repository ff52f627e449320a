"""The learning rate of each learner, chosen on ``valid``, and the runs that a design still needs.

A rate is chosen for each level, architecture, size and budget: the one of the lowest mean excess loss on ``valid`` over
the tuning processes, targets and seeds. It is that of the weights that are judged: the last ones, or the best ones if
the runs select these. A run that diverged counts as infinitely bad. All rates are tried on the first
``design.tuning`` process seeds; the other process seeds are run at the chosen rate only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from n2n.experiments.calibrated import Key
from n2n.experiments.design import Cell, Design
from n2n.experiments.points import Point
from n2n.experiments.results import KEYS

LEARNER = ("level", "arch", "dim", "layers", "steps", "sequences")  # what a rate is chosen for
Learner = tuple[str, str, int, int, int, int]


def learner_of(cell: Cell) -> Learner:
    """The learner of a cell, for which one rate is chosen."""
    return tuple(getattr(cell, name) for name in LEARNER)


def finished_points(table: pd.DataFrame) -> set[Point]:
    """The runs that have a row."""
    keys = table[list(KEYS)].drop_duplicates().itertuples(index=False, name=None)
    return {Point(Cell(*key[:-1]), key[-1]) for key in keys}


def tuning_points(design: Design, alphas: dict[Key, float]) -> list[Point]:
    """The runs on which rates are compared. With one rate there are none.

    Args:
        design: the design.
        alphas: the concentration of each process that reached its target.
    """
    if len(design.lrs) == 1:
        return []
    tuned = design.processes[: design.tuning]
    return [Point(cell, lr) for cell in _possible(design, alphas) if cell.process in tuned for lr in design.lrs]


def chosen_rates(design: Design, table: pd.DataFrame) -> dict[Learner, float]:
    """The best rate of each learner whose tuning runs are all there; see the module."""
    if len(design.lrs) == 1:
        return {learner_of(cell): design.lrs[0] for cell in design.cells}
    if design.training.get("select") == "best":
        table = table.sort_values("excess", ascending=False, na_position="first", kind="stable")
    valid = _last_of_split(table, "valid")
    valid = valid[valid["process"].isin(design.processes[: design.tuning]) & valid["lr"].isin(design.lrs)]
    losses = valid.assign(excess=valid["excess"].astype(float).where(valid["state"] == "done", np.inf).fillna(np.inf))
    rates = {}
    for learner, rows in losses.groupby(list(LEARNER), sort=False):
        means = rows.groupby("lr")["excess"].agg(["mean", "size"])
        if len(means) == len(design.lrs) and means["size"].min() == means["size"].max():
            rates[learner] = float(means["mean"].idxmin())
    return rates


def rate_table(design: Design, table: pd.DataFrame) -> pd.DataFrame:
    """The chosen rate of each learner; ``at_edge`` says that it is the smallest or largest, so a wider choice may help.

    With one rate nothing is chosen, and the table is empty.
    """
    ends = (min(design.lrs), max(design.lrs))
    rates = chosen_rates(design, table) if len(design.lrs) > 1 else {}
    rows = [{**dict(zip(LEARNER, learner, strict=True)), "lr": rate} for learner, rate in rates.items()]
    chosen = pd.DataFrame(rows, columns=[*LEARNER, "lr"])
    return chosen.assign(at_edge=chosen["lr"].isin(ends))


def pending_points(design: Design, alphas: dict[Key, float], table: pd.DataFrame) -> list[Point]:
    """The runs to make next: those on which rates are compared, and once these are there, all others.

    Args:
        design: the design.
        alphas: the concentration of each process that reached its target.
        table: the results so far.
    """
    done = finished_points(table)
    tuning = [point for point in tuning_points(design, alphas) if point not in done]
    if tuning:
        return tuning
    rates = chosen_rates(design, table)
    points = [Point(cell, rates[learner_of(cell)]) for cell in _possible(design, alphas)]
    return [point for point in points if point not in done]


def judged(design: Design, table: pd.DataFrame) -> pd.DataFrame:
    """The rows on ``test`` of the runs at their learner's chosen rate: one row a run, for comparisons.

    Learners whose tuning is not finished are left out.
    """
    rates = chosen_rates(design, table)
    test = _last_of_split(table, "test")
    chosen = [rates.get(learner) for learner in test[list(LEARNER)].itertuples(index=False, name=None)]
    return test[test["lr"].to_numpy() == np.array(chosen, dtype=object)].reset_index(drop=True)


def _possible(design: Design, alphas: dict[Key, float]) -> list[Cell]:
    """The cells whose process reached its target."""
    return [cell for cell in design.cells if (cell.level, cell.target, cell.process) in alphas]


def _last_of_split(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """The last row of each run on a split; a run that diverged has one row, which counts for both."""
    rows = table[(table["split"] == split) | (table["state"] != "done")]
    return rows.drop_duplicates(list(KEYS), keep="last")
