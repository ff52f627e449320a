"""Learning in context: runs beside their rivals, over training steps and over pools, and their induction heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from n2n.analysis import induction
from n2n.analysis.batched import model_nll
from n2n.analysis.dynamics import checkpoints, spread
from n2n.analysis.evaluation import held_out
from n2n.analysis.held_out import HeldOut, without_pool
from n2n.analysis.mixing import token_mixing
from n2n.analysis.of_runs import task_difference
from n2n.analysis.rivals import Rivals
from n2n.oracle.in_context import in_context_nll
from n2n.runs.run import Run
from n2n.utils.progress import track
from n2n.utils.statistics import mean_interval
from n2n.utils.strict import as_integer

LEARNER, OF_POOL, OF_PRIOR = "learner", "oracle of the pool", "oracle of the prior"


@dataclass(frozen=True, eq=False)
class RivalTrace:
    """Runs at several checkpoints, and the rivals of their process, on the same held-out sequences.

    The tables have a column ``learner``, the run's name, and a column ``step``; step 0 is the untrained model.

    Attributes:
        rivals: losses of the rivals.
        learners: losses of each run's last checkpoint, by name, ``(sequences, T - 1)``, nats.
        losses: mean ``loss``, nats per token, with the ends ``low`` and ``high`` of its 95% interval over sequences.
        distances: the columns of ``Rivals.distances``.
        nearest: the columns of ``Rivals.nearest``.
    """

    rivals: Rivals
    learners: dict[str, np.ndarray]
    losses: pd.DataFrame
    distances: pd.DataFrame
    nearest: pd.DataFrame


def trace(runs: Mapping[str, Run], max_steps: int, sequences: int) -> RivalTrace:
    """Compare the models at several checkpoints with the rivals of ``n2n.rivals.rival_losses``.

    Args:
        runs: runs of one process and one ``seq_len``, by name.
        max_steps: number of checkpoints of each run, at most, besides the untrained model; see ``n2n.dynamics.spread``.
        sequences: number of sequences of the ``test`` split.

    Raises:
        ValueError: no run, runs of different processes or lengths, a run without a checkpoint, a number out of range,
            or as ``rival_losses``.
    """
    data = _shared(runs, sequences)
    rivals = Rivals.of(data.process, data.tokens, np.arange(sequences), split=data.split)
    learners, tables = {}, []
    for name, run in runs.items():
        for step, model in checkpoints(run, spread(run, max_steps)):
            learners[name] = model_nll(model, data.tokens)
            mean = pd.DataFrame([_mean_loss(learners[name])])
            measured = (mean, rivals.distances(learners[name]), rivals.nearest(learners[name]))
            tables.append([table.assign(learner=name, step=step) for table in measured])
    return RivalTrace(rivals, learners, *(pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True)))


@dataclass(frozen=True, eq=False)
class OverPools:
    """Runs that were trained on pools of different sizes, each beside two oracles.

    The tables have a column ``pool``, the number of kernel sets (missing: unlimited), and a column ``source``, where
    fresh sequences come from: ``"pool"``, the pool that the run was trained on, or ``"prior"``, kernels that no
    learner has seen.

    Attributes:
        losses: mean ``loss`` of each ``predictor``, nats per token, with the ends ``low`` and ``high`` of its 95%
            interval over sequences. The predictors are ``"learner"``, ``"oracle of the pool"``, which knows the kernels
            of the pool, and ``"oracle of the prior"``, which knows only their prior.
        distances: the columns of ``Rivals.distances``; the rivals are the two oracles.
    """

    losses: pd.DataFrame
    distances: pd.DataFrame


def over_pools(runs: Sequence[Run], sequences: int) -> OverPools:
    """Does a learner remember the pool that it was trained on, or learn in context as the prior's oracle does?

    Both oracles are ``n2n.in_context_nll``, of the run's own process and of the same graph with ``pool=None``. The
    experiment is that of Raventos et al., "Pretraining task diversity and the emergence of non-Bayesian in-context
    learning for regression", arXiv:2306.15063, on the sequences of a graph.

    Args:
        runs: runs of a graph with context nodes that differ in the graph's ``pool``.
        sequences: number of sequences of the ``test`` split of each source.

    Raises:
        ValueError: no run, fewer than 2 sequences, or as ``n2n.in_context_nll``. Kernels so extreme that no set of a
            pool can emit a token have an infinite loss, which is refused, too.
    """
    if not runs:
        raise ValueError("runs: saw none; at least one is needed")
    losses, distances = [], []
    for run in track(runs, "pool"):
        own, model = run.config.process, run.model()
        prior = without_pool(own)
        for source, process in (("pool", own), ("prior", prior)):
            tokens = HeldOut(process, sequences, run.config.seq_len).tokens
            nll = model_nll(model, tokens)
            oracles = {OF_POOL: own, OF_PRIOR: prior}
            rivals = Rivals({name: in_context_nll(known, tokens).nll.numpy() for name, known in oracles.items()})
            predictors = {LEARNER: nll, **rivals.losses}
            means = pd.DataFrame([{"predictor": name, **_mean_loss(part)} for name, part in predictors.items()])
            losses.append(means.assign(pool=own.graph.pool, source=source))
            distances.append(rivals.distances(nll).assign(pool=own.graph.pool, source=source))
    return OverPools(*(pd.concat(part, ignore_index=True).astype({"pool": "Int64"}) for part in (losses, distances)))


def heads(runs: Mapping[str, Run], max_steps: int, sequences: int) -> pd.DataFrame:
    """Induction scores of all heads of several runs over their checkpoints.

    Args:
        runs: runs of one process and one ``seq_len``, by name.
        max_steps: as in ``trace``.
        sequences: number of sequences of the ``test`` split.

    Returns:
        the columns of ``n2n.induction.trace``, and ``learner``.

    Raises:
        ValueError: as ``trace``, or as ``n2n.induction.induction_scores``.
    """
    _shared(runs, sequences)
    tables = [
        induction.trace(run, spread(run, max_steps), sequences).assign(learner=name) for name, run in runs.items()
    ]
    return pd.concat(tables, ignore_index=True)


class HeadMaps(NamedTuple):
    """Mixing of one head of each learner on the same sequence.

    Attributes:
        tokens: ``(length,)``.
        targets: ``(length, length)`` bool, [query, key]: the key followed an earlier occurrence of the query's symbol.
        mixing: ``(length, length)``, [query, key], by the name of learner, block and head.
    """

    tokens: np.ndarray
    targets: np.ndarray
    mixing: dict[str, np.ndarray]


def clearest_heads(runs: Mapping[str, Run], table: pd.DataFrame, sequence: int, length: int) -> HeadMaps:
    """Each run's head whose last score is farthest above its null, on one sequence of the ``test`` split.

    Args:
        runs: the runs, by name.
        table: from ``heads``.
        sequence: index of the sequence, from 0.
        length: number of tokens from the first one, at most ``seq_len - 1``.

    Raises:
        ValueError: as ``trace``, or a number out of range.
    """
    sequence = as_integer("sequence", sequence, 0)
    data = _shared(runs, max(2, sequence + 1))
    length = as_integer("length", length, 2, data.length - 1)
    maps = {}
    for name, run in runs.items():
        rows = table[(table["learner"] == name) & (table["step"] == table["step"][table["learner"] == name].max())]
        best = rows.loc[(rows["score"] - rows["null_high"]).idxmax()]
        layer, head = int(best["layer"]), int(best["head"])
        mixing = token_mixing(run.model(), data.tokens[[sequence], : length + 1])
        maps[f"{name}, block {layer}, head {head}"] = mixing[0, layer - 1, head]
    tokens = data.tokens[[sequence], :length]
    return HeadMaps(tokens[0], induction.induction_targets(tokens)[0], maps)


def _shared(runs: Mapping[str, Run], sequences: int) -> HeldOut:
    """Held-out sequences of the process that all runs share."""
    if not runs:
        raise ValueError("runs: saw none; at least one is needed")
    (first_name, first), *others = runs.items()
    for name, run in others:
        if message := task_difference(name, first_name, run.config, first.config):
            raise ValueError(message)
    return held_out(first.config, sequences=sequences)


def _mean_loss(nll: np.ndarray) -> dict[str, float]:
    """Mean loss over sequences and tokens, and its 95% interval over sequences."""
    mean, _, low, high = mean_interval(nll.mean(1))
    return {"loss": float(mean), "low": float(low), "high": float(high)}
