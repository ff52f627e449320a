"""Scaling laws: how the excess loss falls with parameters, data and compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from n2n.sweeps.line_fit import MIN_RUNS, MIN_SIZES, Line, fit_line
from n2n.sweeps.results import SweepResults
from n2n.utils.strict import as_integer, unknown

AXES = ("parameters", "tokens", "flops")
STEPS = 40  # points of a fitted line


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """``excess = coefficient * size ** -exponent`` for one group of runs, by least squares in logarithms.

    Attributes:
        group: what the runs have in common.
        exponent, coefficient: nan where there are too few points.
        low, high: 95% interval of the exponent over runs; nan where it cannot be told.
        runs, points: that the fit stands on.
        not_positive: evaluations without a logarithm, because the model did no worse than the oracle by chance.
        note: why there is no fit or no interval; else empty.
        sizes: ``(40,)``, from the smallest to the largest size.
        excess, excess_low, excess_high: ``(40,)``, the line there and its pointwise 95% band, nats per token.
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
        points: the evaluations that are drawn, rows of ``SweepResults.evaluations`` with their ``group``.
        fits: a ``PowerLaw`` for each group of the sweep, also for one without a point.
        runs: of the sweep.
        left_out: those of them that have no point here.
        tokens: seen by every run of the points, where the axis holds it fixed; else None.
        resamples: of the bootstrap.
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

    Against ``"parameters"`` stand the last evaluations of runs that are done and saw equally many tokens: as many as
    most of them did. Where no run is done yet, those of any state.
    Against ``"flops"`` stand the last evaluations of runs that are done, however they divided their compute between
    size and data; no frontier is taken of them. Against ``"tokens"`` stand all evaluations of all runs, those before a
    run's end under a learning rate that had not come down yet.

    Intervals are of ``line_fit.fit_line``, which resamples runs. Runs that differ in what is not among ``by`` are
    taken together.

    Args:
        results: from ``n2n.read_sweep``.
        axis: one of ``AXES``.
        by: fields of the runs' configurations that make a group. Different tasks are different groups.
        resamples, seed: of the bootstrap.

    Raises:
        ValueError: an unknown axis or field, or fewer than 100 resamples.
    """
    if axis not in AXES:
        raise ValueError(unknown("axis", axis, AXES))
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
    """What each run belongs to, by name; one that wrote no configuration and lacks a field of ``by`` is left out."""
    table = results.table
    for name in by:
        if name not in table:
            raise ValueError(unknown("field of the runs", name, table.columns))
    known = table[(table["task"] != "") | table[list(by)].notna().all(axis=1)]
    rows = known[list(by)].to_dict("records")
    parts = [[str(value) if name == "arch" else f"{name}={value}" for name, value in row.items()] for row in rows]
    if len(set(known["task"]) - {""}) > 1:
        parts = [[*part, task or "task unknown"] for part, task in zip(parts, known["task"], strict=True)]
    return pd.Series([", ".join(part) for part in parts], index=known.index, dtype=object)


def absent(
    results: SweepResults, names: pd.Series, points: pd.DataFrame, tokens: int | None
) -> Iterator[tuple[str, str]]:
    """Groups of runs without a point, and what became of their runs."""
    where = "" if tokens is None else f" after {tokens:,} tokens"
    for group in sorted(set(names) - set(points["group"])):
        states = results.table.loc[names.index[names == group], "state"].value_counts()
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        yield group, f"no point{where}, runs: {told}"


def at_end(results: SweepResults) -> tuple[pd.DataFrame, int]:
    """The last evaluations of the runs that saw as many tokens as most did, and how many tokens that is.

    Of runs that are done, where there are any: another's learning rate has not come down yet.
    """
    last = results.evaluations[results.evaluations["last"]]
    last = last[done] if (done := last["state"] == "done").any() else last
    counts = last["tokens"].value_counts()
    tokens = int(counts[counts == counts.max()].index.max())
    return last[last["tokens"] == tokens], tokens


def _points(results: SweepResults, axis: str) -> tuple[pd.DataFrame, int | None]:
    found = results.evaluations
    if axis == "parameters":
        return at_end(results)
    if axis == "flops":
        return found[found["last"] & (found["state"] == "done") & found["flops"].notna()], None
    # At a run's end there may be one of each split; the curve stays on the split that it is made of.
    once = found.sort_values("split", key=lambda split: split == "test", kind="stable")
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
