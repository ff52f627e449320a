"""N-gram predictors that count within one sequence only: a learner that learns in context must beat them."""

from __future__ import annotations

import numpy as np

from n2n.difficulty.ngrams import check_tokens
from n2n.process.process import Process
from n2n.utils.strict import as_integer, as_positive


def context_ngram_nll(tokens: np.ndarray, vocab_size: int, order: int, alpha: float = 1.0) -> np.ndarray:
    """``-log P(x_t | x_<t)``, ``(batch, T - 1)`` nats, of an n-gram that counts earlier tokens of the same sequence.

    The n-gram of order n sees the last n - 1 tokens, the context h. Its prediction is the posterior mean under a
    symmetric Dirichlet prior on the distribution in each context:

        P(x_t = v | x_<t) = (c(h v) + alpha) / (c(h) + V alpha)

    The counts are over all earlier tokens of the sequence, x_0 included. At t < n - 1 the context is the t tokens so
    far, a context of its own. It cannot have occurred before, so the prediction is uniform, as in every context that is
    new in its sequence. So x_0 is counted as a target only by the unigram. If x_0 is fixed (``initial="zero"``), drop
    it first: ``context_ngram_nll(tokens[:, 1:], ..)`` with order 1 has the losses from t = 2, and that at t = 1 is
    log V.

    If an observed Markov chain of order n - 1 has kernels drawn from Dirichlet(alpha) for each sequence, this is the
    in-context oracle (``n2n.in_context_nll``).

    Args:
        tokens: ``(batch, T)`` integers, T at least 2.
        vocab_size: number of symbols, V.
        order: n, from 1 (unigram) to T. Memory does not depend on V^n.
        alpha: pseudo-counts of each symbol.

    Raises:
        ValueError: if the tokens have a wrong shape or type or lie outside the vocabulary, the order is not a whole
            number from 1 to T, or ``alpha`` is not positive and finite.
    """
    vocab_size = as_integer("vocab_size", vocab_size, 1)
    tokens = check_tokens(tokens, vocab_size)
    order, alpha = as_integer("order", order, 1, tokens.shape[1]), as_positive("alpha", alpha, "pseudo-counts")
    contexts = _contexts(tokens, vocab_size, order)
    totals = _earlier_occurrences(contexts)
    counts = _earlier_occurrences(contexts * vocab_size + tokens)
    return (np.log(totals + vocab_size * alpha) - np.log(counts + alpha))[:, 1:]


def own_ngram_nll(process: Process, tokens: np.ndarray, order: int, alpha: float = 1.0) -> np.ndarray:
    """``context_ngram_nll`` of sequences of a process, whose unigram does not count x_0 if that is always 0."""
    vocab_size = process.graph.vocab_size
    if order > 1 or process.graph.initial != "zero" or tokens.shape[1] == 2:
        return context_ngram_nll(tokens, vocab_size, order, alpha)
    later = context_ngram_nll(tokens[:, 1:], vocab_size, 1, alpha)
    return np.pad(later, ((0, 0), (1, 0)), constant_values=np.log(vocab_size))


def _contexts(tokens: np.ndarray, vocab_size: int, order: int) -> np.ndarray:
    """Number of the context of each token, ``(batch, T)``; different sequences have different contexts.

    A context that reaches beyond the start contains the symbol V there, so that it differs from all full ones.
    """
    numbers = np.arange(len(tokens))[:, None].repeat(tokens.shape[1], 1)
    padded = np.pad(tokens, ((0, 0), (order - 1, 0)), constant_values=vocab_size)
    for lag in range(1, order):
        last = padded[:, order - 1 - lag : padded.shape[1] - lag]  # x_{t - lag}
        numbers = np.unique(numbers * (vocab_size + 1) + last, return_inverse=True)[1].reshape(numbers.shape)
    return numbers


def _earlier_occurrences(keys: np.ndarray) -> np.ndarray:
    """How often each of ``keys (batch, T)`` occurred before in its row; rows share no keys."""
    flat = keys.ravel()
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # where the occurrences of each key begin
    earlier = np.empty_like(flat)
    earlier[order] = np.arange(len(flat)) - np.repeat(first, np.diff(np.r_[first, len(flat)]))
    return earlier.reshape(keys.shape)
