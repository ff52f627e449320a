"""How many sequences an ideal learner needs for a learner's loss, as a fraction of those that the learner read.

Unlike nats, this compares across processes. From the true kernels an ideal learner only has to *count*; from random
starts it has to *find* them too. Each start is a reference of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from n2n.effects.intervals import MIN_PROCESSES, UNDEFINED, geometric_ratio
from n2n.effects.paired_effects import RESOLVED, STRATA

PROCESS = ["level", "target", "process"]
CURVE = ["predictor", "start"]
ENDS = ("fewer", "more", "unresolved")
RUN_COLUMNS = (*STRATA, "process", "seed", *CURVE, "equivalent", "censored", "efficiency")
COLUMNS = (*STRATA, *CURVE, "processes", *ENDS, "efficiency", "low", "high", "bound", "verdict")


class Curve(NamedTuple):
    """Excess loss of an ideal learner by number of sequences, as far as it is resolved.

    Attributes:
        sequences: ``(n,)``, ascending.
        excess: ``(n,)``, positive, nats per token.
    """

    sequences: np.ndarray
    excess: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Curve:
        """The curve of the rows of one ideal learner, up to the last row before one within two standard errors of 0."""
        rows = rows[rows["excess"].notna()].sort_values("sequences")
        clear = (rows["excess"] > RESOLVED * rows["standard_error"]).to_numpy()
        count = len(clear) if clear.all() else int(clear.argmin())
        return cls(*(rows[name].to_numpy(float)[:count] for name in ("sequences", "excess")))

    def equivalent(self, excess: float) -> tuple[float, str]:
        """The number of sequences at which the curve, straight between logarithms, first falls to an excess loss.

        Returns:
            the number and an empty word; or, where the curve has no such number, the end of the curve and ``"fewer"``
            or ``"more"``: the true number is beyond it.
        """
        reached = np.flatnonzero(self.excess <= excess)
        if not len(reached):
            return self.sequences[-1], "more"
        if reached[0] == 0:
            return self.sequences[0], "" if self.excess[0] == excess else "fewer"
        ends = slice(reached[0] - 1, reached[0] + 1)
        x, y = np.log(self.sequences[ends]), np.log(self.excess[ends])
        return float(np.exp(x[0] + (np.log(excess) - y[0]) * (x[1] - x[0]) / (y[1] - y[0]))), ""


def equivalent_sequences(table: pd.DataFrame, ideals: pd.DataFrame) -> pd.DataFrame:
    """For each run, the number of sequences from which each ideal learner of its process reaches its excess loss.

    Args:
        table: one row for each run, as ``n2n.experiments.judged`` returns.
        ideals: rows of ideal learners, as ``n2n.experiments.ideal_file(design).read()`` returns: ``level``, ``target``,
            ``process``, ``predictor``, ``start``, ``sequences``, ``excess`` and ``standard_error``.

    Returns:
        a row for each run and ideal learner: what identifies the run; ``predictor`` and ``start``; ``equivalent``, the
        number of sequences; ``censored``, ``"fewer"`` or ``"more"`` if the number is beyond that end of the ideal
        learner's curve, which ``equivalent`` then is, ``"unresolved"`` if the run's excess loss is within two standard
        errors of 0 or missing (``equivalent`` is nan), and empty otherwise; and ``efficiency``, ``equivalent`` divided
        by ``sequences``, the number of distinct sequences that the run read.

    Raises:
        ValueError: if two rows are of one ideal learner, or none is of a process of the table.
    """
    keys = [*PROCESS, *CURVE]
    if ideals.duplicated([*keys, "sequences"]).any():
        raise ValueError(f"ideals: saw two rows of one ideal learner; {', '.join(keys)} and sequences identify it")
    curves: dict[tuple, dict[tuple, Curve]] = {}
    for key, rows in ideals.groupby(keys, sort=False):
        if len((curve := Curve.of(rows)).excess):
            curves.setdefault(key[:3], {})[key[3:]] = curve
    rows = [row for run in table.itertuples() for row in _compared(run, curves)]
    if not rows:
        raise ValueError("ideals: saw no curve of a process of the table; run the same design with --ideal first")
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def _compared(run: NamedTuple, curves: dict[tuple, dict[tuple, Curve]]) -> Iterator[dict[str, object]]:
    own = {name: getattr(run, name) for name in (*STRATA, "process", "seed")}
    known = run.excess > RESOLVED * run.standard_error
    for (predictor, start), curve in curves.get((run.level, run.target, run.process), {}).items():
        equivalent, censored = curve.equivalent(run.excess) if known else (np.nan, "unresolved")
        found = {"equivalent": equivalent, "censored": censored, "efficiency": equivalent / run.sequences}
        yield {**own, "predictor": predictor, "start": start, **found}


def sample_efficiency(table: pd.DataFrame, ideals: pd.DataFrame) -> pd.DataFrame:
    """Sequences that an ideal learner needs for a learner's excess loss, per sequence that the learner read.

    The mean logarithm over the seeds of a process is one replicate, and the interval is over processes (see
    ``n2n.effects.geometric_ratio``). A curve is never continued beyond its ends: if a run is beyond them, there is no
    interval, but a bound.

    Args:
        table: as for ``equivalent_sequences``.
        ideals: as for ``equivalent_sequences``.

    Returns:
        a row for each combination of the columns of ``STRATA`` and each ideal learner: ``processes``, their number;
        ``fewer``, ``more`` and ``unresolved``, the numbers of runs that are censored so; ``efficiency``, ``low`` and
        ``high``, the geometric mean and its 95% interval, nan if runs are censored; ``bound``, the geometric mean with
        the ends of the curves for censored runs: an upper bound if the runs are only beyond the end of fewer sequences,
        a lower bound if only beyond that of more, and otherwise nan; and ``verdict``, a sentence, which begins with
        "undecided" without an interval.

    Raises:
        ValueError: as ``equivalent_sequences``.
    """
    fixed = [*STRATA, *CURVE]
    grouped = equivalent_sequences(table, ideals).groupby(fixed, sort=False)
    rows = [{**dict(zip(fixed, key, strict=True)), **_summary(runs)} for key, runs in grouped]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _summary(runs: pd.DataFrame) -> dict[str, object]:
    counts = {end: int((runs["censored"] == end).sum()) for end in ENDS}
    logs = runs.assign(one=np.log(runs["equivalent"]), other=np.log(runs["sequences"]))
    means = logs.groupby("process")[["one", "other"]].mean()
    interval, bound = UNDEFINED, np.nan
    if not any(counts.values()):
        interval = geometric_ratio(means["one"].to_numpy(), means["other"].to_numpy())
    elif not counts["unresolved"] and not (counts["fewer"] and counts["more"]):
        bound = float(np.exp((means["one"] - means["other"]).mean()))
    found = {"processes": len(means), **counts, "efficiency": interval.estimate, "low": interval.low}
    found |= {"high": interval.high, "bound": bound}
    return {**found, "verdict": _verdict(runs.iloc[0], found, len(runs))}


def _verdict(run: pd.Series, found: dict[str, object], count: int) -> str:
    """The sentence that an interval or a bound allows."""
    subject = f"{run['arch']} on {run['level']} is as good as the {run['predictor']} learner (start: {run['start']})"
    if np.isfinite(found["efficiency"]):
        low, estimate, high = (f"{found[name]:.2g}" for name in ("low", "efficiency", "high"))
        return f"{subject} that reads {estimate} ({low} to {high}) times as many sequences"
    if np.isfinite(found["bound"]):
        end, limit = ("fewest", "at most") if found["fewer"] else ("most", "at least")
        beyond = f"{found['fewer'] or found['more']} of {count} runs are beyond the curve's end of {end} sequences"
        return f"undecided: {subject} that reads {limit} {found['bound']:.2g} times as many sequences; {beyond}"
    if found["unresolved"]:
        reason = f"{found['unresolved']} of {count} runs have an excess loss that is not distinguishable from 0"
    elif found["fewer"]:
        reason = f"{found['fewer']} of {count} runs are beyond one end of the curve, {found['more']} beyond the other"
    else:
        reason = f"{found['processes']} processes are compared, and an interval needs {MIN_PROCESSES}"
    return f"undecided: {subject} of an unknown number of sequences: {reason}"
