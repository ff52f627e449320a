"""How well what a model mixes agrees with what matters: attention against the exact influence of each past token."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from n2n.utils.arrays import reals
from n2n.utils.statistics import mean_and_error, ratio_error
from n2n.utils.strict import as_integer

PAIRS = ("batch", "T", "T")
HEADS = ("batch", "layers", "heads", "T", "T")


def head_agreement(
    mixing: ArrayLike,
    influence: ArrayLike,
    *,
    least_keys: int = 8,
    least_influence: float = 1e-6,
    permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether each head looks where the information is: rank correlation with the exact influence, with a null.

    The score is the mean, over sequences and queries, of Spearman's correlation between ``|mixing[q, :q + 1]|`` and
    ``influence[q, :q + 1]`` over the keys, ties by their mean rank. Recent tokens matter more, so that a head which
    knows lags alone scores too. The null keeps all that position and lag explain: the same score with the influence of
    another sequence at the same positions. A score above its interval says that the mixing follows what the tokens say.

    Sequences are exchanged by uniform permutations, the identity among them: they are a group, which makes the p-value
    exact, as derangements do not (Hemerik and Goeman, Test 27 (2018)); it is one-sided and counts the score itself
    (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010)). It is of one head: nothing is corrected for many.

    Args:
        mixing: ``(batch, layers, heads, queries, keys)``, as ``token_mixing`` gives it.
        influence: ``(batch, queries, keys)``, as ``token_influence`` gives it.
        least_keys: queries with fewer keys are left out.
        least_influence: nats; influences under it are taken to be equal, because no learner's loss would show them.
        permutations: drawn for the null.
        seed: of the permutations.

    Returns:
        a row for each ``layer`` (block, from 1) and ``head`` (from 0): ``score``, its ``standard_error`` over
        sequences, ``null_low`` and ``null_high``
        (the null's 2.5% and 97.5% quantiles), ``p_value``, ``lag_score`` (that of the mean influence by lag in the
        place of the mixing, the same for every head), ``pairs`` (of sequence and query that were scored) and
        ``constant`` (those left out because all keys' influences are equal). Constant mixing has correlation 0.

    Raises:
        ValueError: shapes that do not fit, a number that is not finite, fewer than 2 sequences, or nothing to score.
    """
    mixing, influence = _checked(mixing, influence)
    least_keys, permutations = as_integer("least_keys", least_keys, 2), as_integer("permutations", permutations, 1)
    if not (isinstance(least_influence, float | int) and 0 <= least_influence < np.inf):
        raise ValueError(f"least_influence: saw {least_influence!r}; a number of nats from 0 is needed")
    rng = np.random.default_rng(as_integer("seed", seed, 0))
    orders = np.array([rng.permutation(len(mixing)) for _ in range(permutations)])
    return _scores(mixing, np.where(influence < least_influence, 0.0, influence), least_keys, orders)


def _scores(mixing: np.ndarray, influence: np.ndarray, least_keys: int, orders: np.ndarray) -> pd.DataFrame:
    """What ``head_agreement`` returns, given the ``orders (permutations, batch)`` of the null."""
    count, layers, heads, queries, _ = mixing.shape
    target = _rank_vectors(influence, least_keys)  # (batch, scored queries, keys)
    scored = (target != 0).any(-1).sum(1)  # of each sequence
    if scored.sum() == 0:
        raise ValueError(
            f"saw {queries} queries, none of which has at least {least_keys} keys (least_keys) of unequal influence"
        )
    flat = target.reshape(count, -1).T
    profile = np.broadcast_to(_spread(_lag_means(influence).mean(0)), (1, queries, queries))
    lag_score = float((_rank_vectors(profile, least_keys).reshape(1, -1) @ flat).sum() / scored.sum())
    rows = []
    for layer, head in np.ndindex(layers, heads):
        cross = _rank_vectors(np.abs(mixing[:, layer, head]), least_keys).reshape(count, -1) @ flat  # (batch, batch)
        tested = _against_null(cross, orders, scored)
        rows.append({"layer": layer + 1, "head": head, **tested, "lag_score": lag_score, "pairs": int(scored.sum())})
    left_out = count * (queries - least_keys + 1) - int(scored.sum())
    return pd.DataFrame(rows).assign(constant=left_out)


def _against_null(cross: np.ndarray, orders: np.ndarray, scored: np.ndarray) -> dict[str, float]:
    """Score and null from ``cross (batch, batch)``, the summed correlations of each mixing with each influence."""
    pairs, own = scored.sum(), np.diag(cross)
    score = own.sum() / pairs
    null = cross[np.arange(len(cross)), orders].sum(axis=1) / pairs
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "score": float(score),
        "standard_error": float(ratio_error(own, scored, score)),  # sequences differ in how many queries are scored
        "null_low": float(low),
        "null_high": float(high),
        "p_value": float((1 + (null >= score - 1e-12).sum()) / (1 + len(null))),
    }


def mixing_by_lag(mixing: ArrayLike) -> pd.DataFrame:
    """Absolute mixing by lag q - s.

    Args:
        mixing: ``(batch, layers, heads, T, T)``, [query q, key s], as ``token_mixing`` gives it.

    Returns:
        a row for each layer, head and lag: ``layer`` (block, from 1), ``head`` (from 0) and the columns of
        ``influence_by_lag``, ``mean`` without a unit.

    Raises:
        ValueError: another shape, a number that is not finite, or fewer than 2 sequences.
    """
    mixing = np.abs(_matrices("mixing", mixing, HEADS))
    heads = list(np.ndindex(mixing.shape[1:3]))
    tables = [_by_lag(mixing[:, layer, head]).assign(layer=layer + 1, head=head) for layer, head in heads]
    return pd.concat(tables, ignore_index=True)


def influence_by_lag(influence: ArrayLike) -> pd.DataFrame:
    """Mean influence by lag q - s.

    Args:
        influence: ``(batch, T, T)``, [query q, key s], nats, as ``token_influence`` gives it.

    Returns:
        a row for each lag: ``lag``; ``mean``, nats, over a sequence's queries that have such a key and over sequences,
        and its ``error``, the standard error over sequences; ``share``, the mean divided by its sum over lags, and
        ``share_error``, that of the ratio, both nan where all means are 0.

    Raises:
        ValueError: another shape, a number that is not finite, or fewer than 2 sequences.
    """
    return _by_lag(_matrices("influence", influence, PAIRS))


def _by_lag(matrices: np.ndarray) -> pd.DataFrame:
    each = _lag_means(matrices)  # (batch, lags)
    mean, error = mean_and_error(each)
    total = each.sum(1)
    among = total.mean() or np.nan
    share = mean / among
    share_error = mean_and_error(each - share * total[:, None])[1] / among
    columns = {"mean": mean, "error": error, "share": share, "share_error": share_error}
    return pd.DataFrame({"lag": np.arange(len(mean)), **columns})


def _lag_means(matrices: np.ndarray) -> np.ndarray:
    """``(batch, lags)`` of ``(batch, queries, keys)``: the mean of each diagonal."""
    lags = range(matrices.shape[-1])
    return np.stack([np.diagonal(matrices, -lag, 1, 2).mean(-1, dtype=np.float64) for lag in lags], axis=1)


def _spread(by_lag: np.ndarray) -> np.ndarray:
    """The matrix ``(queries, keys)`` whose entry depends on the lag alone; later keys have 0."""
    lag = np.arange(len(by_lag))[:, None] - np.arange(len(by_lag))
    return np.where(lag >= 0, by_lag[np.maximum(lag, 0)], 0.0)


def _rank_vectors(values: np.ndarray, least_keys: int) -> np.ndarray:
    """``(batch, scored queries, keys)``: ranks among the keys seen, centred, of length 1; 0 where all are equal.

    The product of two such vectors is Spearman's correlation.
    """
    count, queries, _ = values.shape
    found = np.zeros((count, max(0, queries - least_keys + 1), queries))
    for place, query in enumerate(range(least_keys - 1, queries)):
        ranks = pd.DataFrame(values[:, query, : query + 1]).rank(axis=1).to_numpy()
        centred = ranks - (query + 2) / 2
        length = np.sqrt((centred**2).sum(1, keepdims=True))
        found[:, place, : query + 1] = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return found


def _checked(mixing: ArrayLike, influence: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    mixing, influence = reals(mixing, "mixing"), reals(influence, "influence")
    if mixing.ndim != 5 or influence.shape != (len(mixing), *mixing.shape[3:]) or mixing.shape[3] != mixing.shape[4]:
        raise ValueError(
            f"saw mixing {mixing.shape} and influence {influence.shape}; (batch, layers, heads, T, T) and "
            "(batch, T, T) are needed"
        )
    return _matrices("mixing", mixing, HEADS), _matrices("influence", influence, PAIRS)


def _matrices(name: str, values: ArrayLike, axes: tuple[str, ...]) -> np.ndarray:
    """A square matrix for each sequence, and head, or a ``ValueError``."""
    values = reals(values, name)
    if values.ndim != len(axes) or values.shape[-1] != values.shape[-2]:
        saw = f"saw shape {values.shape} of type {values.dtype}"
        raise ValueError(f"{name}: {saw}; real numbers ({', '.join(axes)}) are needed")
    if len(values) < 2 or 0 in values.shape:
        raise ValueError(f"{name}: saw shape {values.shape}; at least 2 sequences of 1 query are needed")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: saw a number that is not finite; a process's own sequences give none")
    return values
