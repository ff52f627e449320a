"""Predictors that know nothing of the latent graph: what a learner must beat before it has learned any structure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from n2n.utils.arrays import integers
from n2n.utils.strict import as_integer

ITERATIONS = 1000  # of the fixed point for the strengths, at most
TOLERANCE = 1e-4  # largest relative change of a strength at which it stops; the loss is flat there
JUDGED = 2**15  # distinct n-grams of an order that its strengths are fitted on, at most
STRONGEST = 1e9  # pseudo-counts; counts themselves are then of no account
_UNSEEN = np.iinfo(np.int64).max  # ends every list of keys, so that a search for a stranger ends on a count of 0


@dataclass(frozen=True, eq=False)
class Counts:
    """The distinct n-grams of one order; a context of n - 1 tokens is named by its place among those of order n - 1.

    Attributes:
        keys: ``(n-grams + 1,)``, context * V + token, ascending; the last is no n-gram.
        counts: ``(n-grams + 1,)``, how often each was seen; the last is 0.
        totals: ``(contexts + 1,)``, the sum over each context's n-grams; the last, for an unseen context, is 0.
        strengths: ``(n,)``, pseudo-counts that each context is given by the uniform law and by orders 1 .. n - 1.
    """

    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    strengths: np.ndarray

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The place of each key, the last one for those unseen."""
        places = np.searchsorted(self.keys, keys)
        return np.where(self.keys[places] == keys, places, len(self.keys) - 1)


@dataclass(frozen=True, eq=False)
class NGram:
    """A predictor that sees the last n - 1 tokens, n its order: see ``fit_ngram``.

    Attributes:
        vocab_size: number of symbols, V.
        orders: the counts of orders 1 .. n.
    """

    vocab_size: int
    orders: tuple[Counts, ...]

    def nll(self, tokens: np.ndarray) -> np.ndarray:
        """``-log P(x_t | the n - 1 tokens before it)``, ``(batch, T - 1)`` nats, for t = 1 .. T - 1.

        At t < n - 1 the context is the t tokens at hand.

        Raises:
            ValueError: tokens that are not ``(batch, T)`` integers of the vocabulary, T at least 2.
        """
        tokens = _checked(tokens, self.vocab_size)
        return -np.log(self._probabilities(self._contexts(tokens), tokens[:, 1:])) + 0.0  # 0, not -0, if certain

    def predictive(self, tokens: np.ndarray) -> np.ndarray:
        """``P(x_t = v | the n - 1 tokens before it)``, ``(batch, T - 1, V)``; it refuses what ``nll`` refuses."""
        contexts = self._contexts(_checked(tokens, self.vocab_size))
        return self._probabilities([context[..., None] for context in contexts], np.arange(self.vocab_size))

    def _contexts(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The place of the context at t = 1 .. T - 1, ``(batch, T - 1)``, for each order."""
        contexts = [np.zeros_like(tokens[:, 1:]), tokens[:, :-1]][: len(self.orders)]
        for order in self.orders[1:-1]:
            ending_here = order.find(contexts[-1] * self.vocab_size + tokens[:, 1:])
            before_the_start = np.full_like(tokens[:, :1], len(order.counts) - 1)
            contexts.append(np.hstack([before_the_start, ending_here[:, :-1]]))
        return contexts

    def _probabilities(self, contexts: list[np.ndarray], targets: np.ndarray) -> np.ndarray:
        laws = [np.full(np.broadcast_shapes(contexts[0].shape, targets.shape), 1.0 / self.vocab_size)]
        for n, (order, context) in enumerate(zip(self.orders, contexts, strict=True), start=1):
            count = order.counts[order.find(context * self.vocab_size + targets)]
            law = _posterior(count, order.totals[context], order.strengths, laws)
            law[:, : max(n - 2, 0)] = laws[-1][:, : max(n - 2, 0)]  # no n - 1 tokens there to see
            laws.append(law)
        return laws[-1]


def fit_ngram(tokens: np.ndarray, vocab_size: int, order: int) -> NGram:
    """Count what follows what, and weigh the counts of every order down to the uniform law.

    A context's law is the posterior mean under a Dirichlet prior whose mean is a mixture of the laws of all shorter
    contexts and of the uniform law (MacKay and Peto, "A hierarchical Dirichlet language model", Natural Language
    Engineering 1 (1995), with one pseudo-count for each lower order instead of one in all):

        P_n(v | h) = (c(h v) + s_0 / V + sum over i of s_i P_i(v | last i - 1 tokens of h)) / (c(h) + s_0 + .. + s_n-1)

    The strengths s are shared by the contexts of an order. They maximise the probability of each token when it alone
    is left out of all counts, by the fixed point of Minka, "Estimating a Dirichlet distribution" (2000), so that an
    order that the data do not support falls back on those below it. Lower orders keep their full counts: the
    continuation counts of Kneser and Ney suit the vocabulary of a natural language, but their unigram is not a
    stationary source's, to which these laws converge.

    Args:
        tokens: ``(batch, T)`` integers, T at least 2; a sequence's first token is a context but never a target.
        vocab_size: number of symbols, V.
        order: n, from 1; the predictor sees n - 1 tokens. Memory grows with the distinct n-grams seen, not with V^n.

    Raises:
        ValueError: tokens of a wrong shape or type or outside the vocabulary, or an order that is not a whole number
            from 1 to T.
    """
    order, tokens = as_integer("order", order, 1), _checked(tokens, as_integer("vocab_size", vocab_size, 1))
    if order > tokens.shape[1]:
        raise ValueError(f"order: saw {order}; sequences of {tokens.shape[1]} tokens show no longer n-grams")
    return NGram(vocab_size, tuple(_fit(tokens, vocab_size, order)))


def _fit(tokens: np.ndarray, vocab_size: int, order: int) -> Iterator[Counts]:
    contexts = places = np.zeros_like(tokens[:, 1:])
    known, laws = 1, [np.array([1.0 / vocab_size])]  # laws: of each n-gram with itself left out once, by lower order
    for n in range(1, order + 1):
        keys = contexts * vocab_size + tokens[:, max(1, n - 1) :]
        keys, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        totals = np.bincount(keys // vocab_size, counts, known + 1)
        suffix = places[:, places.shape[1] - contexts.shape[1] :].ravel()[first]  # each n-gram less its first token
        laws = [law[suffix] for law in laws]
        others = totals[keys // vocab_size] - 1
        strengths = _strengths(counts, others, np.stack(laws))
        laws.append(_posterior(counts - 1, others, strengths, laws))
        yield Counts(np.append(keys, _UNSEEN), np.append(counts, 0), totals, strengths)
        places = inverse.reshape(contexts.shape)
        known, contexts = (vocab_size, tokens[:, :-1]) if n == 1 else (len(keys), places[:, :-1])


def _posterior(count: np.ndarray, total: np.ndarray, strengths: np.ndarray, laws: list[np.ndarray]) -> np.ndarray:
    prior = sum(strength * law for strength, law in zip(strengths, laws, strict=True))
    return (count + prior) / (total + strengths.sum())


def _strengths(counts: np.ndarray, others: np.ndarray, laws: np.ndarray) -> np.ndarray:
    """The strengths of the lower ``laws (n, n-grams)``, by a fixed point that climbs the leave-one-out likelihood.

    Each law is credited with one token at least, so that none loses all weight: where nothing unforeseen was ever
    seen, about one such token in all is still expected. Contexts seen once are passed over: with their one token left
    out they say nothing of the weight of counts.
    """
    judged = np.flatnonzero(others > 0)
    judged = judged[:: len(judged) // JUDGED + 1]
    counts, others, laws = counts[judged], others[judged], laws[:, judged]
    strengths = np.ones(len(laws))
    for _ in range(ITERATIONS if len(judged) else 0):
        explained = strengths * (laws @ (counts / (counts - 1 + strengths @ laws)))  # tokens, by each law
        before, strengths = strengths, np.maximum(explained, 1) / (counts / (others + strengths.sum())).sum()
        strengths = np.minimum(strengths, STRONGEST)  # where a lower order explains all, the likelihood has no top
        if (np.abs(strengths - before) <= TOLERANCE * strengths.max()).all():
            break
    return strengths


def _checked(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    tokens = integers(tokens)
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise ValueError(f"tokens: saw shape {tokens.shape}; (batch, T) with T of at least 2 is needed")
    _refuse_strangers(tokens, vocab_size)
    return tokens


def _refuse_strangers(tokens: np.ndarray, vocab_size: int) -> None:
    if tokens.size == 0:
        raise ValueError(f"tokens: saw shape {tokens.shape}; at least one is needed")
    for token in (tokens.min(), tokens.max()):
        if not 0 <= token < vocab_size:
            raise ValueError(f"tokens: saw {token}; the vocabulary is 0 to {vocab_size - 1}")
