"""What a factor does to a loss: paired comparisons with intervals, and a verdict computed from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from n2n.effects.intervals import (
    MIN_PROCESSES,
    UNDEFINED,
    Interval,
    geometric_ratio,
    mean_over_processes,
    ratio_of_means,
)
from n2n.effects.measures import MEASURES, with_measure
from n2n.utils.strict import unknown_name_message

STRATA = ("level", "target", "arch", "dim", "layers", "steps", "sequences")  # columns that a comparison can be along
RESOLVED = 2.0  # standard errors from 0 beyond which a loss has a meaningful logarithm


@dataclass(frozen=True)
class Effect:
    """One value of a column compared with a reference, paired within each process seed.

    Attributes:
        value, reference: the values compared.
        processes, runs: number of process seeds that have both, and of their runs.
        ratio, low, high: how many times less loss ``value`` has, and the 95% interval over processes and seeds; nan if
            it is not defined.
        method: ``"geometric"`` means if every loss is resolved (above twice its standard error over held-out
            sequences), otherwise ``"means"``: the ratio of arithmetic means, by Fieller's interval.
        difference, difference_low, difference_high: loss of ``value`` minus that of ``reference`` and its 95% interval.
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
    table: pd.DataFrame,
    *,
    along: str = "level",
    reference: object = None,
    measure: str = "excess",
    pool: Sequence[str] = (),
    subject: str = "{} is learned",
) -> pd.DataFrame:
    """Compare each value of a column with a reference, for each combination of the other columns of ``STRATA``.

    Comparisons are paired: a run counts if its process seed has runs of both values that agree in the pooled columns.
    The mean over the seeds and pooled columns of a process is one replicate, so intervals are over processes and seeds
    (see ``n2n.effects.intervals``).

    Args:
        table: one row for each run, as ``n2n.experiments.judged`` returns.
        along: column whose values are compared: one of ``STRATA``.
        reference: the value that others are compared with. None: the first of the table.
        measure: the loss that is compared, ``"excess"`` or ``"relative_excess"``; see ``n2n.effects.with_measure``.
        pool: further columns of ``STRATA`` that are averaged over within a process, such as ``["target"]``.
        subject: beginning of the verdict, with braces for the value.

    Returns:
        a row for each comparison: the columns that are held fixed, and the fields of ``Effect``.

    Raises:
        ValueError: an unknown column, reference or measure, a table without runs, two rows of one run, or a column with
            a single value.
    """
    values = values_of(table, along, reference)
    table = with_measure(table, measure)
    keys = ["process", *(check_column("pool", name) for name in pool)]
    fixed = [name for name in STRATA if name != along and name not in pool]
    rows = []
    for key, group in table.groupby(fixed, sort=False):
        by_value = dict(iter(group.groupby(along, sort=False)))
        for value in values[1:]:
            if value in by_value and values[0] in by_value:
                pair = paired(by_value[values[0]], by_value[value], keys)
                effect = compare(*pair, values[0], value, subject, MEASURES[measure].phrase)
                rows.append({**dict(zip(fixed, key, strict=True)), **asdict(effect)})
    return pd.DataFrame(rows, columns=[*fixed, *Effect.__dataclass_fields__])


def check_column(name: str, column: str) -> str:
    """Return a column of ``STRATA``.

    Raises:
        ValueError: if it is none.
    """
    if column not in STRATA:
        raise ValueError(f"{name}: {unknown_name_message('column', column, STRATA)}")
    return column


def values_of(table: pd.DataFrame, along: str, reference: object = None) -> list:
    """The values of a column of a table of runs, the reference first.

    Raises:
        ValueError: as ``effects``.
    """
    check_column("along", along)
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


def paired(ones: pd.DataFrame, others: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of two tables whose values of ``keys`` are in both."""
    both = set(ones[keys].itertuples(index=False, name=None)) & set(others[keys].itertuples(index=False, name=None))
    kept = ([key in both for key in rows[keys].itertuples(index=False, name=None)] for rows in (ones, others))
    return tuple(rows[mask] for rows, mask in zip((ones, others), kept, strict=True))


def resolved(rows: pd.DataFrame) -> bool:
    """Whether every loss lies above twice its standard error; see ``with_measure``."""
    return bool((rows["value"] > RESOLVED * rows["value_error"]).all())


def compare(
    ones: pd.DataFrame, others: pd.DataFrame, reference: object, value: object, subject: str, phrase: str
) -> Effect:
    """The effect of ``others`` against ``ones``, paired runs of a reference and of another value."""
    everything = pd.concat([ones, others])
    processes = everything["process"].nunique()
    diverged = bool(everything["value"].isna().any())
    geometric = not diverged and resolved(everything)
    ratio = difference = UNDEFINED
    if not diverged:
        scale, ratio_of = (np.log, geometric_ratio) if geometric else (np.asarray, ratio_of_means)
        ratio = ratio_of(_means(ones, scale), _means(others, scale))
        difference = mean_over_processes(_means(others, np.asarray) - _means(ones, np.asarray))
    reason = _reason(ratio, diverged, processes, phrase)
    text = verdict(subject.format(value), ratio, reference, reason, phrase)
    method = "geometric" if geometric else "means"
    return Effect(value, reference, processes, len(everything), *ratio, method, *difference, text)


def _means(rows: pd.DataFrame, scale: Callable[[pd.Series], pd.Series]) -> np.ndarray:
    """Mean of the scaled loss over the runs of each process, ``(processes,)``."""
    return rows.assign(scaled=scale(rows["value"])).groupby("process")["scaled"].mean().to_numpy(float)


def _reason(ratio: Interval, diverged: bool, processes: int, phrase: str) -> str:
    """Why there is no interval; empty if there is one."""
    if diverged:
        return "a run diverged"
    if processes < MIN_PROCESSES:
        return f"{processes} processes have both, and an interval needs {MIN_PROCESSES}"
    return "" if np.isfinite(ratio).all() else f"the {phrase} is not distinguishable from 0"


def verdict(
    subject: str, ratio: Interval, reference: object, reason: str = "", phrase: str = MEASURES["excess"].phrase
) -> str:
    """The sentence that an interval allows.

    >>> verdict("2x8 is learned", Interval(3.1, 2.2, 4.4), "1x64")
    '2x8 is learned with 3.1 (2.2 to 4.4) times less excess loss than 1x64'

    Args:
        subject: beginning of the sentence.
        ratio: how many times less loss there is.
        reference: what it is compared with.
        reason: why there is no interval.
        phrase: what is compared.
    """
    if reason:
        return f"undecided: {subject} with {phrase} that cannot be compared to {reference}: {reason}"
    less = ratio.estimate >= 1
    ends = ratio if less else Interval(*(1 / end if end > 0 else np.inf for end in (ratio[0], ratio[2], ratio[1])))
    text = f"{subject} with {_number(ends.estimate)} ({_number(ends.low)} to {_number(ends.high)}) times "
    text += f"{'less' if less else 'more'} {phrase} than {reference}"
    return text if not ratio.low <= 1 <= ratio.high else f"undecided: {text}"


def _number(value: float) -> str:
    """Two significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.2g}".rstrip(".")
