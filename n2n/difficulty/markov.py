"""The best predictor that sees only the last tokens: the loss of a finite memory with exact knowledge of the process.

All of these use the stationary distribution of the process's kernels, whatever start its own sequences have. The
predictor sees ``context_length`` tokens; an n-gram of order n sees n - 1. On stationary sequences it is optimal among
such predictors. On short sequences from another start, a predictor fitted to such sequences may be better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from n2n.oracle.checks import check_fixed, check_process, check_tokens
from n2n.oracle.filtering import Filtered, filter
from n2n.process.process import Process
from n2n.utils.statistics import entropy_of, mean_and_error
from n2n.utils.strict import as_integer

MAX_WINDOWS = 2**22  # enumerated windows of context_length + 1 tokens, at most
CONTEXTS_AT_ONCE = 2**12  # contexts filtered at once; their predictions need memory in addition to the beliefs


@dataclass(frozen=True)
class Estimate:
    """A mean over independent draws.

    Attributes:
        mean: nats per token.
        standard_error: standard error of the mean.
    """

    mean: float
    standard_error: float


def markov_nll(process: Process, tokens, context_length: int) -> np.ndarray:
    """``-log P(x_t | the last k tokens)``, k the context length: ``(batch, T - 1)`` nats, for t = 1 .. T - 1.

    The result is exact for any vocabulary: each distinct window of k + 1 tokens is filtered once, from the stationary
    start. At t < k the context is the t tokens so far; the predictor does not know that they begin a sequence. If the
    context has probability 0 under the stationary distribution (which occurs if the process starts elsewhere), its
    longest suffix with positive probability is used.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2.
        context_length: k, from 0; 0 gives the stationary unigram.

    Returns:
        float64; infinite at a token that cannot follow its context.

    Raises:
        ValueError: if the tokens have a wrong shape or type or lie outside the vocabulary, the context length is not a
            whole number from 0, or the stationary distribution cannot be computed.
    """
    context_length = as_integer("context_length", context_length, 0)
    process = stationary(process)
    tokens = check_tokens(process, tokens).cpu().numpy()
    batch, length = tokens.shape
    context_length = min(context_length, length - 1)
    early = [_nll_of_last(process, tokens[:, : t + 1]) for t in range(1, context_length)]
    windows = np.lib.stride_tricks.sliding_window_view(tokens[:, context_length == 0 :], context_length + 1, axis=1)
    late = _nll_of_last(process, windows.reshape(-1, context_length + 1)).reshape(batch, -1)
    return np.column_stack([*early, late])


def markov_entropy(process: Process, context_length: int) -> float:
    """``H(X_t | the last k tokens)`` under the stationary distribution, k the context length: nats per token, exact.

    It does not increase with k and tends to the entropy rate: Crutchfield and Feldman, "Regularities unseen, randomness
    observed", Chaos 13 (2003). All V^k contexts are enumerated.

    Raises:
        ValueError: if the context length is not a whole number from 0, there are more than 2^22 windows of k + 1
            tokens, or the stationary distribution cannot be computed.
    """
    context_length = as_integer("context_length", context_length, 0)
    process = stationary(process)
    vocab_size = process.graph.vocab_size
    if vocab_size ** (min(context_length, MAX_WINDOWS.bit_length()) + 1) > MAX_WINDOWS:
        raise ValueError(
            f"context_length: saw {context_length}; {vocab_size} symbols make {vocab_size}^{context_length + 1} "
            f"windows, more than the {MAX_WINDOWS} that can be enumerated; use markov_entropy_estimate"
        )
    return stationary_entropy(process, context_length)


def stationary_entropy(process: Process, context_length: int) -> float:
    """``markov_entropy`` of a process with a stationary start, without a limit on the number of windows."""
    total, vocab_size = 0.0, process.graph.vocab_size
    for first in range(0, vocab_size**context_length, CONTEXTS_AT_ONCE):
        numbers = np.arange(first, min(first + CONTEXTS_AT_ONCE, vocab_size**context_length))
        contexts = numbers[:, None] // vocab_size ** np.arange(context_length) % vocab_size  # (contexts, k), each once
        probability, entropy = _contexts(process, contexts)
        total += float(probability @ entropy)
    return total


def markov_entropy_estimate(process: Process, context_length: int, *, sequences: int = 2**14) -> Estimate:
    """``H(X_t | the last k tokens)`` as ``markov_entropy``, estimated from random contexts.

    Each context is the beginning of a separate sequence (test split, stationary start), so contexts are independent.
    The entropy of the token after each context is exact.

    Args:
        process: the process, of which only the kernels are used.
        context_length: k, from 1 (for 0, ``markov_entropy`` is exact).
        sequences: number of contexts, at least 2.

    Raises:
        ValueError: if a number is not whole or is too small, or the stationary distribution cannot be computed.
    """
    context_length, sequences = as_integer("context_length", context_length, 1), as_integer("sequences", sequences, 2)
    process = stationary(process)
    contexts = process.sample(sequences, length=context_length, split="test", latents=False).tokens.astype(np.int64)
    distinct, place = _distinct(contexts, process.graph.vocab_size)
    parts = [
        _contexts(process, distinct[first : first + CONTEXTS_AT_ONCE])[1]
        for first in range(0, len(distinct), CONTEXTS_AT_ONCE)
    ]
    entropies = np.concatenate(parts)[place]
    mean, error = mean_and_error(entropies)
    return Estimate(float(mean), float(error))


def stationary(process: Process) -> Process:
    """The process, which must have fixed kernels, with a stationary start."""
    check_process(process)
    check_fixed(process.graph)
    return process.with_initial("stationary")


def _nll_of_last(process: Process, windows: np.ndarray) -> np.ndarray:
    """``-log P(last token | those before it)`` of each of ``windows (count, k + 1)``: ``(count,)``."""
    if windows.shape[1] == 1:
        with np.errstate(divide="ignore"):
            return np.maximum(-np.log(process.first_token_law), 0.0)[windows[:, 0]] + 0.0
    distinct, place = _distinct(windows, process.graph.vocab_size)
    nll = filter(process, distinct).nll[:, -1].cpu().numpy()
    undefined = np.isnan(nll) | (process.first_token_law[distinct[:, 0]] == 0)  # the context has probability 0
    if undefined.any():
        nll[undefined] = _nll_of_last(process, distinct[undefined, 1:])
    return nll[place]


def _distinct(windows: np.ndarray, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows and each row's place among them.

    The rows are numbered token by token, so that no key exceeds an int64. ``np.unique(windows, axis=0)`` gives the
    same, but sorts whole rows and is slower.
    """
    place, first = np.zeros(len(windows), np.int64), np.zeros(1, np.int64)
    for column in windows.T:
        _, first, place = np.unique(place * vocab_size + column, return_index=True, return_inverse=True)
    return windows[first], place


def _contexts(process: Process, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stationary probability of each of ``contexts (count, k)``, and the entropy of the token after it."""
    unigram = process.first_token_law
    if contexts.shape[1] == 0:
        return np.ones(1), entropy_of(unigram[None])
    padded = np.column_stack([contexts, np.zeros(len(contexts), np.int64)])  # the last token's value is irrelevant
    filtered = filter(process, padded, predictive=True)
    return next_token_entropy(filtered, unigram[contexts[:, 0]])


def next_token_entropy(filtered: Filtered, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each sequence without its last token, and the entropy of that token: ``(batch,)`` both.

    Args:
        filtered: the filter's result for the sequences, with predictive distributions.
        start: ``(batch,)``, probability of what comes before the first predicted token.
    """
    probability = start * np.exp(-filtered.nll[:, :-1].cpu().numpy().sum(axis=1))
    possible = probability > 0  # otherwise nan or 0
    law = np.where(possible[:, None], filtered.predictive[:, -1].cpu().numpy(), 0.0)
    return np.where(possible, probability, 0.0), entropy_of(law)
