"""Entropy over a grid of concentrations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pandas as pd

from n2n.difficulty.calibration import several_seeds, with_alphas
from n2n.difficulty.entropies import entropies_by_seed
from n2n.graph.by_name import graph_of
from n2n.graph.graph import Graph
from n2n.oracle.checks import check_budget, check_fixed
from n2n.utils.progress import track
from n2n.utils.statistics import mean_and_error
from n2n.utils.strict import as_integer


def entropy_grid(
    graph: Graph | str,
    alphas_z: Sequence[float],
    alphas_x: Sequence[float],
    *,
    seeds: Sequence[int] = range(4),
    sequences: int = 64,
    length: int = 64,
) -> pd.DataFrame:
    """The oracle's mean loss at every pair of concentrations, on common random numbers.

    All cells use kernels of the same seeds and sequences of the same indices, so that differences between cells are
    less noisy than with independent random numbers.

    Args:
        graph: a graph or the name of a preset, with at least one latent that is not frozen. Only its concentrations are
            replaced.
        alphas_z: concentrations of all latents.
        alphas_x: concentrations of the observed node.
        seeds: seeds of the processes that are averaged over, at least two different ones.
        sequences: sequences of each process, at least 2.
        length: tokens in a sequence, at least 2.

    Returns:
        A row for each pair: ``alpha_z``, ``alpha_x``, ``entropy`` (nats per token, the mean over processes),
        ``standard_error`` (over processes), ``lowest`` and ``highest`` (over processes), ``processes``. The frame's
        ``attrs`` hold ``graph``, its name; ``vocab_size``; and ``given``, the graph's own concentrations
        ``(alpha_z, alpha_x)``, or None if its latents have several.

    Raises:
        ValueError: if the preset is unknown, the graph has no such latent, kernels are redrawn for every sequence, a
            node rejects a concentration, or a number is out of range.
    """
    graph, seeds = graph_of(graph), several_seeds("seeds", seeds)
    _check_grid(graph, sequences, length)
    cells = [(z, x, _with_both(graph, z, x)) for z, x in product(alphas_z, alphas_x)]  # validates all of them first
    if not cells:
        raise ValueError(f"saw {len(alphas_z)} alphas_z and {len(alphas_x)} alphas_x; at least one of each is needed")
    grid = pd.DataFrame(
        [
            {"alpha_z": z, "alpha_x": x, **_row(changed, seeds, sequences, length)}
            for z, x, changed in track(cells, "point")
        ]
    )
    grid.attrs = {"graph": graph.name or "graph", "vocab_size": graph.vocab_size, "given": _own_alphas(graph)}
    return grid


def _row(graph: Graph, seeds: list[int], sequences: int, length: int) -> dict[str, float]:
    means, _ = entropies_by_seed(graph, seeds, sequences, length)
    mean, error = mean_and_error(means)
    spread = {"lowest": means.min(), "highest": means.max(), "processes": len(means)}
    return {"entropy": mean, "standard_error": error, **spread}


def _own_alphas(graph: Graph) -> tuple[float, float] | None:
    """``(alpha_z, alpha_x)``, or None if the latents have different concentrations."""
    alphas_z = {node.alpha for node in graph.latents if not node.frozen}
    return (alphas_z.pop(), graph.observed.alpha) if len(alphas_z) == 1 else None


def _with_both(graph: Graph, alpha_z: float, alpha_x: float) -> Graph:
    return with_alphas(graph, {node.name: alpha_x if node.observed else alpha_z for node in graph.nodes})


def _check_grid(graph: Graph, sequences: int, length: int) -> None:
    if not graph.latents:
        raise ValueError("graph: saw no latent node; alphas_z are concentrations of latents")
    if len(graph.frozen_latents) == len(graph.latents):
        raise ValueError("graph: all latents are frozen (stickiness 1), so alphas_z would have no effect")
    as_integer("sequences", sequences, 2)
    as_integer("length", length, 2)
    check_fixed(graph)
    check_budget(graph)
