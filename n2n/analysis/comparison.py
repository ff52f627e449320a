"""Excess loss of models on the same held-out tokens, by position, latent state and time since a switch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from n2n.analysis.batched import check_vocabulary, run_in_batches
from n2n.analysis.evaluation import excess_over
from n2n.analysis.held_out import HeldOut, baseline_tokens
from n2n.difficulty.context_ngrams import own_ngram_nll
from n2n.difficulty.markov import markov_nll
from n2n.difficulty.ngrams import fit_ngram
from n2n.models.lm import LanguageModel
from n2n.utils.progress import track
from n2n.utils.statistics import ratio_error, t_interval
from n2n.utils.strict import unknown_name_message

ORACLE, IN_CONTEXT, NGRAM, EXACT = "oracle", "in-context oracle", "n-gram", "exact"
RESERVED = (ORACLE, IN_CONTEXT, NGRAM, EXACT)  # no names of models
MIN_SEQUENCES = 10  # for an interval


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models and the oracle on the same held-out sequences.

    If kernels are redrawn for every sequence, the oracle knows them. The oracle that must learn them from the sequence
    is compared with it like a model, by the name "in-context oracle".

    Args:
        data: the sequences. Comparisons that share them compute the oracle's predictions once.
        models: models by name.

    Raises:
        ValueError: no model, a reserved name, or a model of another vocabulary.
    """

    data: HeldOut
    models: Mapping[str, LanguageModel]

    def __post_init__(self) -> None:
        if not self.models or set(RESERVED) & set(self.models):
            raise ValueError(
                f"models: saw {list(self.models)}; at least one is needed, and {', '.join(RESERVED)} are reserved names"
            )
        for model in self.models.values():
            check_vocabulary(model, self.data.process)

    @cached_property
    def log_probabilities(self) -> dict[str, np.ndarray]:
        """log P(x_t = v | x_<t) of every model and of the oracle, ``(sequences, length - 1, V)``, nats."""
        of_models = {name: _log_probabilities(model, self.data.tokens) for name, model in self.models.items()}
        return {**of_models, ORACLE: self.data.oracle_log_probabilities}

    @cached_property
    def nll(self) -> dict[str, np.ndarray]:
        """-log P(x_t | x_<t) of every model and of the oracles, ``(sequences, length - 1)``, nats."""
        targets = self.data.tokens[:, 1:, None]
        nll = {name: -np.take_along_axis(law, targets, 2)[..., 0] for name, law in self.log_probabilities.items()}
        return nll if self.data.in_context is None else {**nll, IN_CONTEXT: self.data.in_context.nll}

    @cached_property
    def excess(self) -> dict[str, np.ndarray]:
        """Each model's loss minus the oracle's on the same token, ``(sequences, length - 1)``, nats.

        It has that of the in-context oracle too, if there is one.
        """
        return {name: nll - self.nll[ORACLE] for name, nll in self.nll.items() if name != ORACLE}


def summary(comparison: Comparison) -> pd.DataFrame:
    """Mean losses of each model, nats per token.

    Returns:
        a row for each ``model``: ``parameters``; ``cross_entropy`` and ``oracle_nll``, means over all ``tokens``; their
        difference ``excess_loss``, with the ends ``low`` and ``high`` of its 95% interval over sequences. If there is
        an in-context oracle, then ``in_context_nll``, its mean loss; ``in_context_excess_loss``, the excess over it;
        and ``in_context_low`` to ``in_context_high``, an interval that holds the oracle's Monte-Carlo error too.
    """
    rows = [
        {
            "model": name,
            "parameters": comparison.models[name].num_parameters,
            "cross_entropy": comparison.nll[name].mean(),
            "oracle_nll": comparison.nll[ORACLE].mean(),
            **_mean_of(comparison.excess[name]),
            **_over_in_context(comparison, name),
        }
        for name in comparison.models
    ]
    return pd.DataFrame(rows)


def _over_in_context(comparison: Comparison, model: str) -> dict[str, float]:
    oracle = comparison.data.in_context
    if oracle is None:
        return {}
    fields = excess_over(oracle, comparison.nll[model], "in_context")
    error = fields.pop("in_context_excess_standard_error")
    low, high = t_interval(fields["in_context_excess_loss"], error, comparison.data.sequences)
    return {"in_context_nll": oracle.nll.mean(), **fields, "in_context_low": low, "in_context_high": high}


def by_position(comparison: Comparison) -> pd.DataFrame:
    """Excess loss at each position t = 1 .. T - 1 of the predicted token.

    Returns:
        a row for each ``model`` and ``position``: ``excess_loss``, nats per token, with the ends ``low`` and ``high``
        of its 95% interval over sequences, and ``tokens``, the number of tokens averaged.
    """
    positions = np.arange(1, comparison.data.length)[None].repeat(comparison.data.sequences, 0)
    return _by(comparison, "position", positions)


def by_state(comparison: Comparison, latent: str) -> pd.DataFrame:
    """Excess loss by a latent's true state at the time when the token is emitted.

    These means are conditioned on a hidden state, so their expectations can be negative. For a classic process the
    states are its own.

    Returns:
        a row for each ``model`` and ``state``, with the columns of ``by_position``.

    Raises:
        ValueError: an unknown latent.
    """
    return _by(comparison, "state", _path(comparison, latent)[:, 1:])


def after_switch(comparison: Comparison, latent: str, max_since: int = 16) -> pd.DataFrame:
    """Excess loss by the number of tokens since a latent last changed; 0 is the first token of the new state.

    Tokens before a sequence's first change, and those more than ``max_since`` after the last one, are left out. As in
    ``by_state``, expectations can be negative.

    Returns:
        a row for each ``model`` and ``since``, with the columns of ``by_position``.

    Raises:
        ValueError: an unknown latent, or one that never changes in these sequences.
    """
    path = _path(comparison, latent)
    changed = path[:, 1:] != path[:, :-1]
    if not changed.any():
        raise ValueError(f"latent: {latent} never changes in these {comparison.data.sequences} sequences")
    at = np.arange(comparison.data.length - 1)
    last = np.maximum.accumulate(np.where(changed, at, -1), axis=1)
    since = np.where((last >= 0) & (at - last <= max_since), at - last, -1)
    return _by(comparison, "since", since)


def against_ngrams(comparison: Comparison, orders: Sequence[int], train_sequences: int) -> pd.DataFrame:
    """Excess loss of n-grams, by order, and of the models.

    If kernels are redrawn for every sequence, n-grams count the tokens of the sequence itself
    (``n2n.context_ngram_nll``). Otherwise they are fitted on training sequences.

    A fitted n-gram is worse than the best predictor with its window, because long contexts are rare. If sequences start
    in the stationary distribution, the table also has the best predictor that knows the kernels and sees this window.

    Args:
        comparison: the models and the oracle.
        orders: orders of the n-grams, from 1. An n-gram of order n sees the last n - 1 tokens.
        train_sequences: number of training sequences that n-grams are fitted on, from the first one (at most 2^21
            tokens).

    Returns:
        rows ``predictor`` ("n-gram", "exact", or a model's name), ``order`` (missing for models), ``excess_loss``,
        ``low``, ``high`` (95%), ``tokens``, ``fitted_on`` (number of training sequences, for fitted n-grams).

    Raises:
        ValueError: an order that is not a whole number from 1 to ``length``.
    """
    if comparison.data.process.graph.context_nodes:
        rows = _own_ngrams(comparison, orders)
    else:
        rows = _fitted_ngrams(comparison, orders, train_sequences)
    rows += [{"predictor": name, "order": None, **_mean_of(excess)} for name, excess in comparison.excess.items()]
    return pd.DataFrame(rows).astype({"order": "Int64", "fitted_on": "Int64"})


def _fitted_ngrams(comparison: Comparison, orders: Sequence[int], train_sequences: int) -> list[dict[str, Any]]:
    data, oracle_nll, rows = comparison.data, comparison.nll[ORACLE], []
    fitted_on = baseline_tokens(data.process, train_sequences, data.length)
    for order in track(orders, "n-gram"):
        nll = fit_ngram(fitted_on, data.process.graph.vocab_size, order).nll(data.tokens)
        rows.append({"predictor": NGRAM, "order": order, "fitted_on": len(fitted_on), **_mean_of(nll - oracle_nll)})
    for order in orders if data.process.graph.initial == "stationary" else ():
        nll = markov_nll(data.process, data.tokens, order - 1)
        rows.append({"predictor": EXACT, "order": order, **_mean_of(nll - oracle_nll)})
    return rows


def _own_ngrams(comparison: Comparison, orders: Sequence[int]) -> list[dict[str, Any]]:
    data, oracle_nll = comparison.data, comparison.nll[ORACLE]
    losses = {order: own_ngram_nll(data.process, data.tokens, order) for order in track(orders, "n-gram")}
    return [
        {"predictor": NGRAM, "order": order, "fitted_on": None, **_mean_of(nll - oracle_nll)}
        for order, nll in losses.items()
    ]


def reliability(comparison: Comparison, bins: int = 12, min_probability: float = 1e-3) -> pd.DataFrame:
    """How often symbols with predicted probability p occur, for every model and the oracle, over symbols and tokens.

    Args:
        comparison: the models and the oracle.
        bins: number of bins of equal width on a logarithmic scale from ``min_probability`` to 1. Smaller probabilities
            share one more bin.
        min_probability: lower end of the smallest of these bins.

    Returns:
        rows ``model``, ``bin``, ``predicted`` (mean), ``observed`` (frequency), ``low`` and ``high`` (95%, over
        sequences; if no symbol of the bin occurred, 0 and 3 / ``predictions``), ``predictions`` (their number).
    """
    edges = np.concatenate([[0.0], np.geomspace(min_probability, 1.0, bins + 1)])
    data = comparison.data
    occurred = np.eye(data.process.graph.vocab_size, dtype=bool)[data.tokens[:, 1:]].reshape(data.sequences, -1)
    rows = []
    for name, log_probabilities in comparison.log_probabilities.items():
        probabilities = np.exp(log_probabilities)
        place = np.clip(np.searchsorted(edges, probabilities, side="left") - 1, 0, bins)
        for k in np.unique(place):
            among = place == k
            observed = _mean_of(occurred, among.reshape(data.sequences, -1), "observed")
            if not observed["observed"]:  # the "rule of three", which takes predictions for independent
                observed |= {"low": 0.0, "high": 3 / observed["tokens"]}
            rows.append({"model": name, "bin": int(k), "predicted": probabilities[among].mean(), **observed})
    return pd.DataFrame(rows).rename(columns={"tokens": "predictions"})


def calibration_error(table: pd.DataFrame) -> pd.Series:
    """Expected calibration error of each model: the mean of |predicted - observed| over predictions.

    Args:
        table: from ``reliability``.
    """
    gap = (table["predicted"] - table["observed"]).abs() * table["predictions"]
    return (
        gap.groupby(table["model"], sort=False).sum() / table.groupby("model", sort=False)["predictions"].sum()
    ).rename("error")


def _path(comparison: Comparison, latent: str) -> np.ndarray:
    if latent not in comparison.data.states:
        raise ValueError(unknown_name_message("latent", latent, comparison.data.states))
    return comparison.data.states[latent]


def _by(comparison: Comparison, column: str, groups: np.ndarray) -> pd.DataFrame:
    """Mean excess loss of each group in ``groups (sequences, length - 1)``; tokens of group -1 are left out."""
    rows = []
    for name, excess in comparison.excess.items():
        for group in np.unique(groups[groups >= 0]):
            rows.append({"model": name, column: int(group), **_mean_of(excess, groups == group)})
    return pd.DataFrame(rows)


def _mean_of(values: np.ndarray, among: np.ndarray | None = None, column: str = "excess_loss") -> dict[str, float]:
    """Mean over the tokens where ``among`` is true (None: all) and its 95% interval; both are ``(sequences, ..)``.

    Sequences are independent and tokens are not, so the interval is the ``t_interval`` of a ratio of sums over the
    sequences that have such tokens. It is nan if they are fewer than 10.
    """
    among = np.ones_like(values, dtype=bool) if among is None else among
    counts = among.sum(axis=1).astype(float)
    sums = np.where(among, values, 0.0).sum(axis=1)
    mean, low, high = sums.sum() / counts.sum(), np.nan, np.nan
    has_tokens = counts > 0
    if np.count_nonzero(has_tokens) >= MIN_SEQUENCES:
        error = ratio_error(sums[has_tokens], counts[has_tokens], mean)
        low, high = t_interval(mean, error, np.count_nonzero(has_tokens))
    return {column: float(mean), "low": float(low), "high": float(high), "tokens": int(counts.sum())}


def _log_probabilities(model: LanguageModel, tokens: np.ndarray) -> np.ndarray:
    """``(sequences, T - 1, V)``, float64."""
    return run_in_batches(model, tokens, lambda batch: model(batch[:, :-1]).double().log_softmax(-1))
