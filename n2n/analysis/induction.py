"""Induction heads: does the mixing of a token fall on the tokens that followed earlier occurrences of its symbol?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from n2n.analysis.agreement import HEADS, against_null, matrices
from n2n.analysis.dynamics import checkpoints
from n2n.analysis.evaluation import held_out
from n2n.analysis.mixing import token_mixing
from n2n.runs.run import Run
from n2n.utils.arrays import integers
from n2n.utils.statistics import mean_and_error
from n2n.utils.strict import as_integer


def induction_scores(mixing: ArrayLike, tokens: ArrayLike, *, permutations: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The share of each head's mixing that an induction head would have, and its controls.

    The targets of query t are the tokens that followed earlier occurrences of x_t: the positions s <= t with
    x_{s-1} = x_t. The score is the share of ``|mixing[t, :t + 1]|`` on them, the mean over sequences and over the
    queries that have a target. A head that only copies what followed the current symbol before scores 1. The definition
    is that of Olsson et al., "In-context learning and induction heads", arXiv:2209.11895, with all earlier occurrences
    and on sequences of the process instead of repeated random ones. There a target is often a frequent symbol too, so
    the score means nothing without its null: the same score with the targets of another sequence at the same positions,
    which keeps what position and lag explain. Its permutations and p-value are those of ``n2n.head_agreement``.

    A head that mixes nothing has share 0.

    Args:
        mixing: ``(batch, layers, heads, T - 1, T - 1)``, [query, key], from ``token_mixing``.
        tokens: ``(batch, T)`` integers, the same tokens.
        permutations: number of permutations for the null.
        seed: seed of the permutations.

    Returns:
        a row for each ``layer`` (block, from 1) and ``head`` (from 0): ``score``; its ``standard_error`` over
        sequences; ``null_low`` and ``null_high``, the 2.5% and 97.5% quantiles of the null; ``p_value``; ``uniform``,
        the score of uniform mixing; ``previous``, the mean share of the mixing that falls on s = t - 1, with its
        ``previous_standard_error``, and ``previous_uniform`` for uniform mixing; and ``pairs``, the number of pairs of
        a sequence and a query that were scored.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, fewer than 2 sequences or queries, or no
            query with a target.
    """
    mixing, tokens = matrices("mixing", mixing, HEADS), _read_tokens(mixing, tokens)
    rng = np.random.default_rng(as_integer("seed", seed, 0))
    orders = np.array([rng.permutation(len(tokens)) for _ in range(as_integer("permutations", permutations, 1))])
    targets = induction_targets(tokens)
    scored = targets.any(-1).sum(1)
    if not scored.any():
        raise ValueError("tokens: saw no symbol twice in a sequence, so no query has a target")
    rows = []
    for layer, head in np.ndindex(mixing.shape[1:3]):
        shares = _shares(mixing[:, layer, head])
        rows.append({"layer": layer + 1, "head": head, **_score(shares, targets, orders), **_previous(shares)})
    return pd.DataFrame(rows).assign(pairs=int(scored.sum()))


def induction_targets(tokens: np.ndarray) -> np.ndarray:
    """Whether key s followed an earlier occurrence of query t's symbol, ``(batch, T, T)``, [query t, key s]."""
    same = tokens[:, :, None] == tokens[:, None, :]
    targets = np.zeros_like(same)
    targets[:, :, 1:] = same[:, :, :-1]
    return np.tril(targets)


def trace(run: Run, steps: Sequence[int], sequences: int) -> pd.DataFrame:
    """Induction scores of each head at several checkpoints, on the same held-out sequences.

    Args:
        run: the run.
        steps: steps of the checkpoints; 0 is the untrained model.
        sequences: number of sequences of the ``test`` split.

    Returns:
        the columns of ``induction_scores``, and ``step``.

    Raises:
        ValueError: no steps, no such checkpoint, or as ``induction_scores``.
    """
    tokens = held_out(run.config, sequences=sequences).tokens
    tables = [
        induction_scores(token_mixing(model, tokens), tokens).assign(step=step)
        for step, model in checkpoints(run, steps)
    ]
    return pd.concat(tables, ignore_index=True)


def formation(table: pd.DataFrame) -> pd.DataFrame:
    """The step at which each head becomes an induction head.

    It is the first checkpoint from which on the score exceeds ``null_high`` at every checkpoint to the last one.

    Args:
        table: from ``trace``.

    Returns:
        a row for each ``layer`` and ``head``: ``step`` (missing if the head is none at the last checkpoint) and
        ``score`` at the last checkpoint.
    """
    rows = []
    for (layer, head), of_head in table.sort_values("step").groupby(["layer", "head"]):
        shown = of_head["score"] > of_head["null_high"]
        from_here = shown[::-1].cummin()[::-1]  # at this checkpoint and all later ones
        step = of_head["step"][from_here].min() if from_here.any() else None
        rows.append({"layer": layer, "head": head, "step": step, "score": of_head["score"].iloc[-1]})
    return pd.DataFrame(rows).astype({"step": "Int64"})


def _read_tokens(mixing: ArrayLike, tokens: ArrayLike) -> np.ndarray:
    """The tokens that are mixed, ``(batch, T - 1)``."""
    tokens, shape = integers(tokens), np.shape(mixing)
    if tokens.ndim != 2 or shape[0] != len(tokens) or shape[-1] != tokens.shape[1] - 1 or shape[-1] < 2:
        raise ValueError(
            f"saw mixing {shape} and tokens {tokens.shape}; (batch, layers, heads, T - 1, T - 1) and (batch, T) with T "
            "of at least 3 are needed"
        )
    return tokens[:, :-1]


def _shares(mixing: np.ndarray) -> np.ndarray:
    """Each query's absolute weights divided by their sum, ``(batch, T, T)``, float64; 0 if all are 0."""
    weights = np.tril(np.abs(mixing)).astype(np.float64)
    total = weights.sum(-1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def _score(shares: np.ndarray, targets: np.ndarray, orders: np.ndarray) -> dict[str, float]:
    count, scored = len(shares), targets.any(-1).sum(1)
    cross = shares.reshape(count, -1) @ targets.reshape(count, -1).T.astype(np.float64)
    keys = np.arange(1, targets.shape[1] + 1)
    return {**against_null(cross, orders, scored), "uniform": float((targets.sum(-1) / keys).sum() / scored.sum())}


def _previous(shares: np.ndarray) -> dict[str, float]:
    mean, error = mean_and_error(np.diagonal(shares, -1, 1, 2).mean(1))
    uniform = float((1 / np.arange(2, shares.shape[1] + 1)).mean())
    return {"previous": float(mean), "previous_standard_error": float(error), "previous_uniform": uniform}
