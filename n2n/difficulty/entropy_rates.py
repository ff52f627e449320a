"""The entropy rate of a process: proven bounds from every context of a few tokens, and an estimate from sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from n2n.difficulty.entropies import MAX_SEQUENCES, SPLIT, check_arguments, predictive_entropies, until_precise
from n2n.difficulty.markov import PART, followed, settled, settled_entropy
from n2n.oracle.filtering import filter
from n2n.process.initial_law import law_error
from n2n.process.process import Process
from n2n.utils.statistics import mean_and_error

LATE = 32  # positions at the end of a sequence that the estimate averages over, at most; never more than half of them
WORK = 2**22  # joint states times contexts that are enumerated, at most: about a second


@dataclass(frozen=True, eq=False)
class EntropyRate:
    """The entropy rate of a process once it is stationary, nats per token.

    Attributes:
        lower_bound: proven. H(X_k | X_1 .. X_{k-1}, start), of an oracle that is told z_0 and x_0; 0 where k is 0.
        upper_bound: proven. H(X_k | X_0 .. X_{k-1}) from the stationary start. Both bounds leave room for rounding and
            for the error of an iterated stationary law.
        context: k, the tokens in the contexts that were enumerated for the bounds.
        estimate: of the rate; between the bounds. Where these lie within the precision of each other it is the middle
            of the two and nothing is drawn.
        standard_error: of ``estimate`` over sequences; 0 where nothing was drawn.
        start_effect: how much less an oracle loses that is told the start, late in the sequences (in the last context,
            where nothing was drawn). The expectation of ``estimate`` is off by half of it at most.
        sequences: how many were drawn.
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
    most_sequences: int = MAX_SEQUENCES,
    device: str = "cpu",
) -> EntropyRate:
    """Proven bounds of the entropy rate and an estimate of it.

    The bounds are exact conditional entropies over all contexts of k tokens. k grows until the bounds lie within
    ``precision`` of each other or enumerating more would take longer than about a second. In the latter case sequences
    that start in the stationary law are drawn. The estimate then is the mean of what two oracles expect to lose, over
    the last positions of each sequence (at most 32, and at most half): one that is told the start of the latents and
    one that is not. The losses of the two lie on either side of the rate.

    Where several laws are stationary, the rate is of the mixture that a uniform start leads to.

    Args:
        process: with fixed kernels; its own start has no part in it.
        length: tokens in a sequence drawn, at least 2.
        precision: of the estimate's standard error, and of the bounds if these suffice; nats per token.
        most_sequences: where the estimate would need more, nothing is returned.
        device: where the filter runs for the estimate.

    Raises:
        ValueError: as ``n2n.entropy``, or a stationary law that is refused.

    Source: Cover and Thomas, "Elements of information theory" (2006), theorem 4.5.1.
    """
    check_arguments(process, length, precision, most_sequences, device)
    process = settled(process)
    lower, upper, context = _bounds(process, precision)
    if upper - lower <= precision:
        return EntropyRate(lower, upper, context, 0.5 * (lower + upper), 0.0, upper - lower, 0)
    losses = until_precise(lambda *part: _late_losses(process, length, device, *part), precision, most_sequences)
    mean, error = mean_and_error(losses.mean(axis=1))
    untold, told = losses.mean(axis=0)
    estimate = min(max(float(mean), lower), upper)
    return EntropyRate(lower, upper, context, estimate, float(error), float(max(untold - told, 0.0)), len(losses))


def _late_losses(process: Process, length: int, device: str, start: int, count: int) -> np.ndarray:
    """What an oracle that is not told the start, and one that is, expect to lose: ``(count, 2)``."""
    sample = process.sample(count, length=length, split=SPLIT, start=start)
    first = {name: states[:, 0] for name, states in sample.latents.items()}
    late = min(LATE, length // 2)
    losses = [predictive_entropies(process, sample.tokens, device, start=at, last=late) for at in (None, first)]
    return np.stack([loss.mean(axis=1) for loss in losses], axis=1)


def _bounds(process: Process, precision: float) -> tuple[float, float, int]:
    """Lower and upper bound, and the tokens in the last contexts enumerated."""
    states, vocab_size = process.graph.num_joint_states, process.graph.vocab_size
    rows = max(vocab_size, np.count_nonzero(_start_law(process)))
    lower, upper, context = 0.0, settled_entropy(process, 0) + _slack(process, 0), 0
    while upper - lower > precision:
        if rows * vocab_size**context * states * (context + 1) > WORK:
            break
        context += 1
        slack = _slack(process, context)
        upper = min(upper, settled_entropy(process, context) + slack)
        lower = max(lower, _told_entropy(process, _starts(process), context) - slack)
    return lower, upper, context


def _slack(process: Process, context: int) -> float:
    """What rounding and the error of the stationary law may change in a conditional entropy, nats."""
    states, vocab_size = process.graph.num_joint_states, process.graph.vocab_size
    largest = math.log(vocab_size) + 1
    rounding = 4 * float(np.finfo(float).eps) * (context + 1) * (states + vocab_size) * largest
    error = law_error(process.graph)
    # Fannes: laws over n values at an L1 distance of e have entropies within e log(n / e); here of two blocks
    return rounding + 2 * error * ((context + 1) * largest - math.log(error or 1.0))


def _start_law(process: Process) -> np.ndarray:
    """P(z_0, x_0) of what an oracle may be told, ``(n_1, .., n_K, V)``.

    Where no node sees the previous token, x_0 tells nothing beside z_0, and one token stands for all.
    """
    law = process.initial_law
    return law if process.graph.uses_previous_token else law.sum(axis=-1, keepdims=True)


def _starts(process: Process) -> tuple[np.ndarray, np.ndarray]:
    """What an oracle may be told, ``(starts, nodes)`` states at t = 0 with X's last, and the probability of each."""
    law = _start_law(process)
    places = np.argwhere(law > 0)
    return places, law[tuple(places.T)]


def _told_entropy(process: Process, starts: tuple[np.ndarray, np.ndarray], context: int) -> float:
    """H(X_k | X_1 .. X_{k-1}, Z_0, X_0), over all starts and all words between."""
    (places, law), vocab_size = starts, process.graph.vocab_size
    words = vocab_size ** (context - 1)
    total = 0.0
    for first in range(0, len(places) * words, PART):
        numbers = np.arange(first, min(first + PART, len(places) * words))
        start, word = places[numbers // words], numbers % words
        between = word[:, None] // vocab_size ** np.arange(context - 1) % vocab_size
        tokens = np.column_stack([start[:, -1], between, np.zeros_like(numbers)])  # any token, to be predicted
        told = {node.name: start[:, k] for k, node in enumerate(process.graph.latents)}
        found = filter(process, tokens, start=told, predictive=True)
        probability, entropy = followed(found, law[numbers // words])
        total += float(probability @ entropy)
    return total
