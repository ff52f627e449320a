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

MIN_SEQUENCES = 256  # sequences drawn before the number needed is estimated
MAX_SEQUENCES = 2**17
SPLIT = "valid"  # the split whose random numbers are used, so that training data stay separate


@dataclass(frozen=True, eq=False)
class Entropy:
    """The oracle's mean loss over sequences of a length, nats per token.

    Attributes:
        mean: mean over sequences and over t = 1 .. T - 1.
        standard_error: standard error of ``mean`` over sequences.
        by_position: ``(T - 1,)``, H(X_t | X_<t) from the process's own start.
        standard_error_by_position: ``(T - 1,)``, standard errors of ``by_position`` over sequences.
        sequences: number of sequences drawn.
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
    max_sequences: int = MAX_SEQUENCES,
    device: str = "cpu",
) -> Entropy:
    """Estimate the mean oracle loss of sequences from the process's own start, to a target precision.

    Each position contributes the entropy of the oracle's predictive distribution, which has the same expectation as
    ``-log P(x_t | x_<t)`` and a smaller variance. Sequences are drawn, at least 256, until the standard error reaches
    the precision. Events rarer than one in the number of sequences are likely to be missed: if they contribute to the
    loss, request a higher precision.

    Args:
        process: with fixed kernels.
        length: tokens in a sequence, at least 2.
        precision: standard error to reach, nats per token.
        max_sequences: raise an error if more sequences would be needed.
        device: device on which the filter runs.

    Raises:
        ValueError: if the length is under 2, or the precision is not positive or needs more than ``max_sequences``; or
            as ``n2n.filter``.
    """
    check_arguments(process, length, precision, max_sequences, device)

    def measure(start: int, count: int) -> np.ndarray:
        tokens = process.sample(count, length=length, split=SPLIT, start=start, latents=False).tokens
        return predictive_entropies(process, tokens, device)

    losses = until_precise(measure, precision, max_sequences)
    mean, error = mean_and_error(losses.mean(axis=1))
    by_position, errors = mean_and_error(losses)
    return Entropy(float(mean), float(error), by_position, errors, len(losses))


def check_arguments(process: Process, length: int, precision: float, max_sequences: int, device: str) -> None:
    """Raise a ``ValueError`` unless these arguments define an entropy estimate."""
    check_process(process)
    check_fixed(process.graph)
    check_device(device)
    as_integer("max_sequences", max_sequences, 2)
    as_integer("length", length, 2)
    as_positive("precision", precision, "nats per token")


def predictive_entropies(
    process: Process, tokens: np.ndarray, device: str = "cpu", *, start: dict | None = None, last: int = 0
) -> np.ndarray:
    """Entropies of the oracle's predictive distributions, ``(batch, T - 1)``, or of the ``last`` ones only (0: all)."""
    on_device = torch.from_numpy(tokens.astype(np.int64)).to(device)
    predictive = filter(process, on_device, predictive=True, start=start).predictive
    return entropy_of(predictive[:, -last:]).cpu().numpy()


def entropies_by_seed(graph: Graph, seeds: Sequence[int], sequences: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The oracle's mean loss under the kernels of each seed, ``(seeds,)`` nats per token, and its standard errors.

    The errors are over sequences. Graphs that differ only in concentrations are evaluated on common random numbers:
    kernels of the same seeds, sequences of the same indices.
    """
    estimates = []
    for seed in seeds:
        process = Process(graph, seed)
        tokens = process.sample(sequences, length=length, split=SPLIT, latents=False).tokens
        estimates.append(mean_and_error(predictive_entropies(process, tokens).mean(axis=1)))
    means, errors = np.array(estimates).T
    return means, errors


def until_precise(measure: Callable[[int, int], np.ndarray], precision: float, max_sequences: int) -> np.ndarray:
    """Losses ``(sequences, columns)`` of enough sequences for their overall mean to have this standard error.

    ``measure(start, count)`` returns the losses of some sequences.

    Raises:
        ValueError: if more than ``max_sequences`` would be needed.
    """
    losses = measure(0, min(MIN_SEQUENCES, max_sequences))
    while True:
        error = mean_and_error(losses.mean(axis=1))[1]
        if error <= precision:
            return losses
        needed = math.ceil(1.1 * len(losses) * (error / precision) ** 2)
        if needed > max_sequences:
            raise ValueError(
                f"precision: {precision:g} nats per token needs about {needed} sequences, more than max_sequences = "
                f"{max_sequences}; {len(losses)} of them give {error:.2g}"
            )
        losses = np.concatenate([losses, measure(len(losses), needed - len(losses))])
