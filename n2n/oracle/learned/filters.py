"""Runs of many particle filters: compiled on CPUs, in torch on other devices, within a memory budget."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.compiled import particle_program
from n2n.oracle.compiled.particles import filter_particles
from n2n.oracle.learned.kernel_counts import places
from n2n.oracle.learned.particle_filter import Cloud, Streams, bytes_of_tables, bytes_per_filter
from n2n.process.process import Process
from n2n.utils.progress import track


def run_filters(
    process: Process, tokens: Tensor, rows: Tensor, particles: int, repeats: int, seed: int, memory_budget: int
) -> tuple[Tensor, Tensor]:
    """Run ``repeats`` particle filters for each of the sequences ``rows`` of ``tokens (batch, T)``.

    A filter's random numbers are a function of (seed, row, repeat).

    Returns:
        Each filter's log P(x_t | x_<t), and effective sample sizes, both ``(rows, repeats, T - 1)``.

    Raises:
        ValueError: if one filter exceeds the memory budget, in bytes.
    """
    run = run_compiled if tokens.device.type == "cpu" else run_torch
    return run(process, tokens, rows, particles, repeats, seed, memory_budget)


def run_compiled(
    process: Process, tokens: Tensor, rows: Tensor, particles: int, repeats: int, seed: int, memory_budget: int
) -> tuple[Tensor, Tensor]:
    """The filters on a CPU, compiled; see ``run_filters``."""
    check_budget(process.graph, particles, bytes_of_filter(process.graph, particles, tokens), memory_budget)
    evidence, sample_sizes = filter_particles(
        process, tokens.numpy(), particles, repeats, seed, memory_budget, rows=rows.numpy()
    )
    return torch.from_numpy(evidence).log_(), torch.from_numpy(sample_sizes)


def run_torch(
    process: Process, tokens: Tensor, rows: Tensor, particles: int, repeats: int, seed: int, memory_budget: int
) -> tuple[Tensor, Tensor]:
    """The filters in torch, on the tokens' device; see ``run_filters``."""
    at_once = filters_at_once(process.graph, particles, memory_budget)
    kernel_places = places(process, tokens.device)
    filters = torch.cartesian_prod(rows.cpu(), torch.arange(repeats))
    parts = []
    for part in track(filters.split(at_once), "part"):
        streams = Streams(seed, part, particles) if repeats > 1 else None  # a single repeat is exact and draws nothing
        cloud = Cloud(process.graph, kernel_places, len(part), particles, streams)
        parts.append(_run(cloud, tokens[part[:, 0].to(tokens.device)]))
    shape = (len(rows), repeats, -1)
    evidence, sample_sizes = zip(*parts, strict=True)
    return torch.cat(evidence).view(shape), torch.cat(sample_sizes).view(shape)


def _run(cloud: Cloud, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """log P(x_t | x_<t) and effective sample sizes, ``(filters, T - 1)``, one filter for each row of ``tokens``."""
    cloud.start(tokens[:, 0])
    steps = [cloud.step(before, token) for before, token in pairwise(tokens.T)]
    evidence, sample_sizes = zip(*steps, strict=True)
    return torch.stack(evidence, 1), torch.stack(sample_sizes, 1)


def filters_at_once(graph: Graph, particles: int, memory_budget: int) -> int:
    """Number of filters in torch that fit into the memory budget."""
    shared, each = bytes_of_tables(graph), bytes_per_filter(graph, particles)
    check_budget(graph, particles, shared + each, memory_budget)
    return (memory_budget - shared) // each


def bytes_of_filter(graph: Graph, particles: int, tokens: Tensor) -> int:
    """Bytes that one filter of ``tokens (batch, T)`` needs, with the tables that filters share."""
    if tokens.device.type != "cpu":
        return bytes_of_tables(graph) + bytes_per_filter(graph, particles)
    own = particle_program.bytes_per_filter(graph, particles, tokens.shape[1])
    return particle_program.bytes_of_program(graph) + own


def check_budget(graph: Graph, particles: int, needed: int, memory_budget: int) -> None:
    """Raise a ``ValueError`` if a filter needs more bytes than the budget."""
    if needed > memory_budget:
        raise ValueError(
            f"memory_budget: {particles} particles over {graph.num_joint_states} joint states need {needed} "
            f"bytes for one sequence, more than the budget of {memory_budget}; raise it, use fewer particles, or fewer "
            "or smaller nodes"
        )
