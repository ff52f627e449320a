"""The best predictor that sees only the last tokens of a process: what exact knowledge is worth without a memory.

Everything here is under the stationary law of the process's kernels, whatever law its own sequences start from. The
predictor sees ``context_length`` tokens, an n-gram of order n sees n - 1. On stationary sequences no such predictor is
better; on short ones from another start, one that was fitted to such sequences may be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from n2n.oracle.checks import check_fixed, check_process, check_tokens
from n2n.oracle.filtering import Filtered, filter
from n2n.process.process import Process
from n2n.utils.statistics import entropy_of, mean_and_error
from n2n.utils.strict import as_integer

LIMIT = 2**22  # windows of context_length + 1 tokens that are enumerated, at most
PART = 2**12  # contexts filtered at once; their predictions take memory on top of the beliefs


@dataclass(frozen=True)
class Estimate:
    """A mean over independent draws.

    Attributes:
        mean: nats per token.
        standard_error: of the mean.
    """

    mean: float
    standard_error: float


def markov_nll(process: Process, tokens, context_length: int) -> np.ndarray:
    """``-log P(x_t | the last k tokens)``, k the context length: ``(batch, T - 1)`` nats, for t = 1 .. T - 1.

    Exact for any vocabulary: each distinct window of k + 1 tokens is filtered once, from the stationary law. At t < k
    the context is the t tokens at hand, of which the predictor does not know that they begin a sequence. A context
    that the stationary law cannot emit (met where the process starts elsewhere) gives way to the longest of its ends
    that it can.

    Args:
        process: the process that the tokens are judged by.
        tokens: ``(batch, T)`` integers, T at least 2.
        context_length: k, from 0; 0 gives the stationary unigram.

    Returns:
        float64; infinite at a token that cannot follow its context.

    Raises:
        ValueError: tokens of a wrong shape or type or outside the vocabulary, a context length that is not a whole
            number from 0, or a stationary law that is refused.
    """
    seen = as_integer("context_length", context_length, 0)
    process = settled(process)
    tokens = check_tokens(process, tokens).cpu().numpy()
    batch, length = tokens.shape
    seen = min(seen, length - 1)
    early = [_nll_of_last(process, tokens[:, : t + 1]) for t in range(1, seen)]
    windows = np.lib.stride_tricks.sliding_window_view(tokens[:, seen == 0 :], seen + 1, axis=1)
    late = _nll_of_last(process, windows.reshape(-1, seen + 1)).reshape(batch, -1)
    return np.column_stack([*early, late])


def markov_entropy(process: Process, context_length: int) -> float:
    """``H(X_t | the last k tokens)`` under the stationary law, k the context length: nats per token, exact.

    It never rises with k and tends to the entropy rate: Crutchfield and Feldman, "Regularities unseen, randomness
    observed", Chaos 13 (2003). All V^k contexts are enumerated.

    Raises:
        ValueError: a context length that is not a whole number from 0, more than 2^22 windows of k + 1 tokens, or a
            stationary law that is refused.
    """
    seen = as_integer("context_length", context_length, 0)
    process = settled(process)
    vocab_size = process.graph.vocab_size
    if vocab_size ** (min(seen, LIMIT.bit_length()) + 1) > LIMIT:
        raise ValueError(
            f"context_length: saw {seen}; {vocab_size} symbols make {vocab_size}^{seen + 1} windows, more than the "
            f"{LIMIT} that are enumerated; use markov_entropy_estimate"
        )
    return settled_entropy(process, seen)


def settled_entropy(process: Process, seen: int) -> float:
    """As ``markov_entropy``, of a process whose start is stationary and of any number of windows."""
    total, vocab_size = 0.0, process.graph.vocab_size
    for first in range(0, vocab_size**seen, PART):
        numbers = np.arange(first, min(first + PART, vocab_size**seen))
        contexts = numbers[:, None] // vocab_size ** np.arange(seen) % vocab_size  # (contexts, k), each once
        probability, entropy = _contexts(process, contexts)
        total += float(probability @ entropy)
    return total


def markov_entropy_estimate(process: Process, context_length: int, *, sequences: int = 2**14) -> Estimate:
    """``H(X_t | the last k tokens)`` as ``markov_entropy``, from contexts drawn at random.

    Each context is the start of a sequence of its own (test split, stationary law), so that they are independent; the
    entropy of what follows it is exact.

    Args:
        process: whose kernels these are.
        context_length: k, from 1 (for 0, ``markov_entropy`` is exact).
        sequences: contexts drawn, at least 2.

    Raises:
        ValueError: a number that is not whole or too small, or a stationary law that is refused.
    """
    seen, sequences = as_integer("context_length", context_length, 1), as_integer("sequences", sequences, 2)
    process = settled(process)
    drawn = process.sample(sequences, length=seen, split="test", latents=False).tokens.astype(np.int64)
    distinct, place = _distinct(drawn, process.graph.vocab_size)
    parts = [_contexts(process, distinct[first : first + PART])[1] for first in range(0, len(distinct), PART)]
    entropies = np.concatenate(parts)[place]
    mean, error = mean_and_error(entropies)
    return Estimate(float(mean), float(error))


def settled(process: Process) -> Process:
    """A process with fixed kernels from its stationary start."""
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
    """The distinct rows and each row's place among them, token by token so that no key outgrows an int64."""
    place, first = np.zeros(len(windows), np.int64), np.zeros(1, np.int64)
    for column in windows.T:
        _, first, place = np.unique(place * vocab_size + column, return_index=True, return_inverse=True)
    return windows[first], place


def _contexts(process: Process, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each context's stationary probability and the entropy of what follows it, of ``contexts (count, k)``."""
    unigram = process.first_token_law
    if contexts.shape[1] == 0:
        return np.ones(1), entropy_of(unigram[None])
    padded = np.column_stack(
        [contexts, np.zeros(len(contexts), np.int64)]
    )  # any token, for a prediction after the last
    filtered = filter(process, padded, predictive=True)
    return followed(filtered, unigram[contexts[:, 0]])


def followed(found: Filtered, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each sequence's probability without its last token, and the entropy of that token: ``(batch,)`` both.

    Args:
        found: what the filter said of the sequences, with its predictives.
        start: the probability of what comes before the first predicted token, ``(batch,)``.
    """
    probability = start * np.exp(-found.nll[:, :-1].cpu().numpy().sum(axis=1))
    possible = probability > 0  # else nan, or 0
    law = np.where(possible[:, None], found.predictive[:, -1].cpu().numpy(), 0.0)
    return np.where(possible, probability, 0.0), entropy_of(law)
