"""Exact losses with learned kernels: from the counts of one path, or from all paths merged by their counts."""

from __future__ import annotations

import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.compiled.hypotheses import bytes_per_hypothesis, enumerate_hypotheses
from n2n.oracle.compiled.particle_program import bytes_of_program, width_of
from n2n.oracle.compiled.particles import count_sequences
from n2n.oracle.filtering import nll_of
from n2n.oracle.learned.filters import check_budget
from n2n.process.process import Process

MAX_NUMBERS = 2**24  # next states, or counts, of all hypotheses about a sequence; they take about 0.1 s a token


def count_nll(process: Process, tokens: Tensor, memory_budget: int) -> Tensor:
    """``-log P(x_t | x_<t)``, ``(batch, T - 1)``, if nothing is hidden: add-alpha smoothing of X's counts."""
    graph = process.graph
    cells = graph.kernel_size(graph.observed)
    check_budget(graph, 1, 4 * (cells + cells // graph.vocab_size), memory_budget)
    likelihoods = torch.from_numpy(count_sequences(graph, tokens.cpu().numpy())).to(tokens.device)
    return nll_of(likelihoods)


def hypotheses_nll(process: Process, tokens: Tensor, limit: int, memory_budget: int) -> tuple[Tensor, Tensor]:
    """``-log P(x_t | x_<t)``, ``(batch, T - 1)``, from all hypotheses, on the CPU.

    Returns:
        The losses, and the sequences for which they are right, ``(batch,)`` bool: those with no more hypotheses than
        ``limit`` and ``affordable_hypotheses``.
    """
    limit = affordable_hypotheses(process.graph, tokens.shape[1], limit, memory_budget)
    if limit < 1:
        unknown = torch.full_like(tokens[:, 1:], torch.nan, dtype=torch.float64)
        return unknown, torch.zeros_like(tokens[:, 0], dtype=torch.bool)
    likelihoods, numbers = enumerate_hypotheses(process, tokens.cpu().numpy(), limit, memory_budget)
    nll = nll_of(torch.from_numpy(likelihoods))
    impossible = nll.isinf()
    after = impossible.cumsum(1) - impossible.long() > 0
    nll = nll.masked_fill(after, torch.nan)
    return nll.to(tokens.device), torch.from_numpy(numbers >= 0).to(tokens.device)


def affordable_hypotheses(graph: Graph, length: int, limit: int, memory_budget: int) -> int:
    """The number of hypotheses that memory and time allow for a sequence of this length, at most ``limit``."""
    left = memory_budget - bytes_of_program(graph)
    in_memory = max(0, left // bytes_per_hypothesis(graph, length))
    return min(limit, in_memory, MAX_NUMBERS // max(graph.num_joint_states, width_of(graph)))
