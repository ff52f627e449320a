"""Estimates with kernels drawn from their prior, for kernels without a conjugate prior.

The likelihood of a sequence is the mean of its likelihoods under random kernels, each of which one exact filter gives.
The mean is dominated by the kernels that fit the sequence, and these are rare where it is long or the kernels have many
entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.filtering import log_first
from n2n.oracle.learned.refusals import product_message
from n2n.oracle.mixture import running_log_likelihood
from n2n.process.process import Process
from n2n.utils.philox import derive_key
from n2n.utils.progress import track

MIN_EFFECTIVE = 32.0  # draws, of all repeats together; with fewer, the largest weights decide


def run_draws(
    process: Process, tokens: Tensor, rows: Tensor, draws: int, repeats: int, seed: int, memory_budget: int
) -> tuple[Tensor, Tensor]:
    """Filter the sequences ``rows`` of ``tokens (batch, T)`` under random kernels: ``draws`` sets for each repeat.

    All sequences have the same sets, so their errors are dependent.

    Returns:
        Each repeat's log of the ratio of successive mean likelihoods, an estimate of log P(x_t | x_<t), and the
        effective sample size of the draws after each token, both ``(rows, repeats, T - 1)``.
    """
    low, high = derive_key("importance", int(process.seed), seed)
    prior = Process.from_kernels(process.graph, process.kernels, int(low) + 2**32 * (int(high) % 2**30))
    used = tokens[rows]
    shape = (len(rows), repeats, tokens.shape[1])
    total, squares = (torch.full(shape, -torch.inf, dtype=torch.float64, device=tokens.device) for _ in range(2))
    for index in track(range(repeats * draws), "kernel set"):
        running = running_log_likelihood(prior.of_sequence(index), used, memory_budget)
        repeat = index % repeats
        total[:, repeat] = torch.logaddexp(total[:, repeat], running)
        squares[:, repeat] = torch.logaddexp(squares[:, repeat], 2 * running)
    evidence = total.diff(dim=2)
    # P(x_0) is known, so it is not estimated
    evidence[..., 0] = total[..., 1] - torch.tensor(draws).log() - log_first(process, used)[:, None]
    return evidence, (2 * total - squares)[..., 1:].exp()


def check_draws(graph: Graph, sample_sizes: Tensor, draws: int, repeats: int) -> None:
    """Raise a ``ValueError`` if the draws of a sequence have too small an effective sample size after its last token.

    ``sample_sizes (batch, T - 1)`` are means over repeats.
    """
    sizes = repeats * sample_sizes[:, -1].nan_to_num(nan=torch.inf)  # nan if no draw can emit the tokens
    worst = int(sizes.argmin())
    if sizes[worst] < MIN_EFFECTIVE:
        raise ValueError(
            f"{product_message(graph)}, and of {repeats * draws} kernel sets drawn from the prior only "
            f"{sizes[worst]:.1f} count in sequence {worst} (effective sample size), fewer than {MIN_EFFECTIVE:g}; "
            "kernel='full', shorter sequences or more particles are needed"
        )
