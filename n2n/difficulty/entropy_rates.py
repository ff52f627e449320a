"""The entropy rate of a process: proven bounds from all contexts of a few tokens, and an estimate from sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from n2n.difficulty.entropies import MAX_SEQUENCES, SPLIT, check_arguments, predictive_entropies, until_precise
from n2n.difficulty.markov import CONTEXTS_AT_ONCE, next_token_entropy, stationary, stationary_entropy
from n2n.oracle.filtering import filter
from n2n.process.components import components
from n2n.process.initial_law import law_error
from n2n.process.process import Process
from n2n.utils.statistics import mean_and_error

MAX_LATE = 32  # last positions of a sequence that the estimate averages over, at most; never more than half
MAX_WORK = 2**22  # joint states times enumerated contexts, at most: about a second


@dataclass(frozen=True, eq=False)
class EntropyRate:
    """The entropy rate of a process once it is stationary, nats per token.

    Attributes:
        lower_bound: proven. H(X_k | X_1 .. X_{k-1}, Z_0, X_0), for an oracle that knows the start; 0 if k is 0.
        upper_bound: proven. H(X_k | X_0 .. X_{k-1}) from the stationary start, for an oracle that knows the frozen
            latents. Both bounds allow for rounding and for the error of an iterated stationary distribution.
        context: k, the number of tokens in the contexts enumerated for the bounds.
        estimate: estimate of the rate, between the bounds. If these lie within the precision of each other, it is their
            midpoint and no sequences are drawn.
        standard_error: standard error of ``estimate`` over sequences; 0 if none were drawn.
        start_effect: reduction of the loss of an oracle that knows the start, late in the sequences (in the last
            context if no sequences were drawn). The bias of ``estimate`` is at most half of it.
        sequences: number of sequences drawn.
    """

    lower_bound: float
    upper_bound: float
    context: int
    estimate: float
    standard_error: float
    start_effect: float
    sequences: int


def entropy_rate(
    process: Process,
    length: int,
    *,
    precision: float = 0.005,
    max_sequences: int = MAX_SEQUENCES,
    device: str = "cpu",
) -> EntropyRate:
    """Proven bounds of the entropy rate and an estimate of it.

    The bounds are exact conditional entropies over all contexts of k tokens. k grows until the bounds lie within
    ``precision`` of each other or the enumeration would take longer than about a second. In the latter case sequences
    are drawn from the stationary start. The estimate is then the mean expected loss of two oracles over the last
    positions of each sequence (at most 32, and at most half): one that knows the latents at the start and one that only
    knows the frozen ones. Their losses lie on either side of the rate.

    A process with frozen latents is not ergodic: a sequence follows one of its components. The rate is the mean of the
    components' rates, weighted by the law of the frozen latents; each long sequence has the rate of its own component.
    The loss of a predictor that does not know the component tends to the same mean, because the past reveals the
    component. ``n2n.entropy`` includes what that costs in sequences of a length. If there are several stationary
    distributions for other reasons, the rate is that of the mixture reached from a uniform start.

    Args:
        process: with fixed kernels; its own start is not used.
        length: tokens in a sequence, at least 2.
        precision: standard error of the estimate, or distance between the bounds if these suffice; nats per token.
        max_sequences: raise an error if the estimate would need more sequences.
        device: device on which the filter runs for the estimate.

    Raises:
        ValueError: as ``n2n.entropy``, or if the stationary distribution cannot be computed.

    Source: Cover and Thomas, "Elements of information theory" (2006), theorem 4.5.1.
    """
    check_arguments(process, length, precision, max_sequences, device)
    process = stationary(process)
    parts = _parts(process)
    lower, upper, context = _mean_bounds(parts, precision)
    if upper - lower <= precision:
        return EntropyRate(lower, upper, context, 0.5 * (lower + upper), 0.0, upper - lower, 0)
    losses = until_precise(lambda *run: _late_losses(process, parts, length, device, *run), precision, max_sequences)
    mean, error = mean_and_error(losses.mean(axis=1))
    unknown_start, known_start = losses.mean(axis=0)
    estimate = min(max(float(mean), lower), upper)
    effect = float(max(unknown_start - known_start, 0.0))
    return EntropyRate(lower, upper, context, estimate, float(error), effect, len(losses))


class _Part(NamedTuple):
    """A component of a process as a process of its own, with a stationary start.

    Attributes:
        probability: probability of the component.
        states: the state of each frozen latent, by name.
        process: the process, in which frozen latents have one state each.
    """

    probability: float
    states: dict[str, int]
    process: Process


def _parts(process: Process) -> list[_Part]:
    if not process.graph.frozen_latents:
        return [_Part(1.0, {}, process)]
    return [
        _Part(probability, states, Process.from_kernels(graph, kernels, process.seed))
        for probability, states, graph, kernels in components(process.graph, process.kernels)
    ]


def _late_losses(process: Process, parts: list[_Part], length: int, device: str, start: int, count: int) -> np.ndarray:
    """Expected losses, ``(count, 2)``, of an oracle that knows the frozen latents and of one that knows the start."""
    sample = process.sample(count, length=length, split=SPLIT, start=start)
    first = {name: states[:, 0].astype(np.int64) for name, states in sample.latents.items()}
    late, losses = min(MAX_LATE, length // 2), np.empty((count, 2))
    for part in parts:
        rows = np.full(count, True)
        for name, state in part.states.items():
            rows &= first[name] == state
        if not rows.any():
            continue
        known = {name: np.where(name in part.states, 0, states[rows]) for name, states in first.items()}
        for oracle, at in enumerate([None, known]):
            entropies = predictive_entropies(part.process, sample.tokens[rows], device, start=at, last=late)
            losses[rows, oracle] = entropies.mean(axis=1)
    return losses


def _mean_bounds(parts: list[_Part], precision: float) -> tuple[float, float, int]:
    """Lower and upper bound, and the number of tokens in the largest contexts enumerated for all parts."""
    bounds = [(part.probability, *_bounds(part.process, precision, 1 / len(parts))) for part in parts]
    probabilities, lower, upper, contexts = zip(*bounds, strict=True)
    return float(np.dot(probabilities, lower)), float(np.dot(probabilities, upper)), min(contexts)


def _bounds(process: Process, precision: float, share: float = 1.0) -> tuple[float, float, int]:
    """Lower and upper bound, and the number of tokens in the largest contexts that a share of ``MAX_WORK`` allows."""
    states, vocab_size = process.graph.num_joint_states, process.graph.vocab_size
    rows = max(vocab_size, np.count_nonzero(_start_law(process)))
    lower, upper, context = 0.0, stationary_entropy(process, 0) + _slack(process, 0), 0
    while upper - lower > precision:
        if rows * vocab_size**context * states * (context + 1) > share * MAX_WORK:
            break
        context += 1
        slack = _slack(process, context)
        upper = min(upper, stationary_entropy(process, context) + slack)
        lower = max(lower, _known_start_entropy(process, _starts(process), context) - slack)
    return lower, upper, context


def _slack(process: Process, context: int) -> float:
    """Bound on the change of a conditional entropy by rounding and the error of the stationary distribution, nats."""
    states, vocab_size = process.graph.num_joint_states, process.graph.vocab_size
    largest = math.log(vocab_size) + 1
    rounding = 4 * float(np.finfo(float).eps) * (context + 1) * (states + vocab_size) * largest
    error = law_error(process.graph)
    # Fannes: distributions over n values at L1 distance e have entropies within e log(n / e); here for two blocks
    return rounding + 2 * error * ((context + 1) * largest - math.log(error or 1.0))


def _start_law(process: Process) -> np.ndarray:
    """P(z_0, x_0), ``(n_1, .., n_K, V)``, the distribution of the start that an oracle may know.

    If no node sees the previous token, x_0 adds nothing to z_0 and is marginalised.
    """
    law = process.initial_law
    return law if process.graph.uses_previous_token else law.sum(axis=-1, keepdims=True)


def _starts(process: Process) -> tuple[np.ndarray, np.ndarray]:
    """Possible starts, ``(starts, nodes)`` states at t = 0 with the token last, and the probability of each."""
    law = _start_law(process)
    places = np.argwhere(law > 0)
    return places, law[tuple(places.T)]


def _known_start_entropy(process: Process, starts: tuple[np.ndarray, np.ndarray], context: int) -> float:
    """H(X_k | X_1 .. X_{k-1}, Z_0, X_0), by enumeration of all starts and all words X_1 .. X_{k-1}."""
    (places, law), vocab_size = starts, process.graph.vocab_size
    words = vocab_size ** (context - 1)
    total = 0.0
    for first in range(0, len(places) * words, CONTEXTS_AT_ONCE):
        numbers = np.arange(first, min(first + CONTEXTS_AT_ONCE, len(places) * words))
        start, word = places[numbers // words], numbers % words
        between = word[:, None] // vocab_size ** np.arange(context - 1) % vocab_size
        tokens = np.column_stack(
            [start[:, -1], between, np.zeros_like(numbers)]
        )  # the last token is predicted, so its value is irrelevant
        known = {node.name: start[:, k] for k, node in enumerate(process.graph.latents)}
        filtered = filter(process, tokens, start=known, predictive=True)
        probability, entropy = next_token_entropy(filtered, law[numbers // words])
        total += float(probability @ entropy)
    return total
