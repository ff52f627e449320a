"""Predictors that know nothing of the latent graph: what a learner must beat before it has learned any structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from n2n.strict import unknown

SMOOTHING = 0.5  # added to each count: the estimator of Krichevsky and Trofimov, IEEE Trans. Inf. Theory 27 (1981)


@dataclass(frozen=True, eq=False)
class NGram:
    """A unigram (order 1) or bigram (order 2) predictor.

    Attributes:
        log_probability: ``(contexts, V)``; one context for a unigram, the previous token for a bigram.
    """

    log_probability: np.ndarray

    def nll(self, tokens: np.ndarray) -> np.ndarray:
        """``-log P(x_t | context)``, ``(batch, T - 1)`` nats, for t = 1 .. T - 1 of ``tokens (batch, T)``."""
        return -self.log_probability[_contexts(tokens, len(self.log_probability)), tokens[:, 1:]]


def fit_ngram(tokens: np.ndarray, vocab_size: int, order: int) -> NGram:
    """Count what follows what in ``tokens (batch, T)``; the fixed first token is a context but never a target.

    Raises:
        ValueError: an order other than 1 or 2.
    """
    if order not in (1, 2):
        raise ValueError(unknown("order", order, (1, 2)))
    contexts = vocab_size ** (order - 1)
    pairs = _contexts(tokens, contexts) * np.int64(vocab_size) + tokens[:, 1:]
    counts = np.bincount(pairs.ravel(), minlength=contexts * vocab_size).reshape(contexts, vocab_size) + SMOOTHING
    return NGram(np.log(counts / counts.sum(axis=1, keepdims=True)))


def _contexts(tokens: np.ndarray, contexts: int) -> np.ndarray:
    return tokens[:, :-1].astype(np.int64) * (contexts > 1)
