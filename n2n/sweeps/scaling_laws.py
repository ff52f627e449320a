"""Scaling laws: how excess loss falls with parameters, data and compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from n2n.runs.run_table import count_states
from n2n.sweeps.line_fit import MIN_RUNS, MIN_SIZES, Line, fit_line
from n2n.sweeps.results import SweepResults
from n2n.utils.strict import as_integer, unknown_name_message

AXES = ("parameters", "tokens", "flops")
STEPS = 40  # points of a fitted line


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """``excess = coefficient * size ** -exponent`` for one group of runs, by least squares in logarithms.

    Attributes:
        group: name of the group.
        runs, points: number of runs and evaluations in the fit.
        not_positive: number of evaluations left out because their excess loss, by chance, is not positive.
        note: the reason if there is no fit or no interval, otherwise empty.
        exponent, coefficient: nan if there are too few points.
        low, high: 95% interval of the exponent over runs; nan if there is none.
        sizes: ``(40,)``, from the smallest to the largest size.
        excess, excess_low, excess_high: ``(40,)``, the line at these sizes and its pointwise 95% band, nats per token.
    """

    group: str
    runs: int
    points: int
    not_positive: int
    note: str = ""
    exponent: float = float("nan")
    coefficient: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    sizes: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    excess: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    excess_low: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    excess_high: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Excess loss along one axis.

    Attributes:
        axis: ``"parameters"``, ``"tokens"`` or ``"flops"``.
        points: the evaluations along the axis, rows of ``SweepResults.evaluations`` with their ``group``.
        fits: a ``PowerLaw`` for each group of the sweep, even without a point.
        runs: number of runs of the sweep.
        left_out: number of runs without a point.
        tokens: training tokens of every point, or None if they differ along the axis.
        resamples: number of bootstrap resamples.
    """

    axis: str
    points: pd.DataFrame
    fits: list[PowerLaw]
    runs: int
    left_out: int
    tokens: int | None
    resamples: int

    @property
    def table(self) -> pd.DataFrame:
        """A row for each fit."""
        names = ["exponent", "low", "high", "coefficient", "runs", "points", "not_positive", "note"]
        rows = [{"axis": self.axis, **{name: getattr(fit, name) for name in ("group", *names)}} for fit in self.fits]
        return pd.DataFrame(rows, columns=["axis", "group", *names])


def scaling_fits(
    results: SweepResults, axis: str, *, by: Sequence[str] = ("arch",), resamples: int = 1000, seed: int = 0
) -> Scaling:
    """Fit a power law to each group of a sweep's runs.

    Points against ``"parameters"`` are the last evaluations of finished runs with the most common number of training
    tokens; if no run is finished, those of all runs.
    Points against ``"flops"`` are the last evaluations of finished runs, however they divide their compute between size
    and data, and not only the compute-optimal frontier. Points against ``"tokens"`` are all evaluations of all runs;
    before the end of a run its learning rate has not decayed yet.

    ``line_fit.fit_line`` gives the intervals by resampling runs. Runs that differ only in fields outside ``by`` belong
    to one group.

    Args:
        results: from ``n2n.read_sweep``.
        axis: one of ``AXES``.
        by: fields of the runs' configurations that define the groups. Different tasks are always different groups.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.

    Raises:
        ValueError: an unknown axis or field, or fewer than 100 resamples.
    """
    if axis not in AXES:
        raise ValueError(unknown_name_message("axis", axis, AXES))
    as_integer("resamples", resamples, 100)
    points, tokens = _points(results, axis)
    names = groups(results, by)
    points = points.assign(group=points["run"].map(names))
    fits = [_fit(group, rows, axis, resamples, seed) for group, rows in points.groupby("group", sort=True)]
    fits += [PowerLaw(group, 0, 0, 0, f"no fit: {note}") for group, note in absent(results, names, points, tokens)]
    runs = len(results.table)
    fits = sorted(fits, key=lambda fit: fit.group)
    return Scaling(axis, points, fits, runs, runs - points["run"].nunique(), tokens, resamples)


def groups(results: SweepResults, by: Sequence[str]) -> pd.Series:
    """Name of each run's group. Runs without a configuration and without a field of ``by`` are left out."""
    table = results.table
    for name in by:
        if name not in table:
            raise ValueError(unknown_name_message("field of the runs", name, table.columns))
    known = table[(table["task"] != "") | table[list(by)].notna().all(axis=1)]
    rows = known[list(by)].to_dict("records")
    parts = [[str(value) if name == "arch" else f"{name}={value}" for name, value in row.items()] for row in rows]
    if len(set(known["task"]) - {""}) > 1:
        parts = [[*part, task or "task unknown"] for part, task in zip(parts, known["task"], strict=True)]
    return pd.Series([", ".join(part) for part in parts], index=known.index, dtype=object)


def absent(
    results: SweepResults, names: pd.Series, points: pd.DataFrame, tokens: int | None
) -> Iterator[tuple[str, str]]:
    """Groups without a point, each with a note on the states of its runs."""
    where = "" if tokens is None else f" after {tokens:,} tokens"
    for group in sorted(set(names) - set(points["group"])):
        states = results.table.loc[names.index[names == group], "state"]
        yield group, f"no point{where}, runs: {count_states(states)}"


def at_end(results: SweepResults) -> tuple[pd.DataFrame, int]:
    """The last evaluations of the runs with the most common number of training tokens, and this number.

    Only finished runs count if there are any, because the learning rate of the others has not decayed yet.
    """
    last = results.evaluations[results.evaluations["last"]]
    last = last[done] if (done := last["state"] == "done").any() else last
    counts = last["tokens"].value_counts()
    tokens = int(counts[counts == counts.max()].index.max())
    return last[last["tokens"] == tokens], tokens


def _points(results: SweepResults, axis: str) -> tuple[pd.DataFrame, int | None]:
    rows = results.evaluations
    if axis == "parameters":
        return at_end(results)
    if axis == "flops":
        return rows[rows["last"] & (rows["state"] == "done") & rows["flops"].notna()], None
    # At a run's end there may be an evaluation on each split; the curve keeps the split of the earlier ones.
    once = rows.sort_values("split", key=lambda split: split == "test", kind="stable")
    return once.drop_duplicates(["run", "step"]).sort_values(["run", "step"]), None


def _fit(group: str, rows: pd.DataFrame, axis: str, resamples: int, seed: int) -> PowerLaw:
    kept = rows[rows["excess_loss"] > 0]
    counted = {"runs": kept["run"].nunique(), "points": len(kept), "not_positive": len(rows) - len(kept)}
    if (sizes := kept[axis].nunique()) < MIN_SIZES:
        return PowerLaw(group, **counted, note=f"no fit: different sizes: {sizes}, needed: {MIN_SIZES}")
    x, y = np.log(kept[axis].to_numpy(float)), np.log(kept["excess_loss"].to_numpy(float))
    at = np.linspace(x.min(), x.max(), STEPS)
    line = fit_line(x, y, kept["run"].to_numpy(), at, resamples=resamples, seed=seed)
    excess, low, high = np.exp([line.fitted, line.fitted_low, line.fitted_high])
    return PowerLaw(
        group,
        **counted,
        note=_note(line, counted["runs"]),
        exponent=-line.slope,
        coefficient=float(np.exp(line.intercept)),
        low=-line.high,
        high=-line.low,
        sizes=np.exp(at),
        excess=excess,
        excess_low=low,
        excess_high=high,
    )


def _note(line: Line, runs: int) -> str:
    if runs < MIN_RUNS:
        return f"no interval: {runs} runs are too few to resample, {MIN_RUNS} are needed"
    return "" if np.isfinite(line.low) else "no interval: too many resamples hold a single size or only two points"
