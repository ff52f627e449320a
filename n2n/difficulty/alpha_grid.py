"""Difficulty over a plane of concentrations, and graphs brought to one difficulty."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pandas as pd

from n2n.difficulty.calibration import several_seeds, with_alphas
from n2n.difficulty.entropies import entropies_by_seed
from n2n.graph.by_name import as_graph
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

    All cells have kernels of the same seeds and sequences of the same indices, so that differences between cells are
    less noisy than on random numbers of their own.

    Args:
        graph: or a preset's name; with a latent at least. Concentrations are replaced, all else stays as it is.
        alphas_z: of all latents.
        alphas_x: of the observed node.
        seeds: of the processes that are averaged over, two different ones at least.
        sequences, length: of each process, two at least.

    Returns:
        a row for each pair: ``alpha_z``, ``alpha_x``, ``entropy`` (nats per token, the mean over processes),
        ``standard_error`` (over processes), ``lowest`` and ``highest`` (of the processes), ``processes``. The frame's
        ``attrs`` hold ``graph``, its name; ``vocab_size``; and ``given``, the graph's own concentrations
        ``(alpha_z, alpha_x)``, or None where its latents have several.

    Raises:
        ValueError: an unknown preset, no latent, kernels redrawn for every sequence, a concentration that a node
            refuses, or a number out of range.
    """
    graph, seeds = as_graph(graph), several_seeds("seeds", seeds, 2)
    _refuse(graph, sequences, length)
    cells = [(z, x, _with_both(graph, z, x)) for z, x in product(alphas_z, alphas_x)]  # all are checked before any work
    if not cells:
        raise ValueError(f"saw {len(alphas_z)} alphas_z and {len(alphas_x)} alphas_x; at least one of each is needed")
    asked = (seeds, sequences, length)
    found = pd.DataFrame(
        [{"alpha_z": z, "alpha_x": x, **_measured(changed, *asked)} for z, x, changed in track(cells, "point")]
    )
    found.attrs = {"graph": graph.name or "graph", "vocab_size": graph.vocab_size, "given": _given(graph)}
    return found


def _measured(graph: Graph, seeds: list[int], sequences: int, length: int) -> dict[str, float]:
    means, _ = entropies_by_seed(graph, seeds, sequences, length)
    mean, error = mean_and_error(means)
    spread = {"lowest": means.min(), "highest": means.max(), "processes": len(means)}
    return {"entropy": mean, "standard_error": error, **spread}


def _given(graph: Graph) -> tuple[float, float] | None:
    own = {node.alpha for node in graph.latents}
    return (own.pop(), graph.observed.alpha) if len(own) == 1 else None


def _with_both(graph: Graph, alpha_z: float, alpha_x: float) -> Graph:
    return with_alphas(graph, {node.name: alpha_x if node.observed else alpha_z for node in graph.nodes})


def _refuse(graph: Graph, sequences: int, length: int) -> None:
    if not graph.latents:
        raise ValueError("graph: saw no latent node; alphas_z are concentrations of latents")
    as_integer("sequences", sequences, 2)
    as_integer("length", length, 2)
    check_fixed(graph)
    check_budget(graph)
