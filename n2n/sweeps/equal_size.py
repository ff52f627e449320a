"""Architectures compared at one number of parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from n2n.models.sizes import TOLERANCE, apart
from n2n.sweeps.results import SweepResults
from n2n.sweeps.scaling_laws import absent, at_end, groups
from n2n.utils.strict import as_integer

COMPARED = {"group": object, "seed": "Int64", "excess_loss": float, "low": float, "high": float}
COMPARED |= {"between": object, "note": object}


@dataclass(frozen=True, eq=False)
class EqualSize:
    """Groups of runs compared at one number of parameters.

    Attributes:
        parameters: this number; 0 if there is no comparison.
        tokens: training tokens of every run.
        table: a row for each group and seed: ``group``, ``seed``, ``excess_loss`` with its 95% interval ``low`` to
            ``high`` over held-out sequences (not over seeds, which have rows of their own), nats per token;
            ``between``, the two sizes of the interpolation, or the size itself; and ``note``, the reason if there is no
            number. A group whose runs are all left out has a row without a seed.
        runs: number of runs of the sweep.
        left_out: number of runs that are not done or saw another number of tokens.
        note: the reason if there is no comparison, otherwise empty.
    """

    parameters: int
    tokens: int
    table: pd.DataFrame
    runs: int
    left_out: int
    note: str = ""


def at_equal_size(results: SweepResults, *, by: Sequence[str] = ("arch",), parameters: int | None = None) -> EqualSize:
    """Compare groups at one number of parameters inside the range that all of them cover; nothing is extrapolated.

    If a group and seed has a run within a factor of 1.02 of this number, the run represents it. Otherwise a straight
    line between the two neighbouring sizes does, in logarithms of size and excess loss. All runs saw the same number of
    tokens, as in ``scaling_fits(results, "parameters")``.

    Evaluations that are combined share their held-out sequences, so their errors are correlated. They are added as if
    the correlation were 1, the worst case.

    Args:
        results: from ``n2n.read_sweep``.
        by: as in ``scaling_fits``.
        parameters: number of parameters. None: the geometric middle of the common range, or of the sizes if all are
            within a factor of 1.02 of it, as those of ``n2n.models.match`` for one number are.

    Raises:
        ValueError: an unknown field, or a number of parameters outside the common range.
    """
    points, tokens = at_end(results)
    names = groups(results, by)
    points = points.assign(group=points["run"].map(names))
    ranges = points.groupby("group")["parameters"].agg(["min", "max"])
    parameters, reason = _common(ranges, parameters)
    curves = [] if reason else points.groupby(["group", "seed"], sort=True)
    rows = [{"group": group, "seed": seed, "note": "", **_at(_curve(own), parameters)} for (group, seed), own in curves]
    rows += [{"group": group, "note": note} for group, note in absent(results, names, points, tokens)]
    table = pd.DataFrame([{"between": "", **row} for row in rows], columns=list(COMPARED)).astype(COMPARED)
    runs = len(results.table)
    return EqualSize(parameters, tokens, table, runs, runs - points["run"].nunique(), reason)


def _common(ranges: pd.DataFrame, parameters: int | None) -> tuple[int, str]:
    """A number of parameters in the ranges of all groups and an empty note, or 0 and the reason why there is none."""
    low, high = float(ranges["min"].max()), float(ranges["max"].min())
    listed = "; ".join(f"{group}: {row['min']:,} to {row['max']:,}" for group, row in ranges.iterrows())
    if parameters is None:
        middle = round(math.sqrt(low * high))
        matched = low <= high or not (apart(low, middle) or apart(high, middle))
        return (middle, "") if matched else (0, f"no size lies in all ranges ({listed})")
    if not low / (1 + TOLERANCE) <= as_integer("parameters", parameters, 1) <= high * (1 + TOLERANCE):
        raise ValueError(
            f"parameters: saw {parameters:,}, which not all groups cover ({listed}); nothing is extrapolated"
        )
    return parameters, ""


def _curve(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean excess loss and half width of its interval at each size, as if errors had correlation 1, smallest first."""
    halves = rows.assign(half=rows["high"] - rows["excess_loss"])
    return halves.groupby("parameters", sort=True)[["excess_loss", "half"]].mean().reset_index()


def _at(curve: pd.DataFrame, parameters: int) -> dict:
    """The excess loss of a curve at this number of parameters and its interval, or a note why it has none."""
    sizes, excess, half = (curve[name].to_numpy(float) for name in ("parameters", "excess_loss", "half"))
    near = int(np.abs(np.log(sizes / parameters)).argmin())
    if not apart(sizes[near], parameters):
        low, high = excess[near] - half[near], excess[near] + half[near]
        return {"excess_loss": excess[near], "low": low, "high": high, "between": f"{sizes[near]:,.0f}"}
    right = int(np.searchsorted(sizes, parameters))
    if not 0 < right < len(sizes):
        return {"note": f"sizes from {sizes[0]:,.0f} to {sizes[-1]:,.0f} do not reach it"}
    pair = slice(right - 1, right + 1)
    between = " and ".join(f"{size:,.0f}" for size in sizes[pair])
    if (excess[pair] <= 0).any():
        return {"note": f"an excess loss at {between} that is not positive"}
    weight = math.log(parameters / sizes[right - 1]) / math.log(sizes[right] / sizes[right - 1])
    weights = np.array([1 - weight, weight])
    middle = weights @ np.log(excess[pair])
    log_half = weights @ (half[pair] / excess[pair])  # to first order
    low, value, high = np.exp([middle - log_half, middle, middle + log_half]).tolist()
    return {"excess_loss": value, "low": low, "high": high, "between": between}
