"""Agreement of a model's token mixing with the exact influence of each past token."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from n2n.utils.arrays import reals
from n2n.utils.statistics import mean_and_error, ratio_error, t_interval
from n2n.utils.strict import as_integer

PAIRS = ("batch", "T", "T")
HEADS = ("batch", "layers", "heads", "T", "T")


def head_agreement(
    mixing: ArrayLike,
    influence: ArrayLike,
    *,
    min_keys: int = 8,
    min_influence: float = 1e-6,
    permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether each head looks where the information is: rank correlation with the exact influence, and its null.

    The score is the mean, over sequences and queries, of Spearman's correlation between ``|mixing[q, :q + 1]|`` and
    ``influence[q, :q + 1]`` over keys; ties have their mean rank. Recent tokens matter more, so a head that depends
    only on the lag scores too. The null keeps everything that position and lag explain: it is the same score with the
    influence of another sequence at the same positions. If a score is above its null's interval, the mixing depends on
    the content of the tokens.

    Sequences are exchanged by uniform permutations, which include the identity. They are a group, so the p-value is
    exact; with derangements it would not be (Hemerik and Goeman, Test 27 (2018)). It is one-sided and counts the score
    itself (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010)). It is per head and not corrected for multiple
    comparisons.

    Args:
        mixing: ``(batch, layers, heads, queries, keys)``, from ``token_mixing``.
        influence: ``(batch, queries, keys)``, from ``token_influence``.
        min_keys: queries with fewer keys are left out.
        min_influence: nats. Smaller influences count as equal, because no learner's loss would show them.
        permutations: number of permutations for the null.
        seed: seed of the permutations.

    Returns:
        a row for each ``layer`` (block, from 1) and ``head`` (from 0): ``score``; its ``standard_error`` over
        sequences; ``null_low`` and ``null_high``, the 2.5% and 97.5% quantiles of the null; ``p_value``; ``lag_score``,
        the score if the mixing were the mean influence by lag (the same for every head); ``pairs``, the number of pairs
        of a sequence and a query that were scored; and ``constant``, the number left out because all keys' influences
        are equal. Constant mixing has correlation 0.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, fewer than 2 sequences, or nothing to score.
    """
    mixing, influence = _checked(mixing, influence)
    min_keys, permutations = as_integer("min_keys", min_keys, 2), as_integer("permutations", permutations, 1)
    if not (isinstance(min_influence, float | int) and 0 <= min_influence < np.inf):
        raise ValueError(f"min_influence: saw {min_influence!r}; a number of nats from 0 is needed")
    rng = np.random.default_rng(as_integer("seed", seed, 0))
    orders = np.array([rng.permutation(len(mixing)) for _ in range(permutations)])
    return _scores(mixing, np.where(influence < min_influence, 0.0, influence), min_keys, orders)


def _scores(mixing: np.ndarray, influence: np.ndarray, min_keys: int, orders: np.ndarray) -> pd.DataFrame:
    """The table of ``head_agreement`` for the ``orders (permutations, batch)`` of the null."""
    count, layers, heads, queries, _ = mixing.shape
    target = _rank_vectors(influence, min_keys)  # (batch, scored queries, keys)
    scored = (target != 0).any(-1).sum(1)  # queries of each sequence
    if scored.sum() == 0:
        raise ValueError(
            f"saw {queries} queries, none of which has at least {min_keys} keys (min_keys) of unequal influence"
        )
    flat = target.reshape(count, -1).T
    profile = np.broadcast_to(_spread(_lag_means(influence).mean(0)), (1, queries, queries))
    lag_score = float((_rank_vectors(profile, min_keys).reshape(1, -1) @ flat).sum() / scored.sum())
    rows = []
    for layer, head in np.ndindex(layers, heads):
        cross = _rank_vectors(np.abs(mixing[:, layer, head]), min_keys).reshape(count, -1) @ flat  # (batch, batch)
        score = against_null(cross, orders, scored)
        rows.append({"layer": layer + 1, "head": head, **score, "lag_score": lag_score, "pairs": int(scored.sum())})
    left_out = count * (queries - min_keys + 1) - int(scored.sum())
    return pd.DataFrame(rows).assign(constant=left_out)


def against_null(cross: np.ndarray, orders: np.ndarray, scored: np.ndarray) -> dict[str, float]:
    """A head's score and its null, from sums over queries for each pair of sequences.

    Args:
        cross: ``(batch, batch)``, the sum over queries of what the mixing of one sequence scores on the target of
            another one; the diagonal has the sequences' own targets.
        orders: ``(permutations, batch)``, permutations of the sequences for the null.
        scored: ``(batch,)``, number of queries of each target.
    """
    pairs, own = scored.sum(), np.diag(cross)
    score = own.sum() / pairs
    null = cross[np.arange(len(cross)), orders].sum(axis=1) / pairs
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "score": float(score),
        "standard_error": float(ratio_error(own, scored, score)),  # sequences differ in their number of scored queries
        "null_low": float(low),
        "null_high": float(high),
        "p_value": float((1 + (null >= score - 1e-12).sum()) / (1 + len(null))),
    }


def mixing_by_lag(mixing: ArrayLike) -> pd.DataFrame:
    """Absolute mixing by lag q - s.

    Args:
        mixing: ``(batch, layers, heads, T, T)``, [query q, key s], from ``token_mixing``.

    Returns:
        a row for each layer, head and lag: ``layer`` (block, from 1), ``head`` (from 0) and the columns of
        ``influence_by_lag``, in which ``mean`` has no unit.

    Raises:
        ValueError: another shape, a number that is not finite, or fewer than 2 sequences.
    """
    mixing = np.abs(matrices("mixing", mixing, HEADS))
    heads = list(np.ndindex(mixing.shape[1:3]))
    tables = [_by_lag(mixing[:, layer, head]).assign(layer=layer + 1, head=head) for layer, head in heads]
    return pd.concat(tables, ignore_index=True)


def influence_by_lag(influence: ArrayLike) -> pd.DataFrame:
    """Mean influence by lag q - s.

    Args:
        influence: ``(batch, T, T)``, [query q, key s], nats, from ``token_influence``.

    Returns:
        a row for each lag: ``lag``; ``mean``, nats, over sequences and over the queries that have a key at this lag;
        its ``standard_error`` over sequences; ``share``, the mean divided by its sum over lags; its
        ``share_standard_error``, and the ends ``share_low`` and ``share_high`` of its 95% interval over sequences
        (``t_interval``). Shares are nan if all means are 0.

    Raises:
        ValueError: another shape, a number that is not finite, or fewer than 2 sequences.
    """
    return _by_lag(matrices("influence", influence, PAIRS))


def _by_lag(matrices: np.ndarray) -> pd.DataFrame:
    means = _lag_means(matrices)  # (batch, lags)
    mean, error = mean_and_error(means)
    totals = means.sum(1)
    total = totals.mean() or np.nan
    share = mean / total
    share_error = mean_and_error(means - share * totals[:, None])[1] / total
    low, high = t_interval(share, share_error, len(means))
    return pd.DataFrame(
        {
            "lag": np.arange(len(mean)),
            "mean": mean,
            "standard_error": error,
            "share": share,
            "share_standard_error": share_error,
            "share_low": low,
            "share_high": high,
        }
    )


def _lag_means(matrices: np.ndarray) -> np.ndarray:
    """The mean of each diagonal of ``(batch, queries, keys)``: ``(batch, lags)``."""
    lags = range(matrices.shape[-1])
    return np.stack([np.diagonal(matrices, -lag, 1, 2).mean(-1, dtype=np.float64) for lag in lags], axis=1)


def _spread(by_lag: np.ndarray) -> np.ndarray:
    """The matrix ``(queries, keys)`` whose entries depend only on the lag; they are 0 for keys after the query."""
    lag = np.arange(len(by_lag))[:, None] - np.arange(len(by_lag))
    return np.where(lag >= 0, by_lag[np.maximum(lag, 0)], 0.0)


def _rank_vectors(values: np.ndarray, min_keys: int) -> np.ndarray:
    """Centred ranks among the keys of each query, of norm 1: ``(batch, scored queries, keys)``; 0 if all are equal.

    The inner product of two such vectors is Spearman's correlation.
    """
    count, queries, _ = values.shape
    vectors = np.zeros((count, max(0, queries - min_keys + 1), queries))
    for place, query in enumerate(range(min_keys - 1, queries)):
        ranks = pd.DataFrame(values[:, query, : query + 1]).rank(axis=1).to_numpy()
        centred = ranks - (query + 2) / 2
        norm = np.sqrt((centred**2).sum(1, keepdims=True))
        vectors[:, place, : query + 1] = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    return vectors


def _checked(mixing: ArrayLike, influence: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    mixing, influence = reals(mixing, "mixing"), reals(influence, "influence")
    if mixing.ndim != 5 or influence.shape != (len(mixing), *mixing.shape[3:]) or mixing.shape[3] != mixing.shape[4]:
        raise ValueError(
            f"saw mixing {mixing.shape} and influence {influence.shape}; (batch, layers, heads, T, T) and "
            "(batch, T, T) are needed"
        )
    return matrices("mixing", mixing, HEADS), matrices("influence", influence, PAIRS)


def matrices(name: str, values: ArrayLike, axes: tuple[str, ...]) -> np.ndarray:
    """``values`` as square matrices, one for each sequence (and head).

    Raises:
        ValueError: another shape, a number that is not finite, fewer than 2 sequences, or no query; the message begins
            with ``name``.
    """
    values = reals(values, name)
    if values.ndim != len(axes) or values.shape[-1] != values.shape[-2]:
        saw = f"saw shape {values.shape} of type {values.dtype}"
        raise ValueError(f"{name}: {saw}; real numbers ({', '.join(axes)}) are needed")
    if len(values) < 2 or 0 in values.shape:
        raise ValueError(f"{name}: saw shape {values.shape}; at least 2 sequences of 1 query are needed")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: saw a number that is not finite; sequences of the process itself have none")
    return values
