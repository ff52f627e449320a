"""Learners beside the oracle on the same held-out tokens, cut by what only the truth knows: position, state, switch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from n2n.analysis.batched import check_vocabulary, run_in_batches
from n2n.analysis.evaluation import baseline_tokens
from n2n.difficulty.markov import markov_nll
from n2n.difficulty.ngrams import fit_ngram
from n2n.models.lm import LanguageModel
from n2n.oracle.filtering import filter
from n2n.process.process import Process, Sample
from n2n.utils.progress import track
from n2n.utils.statistics import ratio_error, student_quantile
from n2n.utils.strict import as_integer, unknown

ORACLE, NGRAM, EXACT = "oracle", "n-gram", "exact"  # whom no model may be called
FEWEST = 10  # sequences that an interval is taken over


@dataclass(frozen=True)
class Comparison:
    """Models and the oracle on the first held-out sequences of the ``test`` split.

    Args:
        process: the truth.
        models: by the name they are shown by.
        sequences: how many, at least 2.
        length: tokens in each, at least 2.

    Raises:
        ValueError: no model, one of another vocabulary or called "oracle", or a number out of range.
    """

    process: Process
    models: Mapping[str, LanguageModel]
    sequences: int
    length: int

    def __post_init__(self) -> None:
        as_integer("sequences", self.sequences, 2)
        as_integer("length", self.length, 2)
        if not self.models or {ORACLE, NGRAM, EXACT} & set(self.models):
            raise ValueError(
                f"models: saw {list(self.models)}; one is needed, and none called {ORACLE}, {NGRAM}, {EXACT}"
            )
        for model in self.models.values():
            check_vocabulary(model, self.process)

    def of(self, models: Mapping[str, LanguageModel]) -> Comparison:
        """Other models on the same sequences; what the oracle says of them is not computed again."""
        other = replace(self, models=models)
        vars(other).update(sample=self.sample, tokens=self.tokens, oracle=self.oracle)
        return other

    @cached_property
    def sample(self) -> Sample:
        """``sample.tokens (sequences, length)`` and ``sample.latents``."""
        return self.process.sample(self.sequences, length=self.length, split="test")

    @cached_property
    def tokens(self) -> np.ndarray:
        """``(sequences, length)``, int64."""
        return self.sample.tokens.astype(np.int64)

    @cached_property
    def log_probabilities(self) -> dict[str, np.ndarray]:
        """log P(x_t = v | x_<t) of every model and of the oracle, ``(sequences, length - 1, V)``, nats."""
        return {**{name: _log_laws(model, self.tokens) for name, model in self.models.items()}, ORACLE: self.oracle}

    @cached_property
    def oracle(self) -> np.ndarray:
        """log P(x_t = v | x_<t) of the oracle, ``(sequences, length - 1, V)``, nats."""
        return filter(self.process, self.tokens, predictive=True).predictive.log().numpy()

    @cached_property
    def nll(self) -> dict[str, np.ndarray]:
        """-log P(x_t | x_<t) of every model and of the oracle, ``(sequences, length - 1)``, nats."""
        targets = self.tokens[:, 1:, None]
        return {name: -np.take_along_axis(law, targets, 2)[..., 0] for name, law in self.log_probabilities.items()}

    @cached_property
    def excess(self) -> dict[str, np.ndarray]:
        """Each model's loss beyond the oracle's on the same token, ``(sequences, length - 1)``, nats."""
        return {name: self.nll[name] - self.nll[ORACLE] for name in self.models}


def summary(found: Comparison) -> pd.DataFrame:
    """A row for each ``model``, losses in nats per token.

    Columns: ``parameters``; ``cross_entropy`` and ``oracle_nll``, means over all ``tokens``; ``excess_loss``, their
    difference, with the ends of its 95% interval over sequences, ``low`` and ``high``.
    """
    rows = [
        {
            "model": name,
            "parameters": found.models[name].num_parameters,
            "cross_entropy": found.nll[name].mean(),
            "oracle_nll": found.nll[ORACLE].mean(),
            **_mean_of(excess),
        }
        for name, excess in found.excess.items()
    ]
    return pd.DataFrame(rows)


def by_position(found: Comparison) -> pd.DataFrame:
    """Excess loss at each position t = 1 .. T - 1 of the predicted token: a row for each model and ``position``.

    Columns: ``excess_loss``, nats per token, with the ends ``low`` and ``high`` of a 95% interval over sequences, and
    ``tokens``, how many were averaged.
    """
    where = np.arange(1, found.length)[None].repeat(found.sequences, 0)
    return _by(found, "position", where)


def by_state(found: Comparison, latent: str) -> pd.DataFrame:
    """Excess loss by the true state that a latent is in when the token is emitted: a row for each model and ``state``.

    Tokens are picked here by what nobody could know, so that the expectation may be negative. The latent of a classic
    process counts as the process's own state. Columns as of ``by_position``.

    Raises:
        ValueError: an unknown latent.
    """
    return _by(found, "state", _path(found, latent)[:, 1:])


def after_switch(found: Comparison, latent: str, most: int = 16) -> pd.DataFrame:
    """Excess loss by the tokens since a latent last changed: 0 is the first one that the new state emits.

    Tokens before a sequence's first change, and those more than ``most`` after the last one, have no part in it. As in
    ``by_state``, the expectation may be negative. A row for each model and ``since``; columns as of ``by_position``.

    Raises:
        ValueError: an unknown latent, or one that never changes in these sequences.
    """
    path = _path(found, latent)
    changed = path[:, 1:] != path[:, :-1]
    if not changed.any():
        raise ValueError(f"latent: {latent} never changes in these {found.sequences} sequences")
    at = np.arange(found.length - 1)
    last = np.maximum.accumulate(np.where(changed, at, -1), axis=1)
    since = np.where((last >= 0) & (at - last <= most), at - last, -1)
    return _by(found, "since", since)


def against_ngrams(found: Comparison, orders: Sequence[int], train_sequences: int) -> pd.DataFrame:
    """What n-grams lose beyond the oracle, by order, and the models beside them.

    A fitted n-gram is not the best that its window allows: long contexts are seen rarely. Where sequences begin in the
    stationary law, the best predictor that knows the kernels and sees as many tokens is there too.

    Args:
        found: the models and the oracle.
        orders: of the n-grams, from 1; one of order n sees the last n - 1 tokens.
        train_sequences: they are fitted on the first so many training sequences, 2^21 tokens at most.

    Returns:
        rows ``predictor`` ("n-gram", "exact", or a model's name), ``order`` (of a model none), ``excess_loss``,
        ``low``, ``high`` (95%), ``tokens``, ``fitted_on`` (training sequences, of n-grams).

    Raises:
        ValueError: an order that is not a whole number from 1 to ``length``.
    """
    fitted_on = baseline_tokens(found.process, train_sequences, found.length)
    rows = []
    for order in track(orders, "n-gram"):
        nll = fit_ngram(fitted_on, found.process.graph.vocab_size, order).nll(found.tokens)
        told = {"order": order, "fitted_on": len(fitted_on)}
        rows.append({"predictor": NGRAM, **told, **_mean_of(nll - found.nll[ORACLE])})
    for order in orders if found.process.graph.initial == "stationary" else ():
        nll = markov_nll(found.process, found.tokens, order - 1)
        rows.append({"predictor": EXACT, "order": order, **_mean_of(nll - found.nll[ORACLE])})
    rows += [{"predictor": name, "order": None, **_mean_of(excess)} for name, excess in found.excess.items()]
    return pd.DataFrame(rows).astype({"order": "Int64", "fitted_on": "Int64"})


def reliability(found: Comparison, bins: int = 12, least: float = 1e-3) -> pd.DataFrame:
    """How often what was given a probability came true: of every model and the oracle, over all symbols and tokens.

    Bins are equal on a logarithmic scale from ``least`` to 1; smaller probabilities share one below it.

    Returns:
        rows ``model``, ``bin``, ``predicted`` (mean), ``observed`` (frequency), ``low`` and ``high`` (95%, over
        sequences; where none came, 0 and 3 divided by the predictions), ``predictions`` (how many).
    """
    edges = np.concatenate([[0.0], np.geomspace(least, 1.0, bins + 1)])
    came = np.eye(found.process.graph.vocab_size, dtype=bool)[found.tokens[:, 1:]]
    rows = []
    for name, log_law in found.log_probabilities.items():
        law = np.exp(log_law)
        place = np.clip(np.searchsorted(edges, law, side="left") - 1, 0, bins)
        for k in np.unique(place):
            among = place == k
            observed = _mean_of(came.reshape(found.sequences, -1), among.reshape(found.sequences, -1), "observed")
            if not observed["observed"]:  # the "rule of three", as if predictions were independent
                observed |= {"low": 0.0, "high": 3 / observed["tokens"]}
            rows.append({"model": name, "bin": int(k), "predicted": law[among].mean(), **observed})
    return pd.DataFrame(rows).rename(columns={"tokens": "predictions"})


def calibration_error(table: pd.DataFrame) -> pd.Series:
    """Expected calibration error by model: the mean of |predicted - observed| over predictions, of ``reliability``."""
    gap = (table["predicted"] - table["observed"]).abs() * table["predictions"]
    return (
        gap.groupby(table["model"], sort=False).sum() / table.groupby("model", sort=False)["predictions"].sum()
    ).rename("error")


def _path(found: Comparison, latent: str) -> np.ndarray:
    paths = found.sample.latents
    if latent not in paths:
        raise ValueError(unknown("latent", latent, paths))
    return found.process.own_states[latent][paths[latent]]


def _by(found: Comparison, what: str, where: np.ndarray) -> pd.DataFrame:
    """Excess loss among the tokens of each value of ``where (sequences, length - 1)``; -1 has no row."""
    rows = []
    for name, excess in found.excess.items():
        for value in np.unique(where[where >= 0]):
            rows.append({"model": name, what: int(value), **_mean_of(excess, where == value)})
    return pd.DataFrame(rows)


def _mean_of(values: np.ndarray, among: np.ndarray | None = None, name: str = "excess_loss") -> dict[str, float]:
    """Mean over the tokens that count (None: all), ``(sequences, ..)`` both, with a 95% interval of a ratio of sums.

    Sequences are independent and tokens are not, so the interval is over sequences that hold such tokens; it is nan
    where these are fewer than 10. Its quantiles are Student's t.
    """
    among = np.ones_like(values, dtype=bool) if among is None else among
    counts = among.sum(axis=1).astype(float)
    sums = np.where(among, values, 0.0).sum(axis=1)
    held = counts > 0
    mean, half = sums.sum() / counts.sum(), np.nan
    if (many := np.count_nonzero(held)) >= FEWEST:
        half = student_quantile(many - 1) * ratio_error(sums[held], counts[held], mean)
    return {name: float(mean), "low": float(mean - half), "high": float(mean + half), "tokens": int(counts.sum())}


def _log_laws(model: LanguageModel, tokens: np.ndarray) -> np.ndarray:
    """``(sequences, T - 1, V)``, float64."""
    return run_in_batches(model, tokens, lambda part: model(part[:, :-1]).double().log_softmax(-1))
