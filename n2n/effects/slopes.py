"""How a loss grows with a numeric column: the exponent of a power law, with its interval over processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from n2n.effects.intervals import UNDEFINED, Interval, mean_over_processes
from n2n.effects.measures import MEASURES, with_measure
from n2n.effects.paired_effects import STRATA, resolved, values_of

COLUMNS = ("processes", "values", "exponent", "low", "high", "verdict")


def exponents(table: pd.DataFrame, *, along: str = "level", measure: str = "excess") -> pd.DataFrame:
    """The exponent b of loss = a * value**b, for each combination of the other columns of ``STRATA``.

    The exponent is the slope of the logarithm of the loss against that of the value, by least squares for each process
    seed (the mean over its seeds at each value). Processes are the replicates of the interval, by Student's t. Only
    process seeds that have every value count.

    Args:
        table: one row for each run, as ``n2n.experiments.judged`` returns.
        along: a column of positive numbers: one of ``STRATA``. Levels count if their names are numbers.
        measure: see ``n2n.effects.with_measure``.

    Returns:
        a row for each combination: the columns that are held fixed; ``processes``, their number; ``values``, how many
        there are; ``exponent``, ``low`` and ``high``, its 95% interval; and ``verdict``, a sentence that begins with
        "undecided" if the interval holds 0 or is not defined.

    Raises:
        ValueError: an unknown column, values that are not positive numbers, a table without runs, or a single value.
    """
    values = values_of(table, along)
    positive_numbers(along, values)
    table = with_measure(table, measure)
    fixed = [name for name in STRATA if name != along]
    rows = []
    for key, group in table.groupby(fixed, sort=False):
        rows.append({**dict(zip(fixed, key, strict=True)), **_slope(group, along, MEASURES[measure].phrase)})
    return pd.DataFrame(rows, columns=[*fixed, *COLUMNS])


def positive_numbers(name: str, values: Sequence[object]) -> np.ndarray:
    """Values of a column as numbers.

    Raises:
        ValueError: if one is not a positive number.
    """
    try:
        numbers = np.array(values, dtype=float)
    except ValueError:
        numbers = np.array([np.nan])
    if not (numbers > 0).all():
        raise ValueError(f"{name}: saw {', '.join(map(str, values))}; a slope needs positive numbers")
    return numbers


def _slope(group: pd.DataFrame, along: str, phrase: str) -> dict[str, object]:
    means = pd.DataFrame()
    if resolved(group):
        logs = group.assign(log=np.log(group["value"]))
        means = logs.pivot_table(index="process", columns=along, values="log", aggfunc="mean").dropna()
    found = UNDEFINED
    if means.shape[1] > 1:
        x = np.log(means.columns.to_numpy(dtype=float))
        x -= x.mean()
        found = mean_over_processes(means.to_numpy() @ x / (x @ x))
    return dict(zip(COLUMNS, (len(means), means.shape[1], *found, _verdict(found, along, phrase)), strict=True))


def _verdict(slope: Interval, along: str, phrase: str) -> str:
    if not np.isfinite(slope).all():
        return f"undecided: the {phrase} is not distinguishable from 0 in every run, or there are too few processes"
    text = f"the {phrase} grows as {along}^{slope.estimate:.2f} ({slope.low:.2f} to {slope.high:.2f})"
    return text if not slope.low <= 0 <= slope.high else f"undecided: {text}"
