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
from n2n.utils.statistics import Z95
from n2n.utils.strict import as_integer

COMPARED = {"group": object, "seed": "Int64", "excess_loss": float, "low": float, "high": float}
COMPARED |= {"between": object, "note": object}


@dataclass(frozen=True, eq=False)
class EqualSize:
    """Groups of runs compared at one number of parameters.

    Attributes:
        parameters: that number; 0 if there is none.
        tokens: seen by every run.
        table: a row for each group and seed: ``group``, ``seed``, ``excess_loss`` with its 95% interval ``low`` to
            ``high`` over held-out sequences (not over seeds, each of which has its own row), nats per token;
            ``between``, the sizes that it was interpolated between, or the size itself; and ``note``, why there is no
            number. A group whose runs are all left out has a row without a seed.
        runs: of the sweep.
        left_out: those of them that are not done or saw another number of tokens.
        note: why there is no comparison; else empty.
    """

    parameters: int
    tokens: int
    table: pd.DataFrame
    runs: int
    left_out: int
    note: str = ""


def at_equal_size(results: SweepResults, *, by: Sequence[str] = ("arch",), parameters: int | None = None) -> EqualSize:
    """Compare groups at one number of parameters inside the range that all of them cover; nothing is extrapolated.

    A group and seed that has a run within a factor of 1.02 of that number is represented by it, as it is; any other by
    the straight line between its two neighbouring sizes in logarithms of size and excess loss. All runs saw equally
    many tokens, as in ``scaling_fits(results, "parameters")``.

    Evaluations that make one number share their held-out sequences, so their errors rise and fall together: they are
    added as if they were perfectly correlated, which no correlation exceeds.

    Args:
        results: from ``n2n.read_sweep``.
        by: as in ``scaling_fits``.
        parameters: (None: the geometric middle of the common range, or of the sizes where each is within a factor of
            1.02 of it, as those that ``n2n.models.match`` finds for one number are).

    Raises:
        ValueError: an unknown field, or a number of parameters outside the common range.
    """
    points, tokens = at_end(results)
    names = groups(results, by)
    points = points.assign(group=points["run"].map(names))
    ranges = points.groupby("group")["parameters"].agg(["min", "max"])
    chosen, note = _common(ranges, parameters)
    curves = [] if note else points.groupby(["group", "seed"], sort=True)
    rows = [{"group": group, "seed": seed, "note": "", **_at(_curve(own), chosen)} for (group, seed), own in curves]
    rows += [{"group": group, "note": told} for group, told in absent(results, names, points, tokens)]
    table = pd.DataFrame([{"between": "", **row} for row in rows], columns=list(COMPARED)).astype(COMPARED)
    runs = len(results.table)
    return EqualSize(chosen, tokens, table, runs, runs - points["run"].nunique(), note)


def _common(ranges: pd.DataFrame, parameters: int | None) -> tuple[int, str]:
    """A number of parameters in the ranges of all groups, and else why there is none."""
    low, high = float(ranges["min"].max()), float(ranges["max"].min())
    told = "; ".join(f"{group}: {row['min']:,} to {row['max']:,}" for group, row in ranges.iterrows())
    if parameters is None:
        middle = round(math.sqrt(low * high))
        matched = low <= high or not (apart(low, middle) or apart(high, middle))
        return (middle, "") if matched else (0, f"no size lies in all ranges ({told})")
    if not low / (1 + TOLERANCE) <= as_integer("parameters", parameters, 1) <= high * (1 + TOLERANCE):
        raise ValueError(
            f"parameters: saw {parameters:,}, which not all groups cover ({told}); nothing is extrapolated"
        )
    return parameters, ""


def _curve(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean excess loss at each size and its standard error, as if errors were perfectly correlated, by rising size."""
    means = rows.groupby("parameters", sort=True)[["excess_loss", "excess_standard_error"]].mean()
    return means.rename(columns={"excess_loss": "excess", "excess_standard_error": "error"}).reset_index()


def _at(curve: pd.DataFrame, parameters: int) -> dict:
    """The excess loss of a curve at so many parameters with its interval, or a note of why it has none."""
    sizes, excess, error = (curve[name].to_numpy(float) for name in ("parameters", "excess", "error"))
    near = int(np.abs(np.log(sizes / parameters)).argmin())
    if not apart(sizes[near], parameters):
        half = Z95 * error[near]
        own = {"low": excess[near] - half, "high": excess[near] + half, "between": f"{sizes[near]:,.0f}"}
        return {"excess_loss": excess[near], **own}
    right = int(np.searchsorted(sizes, parameters))
    if not 0 < right < len(sizes):
        return {"note": f"sizes from {sizes[0]:,.0f} to {sizes[-1]:,.0f} do not reach it"}
    pair = slice(right - 1, right + 1)
    told = " and ".join(f"{size:,.0f}" for size in sizes[pair])
    if (excess[pair] <= 0).any():
        return {"note": f"an excess loss at {told} that is not positive"}
    weight = math.log(parameters / sizes[right - 1]) / math.log(sizes[right] / sizes[right - 1])
    weights = np.array([1 - weight, weight])
    middle = weights @ np.log(excess[pair])
    half = Z95 * weights @ (error[pair] / excess[pair])  # first order, in logarithms
    low, there, high = np.exp([middle - half, middle, middle + half]).tolist()
    return {"excess_loss": there, "low": low, "high": high, "between": told}
