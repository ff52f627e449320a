"""How hard a process is: the mean loss of its oracle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from n2n.graph.graph import Graph
from n2n.oracle.checks import check_device, check_fixed, check_process
from n2n.oracle.filtering import filter
from n2n.process.process import Process
from n2n.utils.statistics import entropy_of, mean_and_error
from n2n.utils.strict import as_integer, as_positive

PILOT = 256  # sequences drawn before it is known how many are needed
MAX_SEQUENCES = 2**17
SPLIT = "valid"  # whose random numbers are used, so that what is trained on stays apart


@dataclass(frozen=True, eq=False)
class Entropy:
    """The oracle's mean loss over sequences of a length, nats per token.

    Attributes:
        mean: over sequences and over t = 1 .. T - 1.
        standard_error: of ``mean``, over sequences.
        by_position: ``(T - 1,)``, H(X_t | X_<t) from the process's own start.
        standard_error_by_position: ``(T - 1,)``.
        sequences: how many were drawn.
    """

    mean: float
    standard_error: float
    by_position: np.ndarray = field(repr=False)
    standard_error_by_position: np.ndarray = field(repr=False)
    sequences: int


def entropy(
    process: Process,
    length: int,
    *,
    precision: float = 0.005,
    most_sequences: int = MAX_SEQUENCES,
    device: str = "cpu",
) -> Entropy:
    """The mean oracle loss of sequences of ``length`` tokens from the process's own start, to a target precision.

    Each position counts by the entropy of the oracle's predictive, whose expectation is that of ``-log P(x_t | x_<t)``
    and whose variance is smaller. Sequences are drawn, 256 at least, until the standard error is reached. It knows only
    what was drawn: where the loss lies in events rarer than one in so many sequences, ask for more precision.

    Args:
        process: with fixed kernels.
        length: tokens in a sequence, at least 2.
        precision: the standard error to be reached, nats per token.
        most_sequences: where more would be needed, nothing is returned.
        device: where the filter runs.

    Raises:
        ValueError: a length under 2, a precision that is not positive or needs more than ``most_sequences``, or what
            ``filter`` refuses.
    """
    check_arguments(process, length, precision, most_sequences, device)

    def measure(start: int, count: int) -> np.ndarray:
        tokens = process.sample(count, length=length, split=SPLIT, start=start, latents=False).tokens
        return predictive_entropies(process, tokens, device)

    losses = until_precise(measure, precision, most_sequences)
    mean, error = mean_and_error(losses.mean(axis=1))
    by_position, errors = mean_and_error(losses)
    return Entropy(float(mean), float(error), by_position, errors, len(losses))


def check_arguments(process: Process, length: int, precision: float, most_sequences: int, device: str) -> None:
    """Raise a ``ValueError`` for a question about entropies that cannot be asked."""
    check_process(process)
    check_fixed(process.graph)
    check_device(device)
    as_integer("most_sequences", most_sequences, 2)
    as_integer("length", length, 2)
    as_positive("precision", precision, "nats per token")


def predictive_entropies(
    process: Process, tokens: np.ndarray, device: str = "cpu", *, start: dict | None = None, last: int = 0
) -> np.ndarray:
    """Entropies of the oracle's predictives, ``(batch, T - 1)``, or of the ``last`` so many alone (0: all)."""
    on_device = torch.from_numpy(tokens.astype(np.int64)).to(device)
    predictive = filter(process, on_device, predictive=True, start=start).predictive
    return entropy_of(predictive[:, -last:]).cpu().numpy()


def entropies_by_seed(graph: Graph, seeds: Sequence[int], sequences: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The oracle's mean loss under the kernels of each seed, ``(seeds,)`` nats per token, and its standard errors.

    The errors are over sequences. Two graphs that differ in concentrations alone are judged on common random numbers:
    kernels of the same seeds, sequences of the same indices.
    """
    found = []
    for seed in seeds:
        process = Process(graph, seed)
        tokens = process.sample(sequences, length=length, split=SPLIT, latents=False).tokens
        found.append(mean_and_error(predictive_entropies(process, tokens).mean(axis=1)))
    means, errors = np.array(found).T
    return means, errors


def until_precise(measure: Callable[[int, int], np.ndarray], precision: float, most: int) -> np.ndarray:
    """Losses ``(sequences, columns)``, so many that the mean of all has a standard error of ``precision``.

    ``measure(start, count)`` gives those of some sequences. Where more than ``most`` would be needed, a ``ValueError``.
    """
    losses = measure(0, min(PILOT, most))
    while True:
        error = mean_and_error(losses.mean(axis=1))[1]
        if error <= precision:
            return losses
        needed = math.ceil(1.1 * len(losses) * (error / precision) ** 2)
        if needed > most:
            raise ValueError(
                f"precision: {precision:g} nats per token needs about {needed} sequences, more than most_sequences = "
                f"{most}; {len(losses)} of them give {error:.2g}"
            )
        losses = np.concatenate([losses, measure(len(losses), needed - len(losses))])
