"""What a factor does to the excess loss: paired comparisons with intervals, and a verdict computed from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from n2n.experiments.intervals import (
    MIN_PROCESSES,
    UNDEFINED,
    Interval,
    geometric_ratio,
    mean_difference,
    ratio_of_means,
)
from n2n.utils.strict import unknown_name_message

STRATA = ("level", "target", "arch", "dim", "layers", "steps", "sequences")  # columns that a comparison can be along
RESOLVED = 2.0  # standard errors from 0 beyond which an excess loss has a meaningful logarithm


@dataclass(frozen=True)
class Effect:
    """One value of a column compared with a reference, paired within each process seed.

    Attributes:
        value, reference: the values compared.
        processes, runs: number of process seeds that have both, and of their runs.
        ratio, low, high: how many times less excess loss ``value`` has, and the 95% interval over processes and seeds;
            nan if it is not defined.
        method: ``"geometric"`` means if every excess loss is resolved (above twice its standard error over held-out
            sequences), otherwise ``"means"``: the ratio of arithmetic means, by Fieller's interval.
        difference, difference_low, difference_high: excess loss of ``value`` minus that of ``reference`` and its 95%
            interval, nats per token.
        verdict: a sentence; it begins with "undecided" if the interval holds 1 or is not defined.
    """

    value: object
    reference: object
    processes: int
    runs: int
    ratio: float
    low: float
    high: float
    method: str
    difference: float
    difference_low: float
    difference_high: float
    verdict: str


def effects(
    table: pd.DataFrame, *, along: str = "level", reference: object = None, subject: str = "{} is learned"
) -> pd.DataFrame:
    """Compare each value of a column with a reference, for each combination of the other columns of ``STRATA``.

    Comparisons are paired: only process seeds that have runs of both values count. The mean over the seeds of a process
    is one replicate, so intervals are over processes and seeds (see ``n2n.experiments.intervals``).

    Args:
        table: one row for each run, as ``n2n.experiments.judged`` returns.
        along: column whose values are compared: one of ``STRATA``.
        reference: the value that others are compared with. None: the first of the table.
        subject: beginning of the verdict, with braces for the value.

    Returns:
        a row for each comparison: the columns that are held fixed, and the fields of ``Effect``.

    Raises:
        ValueError: an unknown column or reference, a table without runs, two rows of one run, or a column with a single
            value.
    """
    values = _values(table, along, reference)
    fixed = [name for name in STRATA if name != along]
    rows = []
    for key, group in table.groupby(fixed, sort=False):
        by_value = dict(iter(group.groupby(along, sort=False)))
        for value in values[1:]:
            if value in by_value and values[0] in by_value:
                effect = compare(by_value[values[0]], by_value[value], values[0], value, subject)
                rows.append({**dict(zip(fixed, key, strict=True)), **asdict(effect)})
    return pd.DataFrame(rows, columns=[*fixed, *Effect.__dataclass_fields__])


def _values(table: pd.DataFrame, along: str, reference: object) -> list:
    """The values of a column, the reference first."""
    if along not in STRATA:
        raise ValueError(f"along: {unknown_name_message('column', along, STRATA)}")
    if table.empty:
        raise ValueError("table: saw no runs; a design that is half done compares what is there, but nothing is yet")
    keys = [*STRATA, "process", "seed"]
    if table.duplicated(keys).any():
        raise ValueError(f"table: saw two rows of one run; one for each {', '.join(keys)} is needed, as judged returns")
    values = list(table[along].unique())
    if len(values) < 2:
        raise ValueError(f"{along}: saw only {values[0]!r} in the table; a comparison needs at least two values")
    if reference is None:
        return values
    if reference not in values:
        raise ValueError(f"reference: {unknown_name_message(along, reference, values)}")
    return [reference, *(value for value in values if value != reference)]


def compare(ones: pd.DataFrame, others: pd.DataFrame, reference: object, value: object, subject: str) -> Effect:
    """The effect of ``others`` against ``ones``, runs of a reference and of another value."""
    both = sorted(set(ones["process"]) & set(others["process"]))
    ones, others = (rows[rows["process"].isin(both)] for rows in (ones, others))
    everything = pd.concat([ones, others])
    diverged = bool(everything["excess"].isna().any())
    resolved = not diverged and bool((everything["excess"] > RESOLVED * everything["standard_error"]).all())
    scale = np.log if resolved else np.asarray
    ratio_of = geometric_ratio if resolved else ratio_of_means
    ratio = difference = UNDEFINED
    if not diverged:
        ratio = ratio_of(_means(ones, scale), _means(others, scale))
        difference = mean_difference(_means(ones, np.asarray), _means(others, np.asarray))
    reason = _reason(ratio, diverged, len(both))
    text = verdict(subject.format(value), ratio, reference, reason)
    method = "geometric" if resolved else "means"
    return Effect(value, reference, len(both), len(everything), *ratio, method, *difference, text)


def _means(rows: pd.DataFrame, scale) -> np.ndarray:
    """Mean over the seeds of each process of the scaled excess loss, ``(processes,)``."""
    return rows.assign(scaled=scale(rows["excess"])).groupby("process")["scaled"].mean().to_numpy(float)


def _reason(ratio: Interval, diverged: bool, processes: int) -> str:
    """Why there is no interval; empty if there is one."""
    if diverged:
        return "a run diverged"
    if processes < MIN_PROCESSES:
        return f"{processes} processes have both, and an interval needs {MIN_PROCESSES}"
    return "" if np.isfinite(ratio).all() else "the excess loss is not distinguishable from 0"


def verdict(subject: str, ratio: Interval, reference: object, reason: str = "") -> str:
    """The sentence that an interval allows.

    >>> verdict("2x8 is learned", Interval(3.1, 2.2, 4.4), "1x64")
    '2x8 is learned with 3.1 (2.2 to 4.4) times less excess loss than 1x64'

    Args:
        subject: beginning of the sentence.
        ratio: how many times less excess loss there is.
        reference: what it is compared with.
        reason: why there is no interval.
    """
    if reason:
        return f"undecided: {subject} with excess loss that cannot be compared to {reference}: {reason}"
    less = ratio.estimate >= 1
    ends = ratio if less else Interval(*(1 / end if end > 0 else np.inf for end in (ratio[0], ratio[2], ratio[1])))
    text = f"{subject} with {_number(ends.estimate)} ({_number(ends.low)} to {_number(ends.high)}) times "
    text += f"{'less' if less else 'more'} excess loss than {reference}"
    return text if not ratio.low <= 1 <= ratio.high else f"undecided: {text}"


def _number(value: float) -> str:
    """Two significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.2g}".rstrip(".")
