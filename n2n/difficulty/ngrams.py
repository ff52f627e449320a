"""N-gram predictors, which know nothing of the latent graph: a learner that has learned structure must beat them.

Language-model packages such as ``nltk.lm`` and KenLM smooth by Kneser-Ney or interpolation for natural vocabularies. No
maintained package fits the Dirichlet mixture below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from n2n.utils.arrays import integers
from n2n.utils.strict import as_integer

MAX_ITERATIONS = 1000  # of the fixed-point iteration for the strengths
TOLERANCE = 1e-4  # the iteration stops at this relative change of the strengths; the loss is flat there
MAX_FITTED = 2**15  # distinct n-grams that the strengths of an order are fitted on, at most
MAX_STRENGTH = 1e9  # pseudo-counts, at most; the counts are then negligible
_UNSEEN = np.iinfo(np.int64).max  # ends every list of keys, so that the search for an unseen n-gram finds a count of 0


@dataclass(frozen=True, eq=False)
class NGramCounts:
    """The distinct n-grams of one order.

    A context of n - 1 tokens is numbered by its position among the n-grams of order n - 1.

    Attributes:
        keys: ``(n-grams + 1,)``, context * V + token, ascending; the last entry is a sentinel.
        counts: ``(n-grams + 1,)``, number of occurrences of each n-gram; the last is 0.
        totals: ``(contexts + 1,)``, sum over each context's n-grams; the last, for an unseen context, is 0.
        strengths: ``(n,)``, pseudo-counts that each context receives from the uniform distribution and from orders
            1 .. n - 1.
    """

    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    strengths: np.ndarray

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Position of each key; the last position for unseen keys."""
        places = np.searchsorted(self.keys, keys)
        return np.where(self.keys[places] == keys, places, len(self.keys) - 1)


@dataclass(frozen=True, eq=False)
class NGram:
    """A predictor of order n, which sees the last n - 1 tokens; see ``fit_ngram``.

    Attributes:
        vocab_size: number of symbols, V.
        orders: the counts of orders 1 .. n.
    """

    vocab_size: int
    orders: tuple[NGramCounts, ...]

    def nll(self, tokens: np.ndarray) -> np.ndarray:
        """``-log P(x_t | the n - 1 tokens before it)``, ``(batch, T - 1)`` nats, for t = 1 .. T - 1.

        At t < n - 1 the context is the t tokens so far.

        Raises:
            ValueError: if the tokens are not ``(batch, T)`` integers of the vocabulary with T at least 2.
        """
        tokens = check_tokens(tokens, self.vocab_size)
        return -np.log(self._probabilities(self._contexts(tokens), tokens[:, 1:])) + 0.0  # 0, not -0, if certain

    def predictive(self, tokens: np.ndarray) -> np.ndarray:
        """``P(x_t = v | the n - 1 tokens before it)``, ``(batch, T - 1, V)``; raises as ``nll``."""
        contexts = self._contexts(check_tokens(tokens, self.vocab_size))
        return self._probabilities([context[..., None] for context in contexts], np.arange(self.vocab_size))

    def _contexts(self, tokens: np.ndarray) -> list[np.ndarray]:
        """Number of the context at t = 1 .. T - 1, ``(batch, T - 1)``, for each order."""
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
            law[:, : max(n - 2, 0)] = laws[-1][:, : max(n - 2, 0)]  # fewer than n - 1 tokens precede these
            laws.append(law)
        return laws[-1]


def fit_ngram(tokens: np.ndarray, vocab_size: int, order: int) -> NGram:
    """Count n-grams, and smooth the counts of each order towards all lower orders and the uniform distribution.

    The distribution in a context is the posterior mean under a Dirichlet prior. The prior's mean is a mixture of the
    distributions in all shorter contexts and the uniform distribution (MacKay and Peto, "A hierarchical Dirichlet
    language model", Natural Language Engineering 1 (1995), with one pseudo-count for each lower order instead of one in
    all):

        P_n(v | h) = (c(h v) + s_0 / V + sum over i of s_i P_i(v | last i - 1 tokens of h)) / (c(h) + s_0 + .. + s_n-1)

    The strengths s are shared by the contexts of an order. They maximise the leave-one-out likelihood, the probability
    of each token when only that token is removed from all counts, by the fixed-point iteration of Minka, "Estimating a
    Dirichlet distribution" (2000). An order that the data do not support thus falls back on lower orders. Lower orders
    keep their full counts: the continuation counts of Kneser and Ney suit the vocabulary of a natural language, but
    their unigram is not that of a stationary source, to which these distributions converge.

    Args:
        tokens: ``(batch, T)`` integers, T at least 2. The first token of a sequence is a context but not a target.
        vocab_size: number of symbols, V.
        order: n, at least 1; the predictor sees n - 1 tokens. Memory grows with the number of distinct n-grams in the
            tokens, not with V^n.

    Raises:
        ValueError: if the tokens have a wrong shape or type or lie outside the vocabulary, or the order is not a whole
            number from 1 to T.
    """
    order, tokens = as_integer("order", order, 1), check_tokens(tokens, as_integer("vocab_size", vocab_size, 1))
    if order > tokens.shape[1]:
        raise ValueError(f"order: saw {order}; sequences of {tokens.shape[1]} tokens show no longer n-grams")
    return NGram(vocab_size, tuple(_fit(tokens, vocab_size, order)))


def _fit(tokens: np.ndarray, vocab_size: int, order: int) -> Iterator[NGramCounts]:
    contexts = places = np.zeros_like(tokens[:, 1:])
    known, laws = 1, [np.array([1.0 / vocab_size])]  # laws: leave-one-out probabilities of each n-gram, by lower order
    for n in range(1, order + 1):
        keys = contexts * vocab_size + tokens[:, max(1, n - 1) :]
        keys, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        totals = np.bincount(keys // vocab_size, counts, known + 1)
        suffix = places[:, places.shape[1] - contexts.shape[1] :].ravel()[first]  # each n-gram without its first token
        laws = [law[suffix] for law in laws]
        others = totals[keys // vocab_size] - 1
        strengths = _strengths(counts, others, np.stack(laws))
        laws.append(_posterior(counts - 1, others, strengths, laws))
        yield NGramCounts(np.append(keys, _UNSEEN), np.append(counts, 0), totals, strengths)
        places = inverse.reshape(contexts.shape)
        known, contexts = (vocab_size, tokens[:, :-1]) if n == 1 else (len(keys), places[:, :-1])


def _posterior(count: np.ndarray, total: np.ndarray, strengths: np.ndarray, laws: list[np.ndarray]) -> np.ndarray:
    prior = sum(strength * law for strength, law in zip(strengths, laws, strict=True))
    return (count + prior) / (total + strengths.sum())


def _strengths(counts: np.ndarray, others: np.ndarray, laws: np.ndarray) -> np.ndarray:
    """The strengths of the lower ``laws (n, n-grams)``, by a fixed-point iteration for the leave-one-out likelihood.

    Each law is credited with at least one token, so that none loses all weight: even if no unexpected token occurred,
    about one is still to be expected. Contexts that occur once are skipped: without their one token they carry no
    information about the weight of counts.
    """
    fitted = np.flatnonzero(others > 0)
    fitted = fitted[:: len(fitted) // MAX_FITTED + 1]
    counts, others, laws = counts[fitted], others[fitted], laws[:, fitted]
    strengths = np.ones(len(laws))
    for _ in range(MAX_ITERATIONS if len(fitted) else 0):
        explained = strengths * (
            laws @ (counts / (counts - 1 + strengths @ laws))
        )  # number of tokens explained by each law
        before, strengths = strengths, np.maximum(explained, 1) / (counts / (others + strengths.sum())).sum()
        strengths = np.minimum(
            strengths, MAX_STRENGTH
        )  # the likelihood is unbounded if a lower order explains all tokens
        if (np.abs(strengths - before) <= TOLERANCE * strengths.max()).all():
            break
    return strengths


def check_tokens(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """``tokens (batch, T)`` as int64; a ``ValueError`` if T is less than 2 or a token is not in the vocabulary."""
    tokens = integers(tokens)
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise ValueError(f"tokens: saw shape {tokens.shape}; (batch, T) with T of at least 2 is needed")
    check_vocabulary(tokens, vocab_size)
    return tokens


def check_vocabulary(tokens: np.ndarray, vocab_size: int) -> None:
    """Raise a ``ValueError`` if there are no tokens, or one of them is not in the vocabulary."""
    if tokens.size == 0:
        raise ValueError(f"tokens: saw shape {tokens.shape}; at least one is needed")
    for token in (tokens.min(), tokens.max()):
        if not 0 <= token < vocab_size:
            raise ValueError(f"tokens: saw {token}; the vocabulary is 0 to {vocab_size - 1}")
