"""Difficulty over a plane of concentrations, and graphs brought to one difficulty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from n2n.calibration import calibrate, with_alphas
from n2n.checks import check_budget, check_fixed
from n2n.compressed import PowersOfTwo
from n2n.difficulty import entropies_by_seed, mean_and_error
from n2n.fields import GraphOrPreset, preset
from n2n.graph import Graph
from n2n.strict import Count, Ordered, Positive, Strict, whole

Several = Annotated[Count, Field(ge=2)]
Alphas = Annotated[Ordered[Positive], Field(min_length=2)]


class DifficultyConfig(Strict):
    """How hard processes are: the questions of ``notebooks/difficulty.ipynb``.

    Args:
        graph: whose concentrations are varied.
        alphas_z, alphas_x: concentrations of the latents and of the observed node, two at least of each.
        graphs: brought to one difficulty.
        target: that difficulty, nats per token.
        seeds: processes of each graph, by the seeds from 0.
        sequences: of each process.
        length: tokens in a sequence.
        tokens: numbers of tokens that are compressed, as exponents of 2.

    Raises:
        ValueError: one line for each wrong field.
    """

    graph: GraphOrPreset = Field(default="four_chains", validate_default=True)
    alphas_z: Alphas = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    alphas_x: Alphas = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    graphs: Annotated[Ordered[GraphOrPreset], Field(min_length=1)] = Field(
        default=("two_chains", "four_chains", "sparse"), validate_default=True
    )
    target: Positive = 1.5
    seeds: Several = 4
    sequences: Several = 64
    length: Several = 64
    tokens: PowersOfTwo = (10, 12, 14, 16, 18)


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

    All cells have kernels of the same seeds and sequences of the same indices, so that the surface is as smooth as the
    kernels are in their concentration.

    Args:
        graph: or a preset's name; with a latent at least. Concentrations are replaced, all else stays as it is.
        alphas_z: of all latents.
        alphas_x: of the observed node.
        seeds: of the processes that are averaged over, two at least.
        sequences: of each process, two at least.
        length: tokens in a sequence, two at least.

    Returns:
        a row for each pair: ``alpha_z``, ``alpha_x``, ``entropy`` (nats per token, the mean over processes),
        ``standard_error`` (over processes), ``lowest`` and ``highest`` (of the processes), ``processes``. The frame's
        ``attrs`` hold ``graph``, its name; ``vocab_size``; and ``given``, the graph's own concentrations
        ``(alpha_z, alpha_x)``, or None where its latents have several.

    Raises:
        ValueError: an unknown preset, no latent, kernels redrawn for every sequence, a concentration that a node
            refuses, or a number out of range.
    """
    graph, seeds = preset(graph), [whole("seeds", seed, 0) for seed in seeds]
    _refuse(graph, seeds, sequences, length)
    cells = [(z, x, _with_both(graph, z, x)) for z, x in product(alphas_z, alphas_x)]  # all are checked before any work
    if not cells:
        raise ValueError(f"saw {len(alphas_z)} alphas_z and {len(alphas_x)} alphas_x; at least one of each is needed")
    rows = []
    for alpha_z, alpha_x, changed in cells:
        means, _ = entropies_by_seed(changed, seeds, sequences, length)
        mean, error = mean_and_error(means)
        spread = {"lowest": means.min(), "highest": means.max(), "processes": len(seeds)}
        rows.append({"alpha_z": alpha_z, "alpha_x": alpha_x, "entropy": mean, "standard_error": error, **spread})
    found = pd.DataFrame(rows)
    own = {node.alpha for node in graph.latents}
    given = (own.pop(), graph.observed.alpha) if len(own) == 1 else None
    found.attrs = {"graph": graph.name or "graph", "vocab_size": graph.vocab_size, "given": given}
    return found


def _with_both(graph: Graph, alpha_z: float, alpha_x: float) -> Graph:
    return with_alphas(graph, {node.name: alpha_x if node.observed else alpha_z for node in graph.nodes})


def _refuse(graph: Graph, seeds: list[int], sequences: int, length: int) -> None:
    if len(seeds) < 2:
        raise ValueError(f"seeds: saw {seeds}; a standard error over processes needs at least 2")
    if not graph.latents:
        raise ValueError("graph: saw no latent node; alphas_z are concentrations of latents")
    whole("sequences", sequences, 2)
    whole("length", length, 2)
    check_fixed(graph)
    check_budget(graph)


@dataclass(frozen=True, eq=False)
class EqualDifficulty:
    """Several graphs before and after they were brought to one difficulty.

    Attributes:
        target: nats per token.
        table: a row for each graph: ``alpha given`` of the observed node and ``entropy given``; the ``alpha`` found,
            the ``entropy`` there and its ``standard_error`` (over sequences, the processes being as they are); and
            ``fresh``, the mean entropy of processes that had no part in the search. Nats per token.
        processes: a row for each graph and each of those processes: ``graph``, ``seed``, ``entropy``, and its
            ``standard_error`` over sequences.
        searched: processes that the search averaged over.
    """

    target: float
    table: pd.DataFrame
    processes: pd.DataFrame
    searched: int


def equal_difficulty(
    graphs: Iterable[Graph | str],
    target: float,
    *,
    seeds: Sequence[int] = range(4),
    fresh: Sequence[int] = range(4, 12),
    sequences: int = 64,
    length: int = 64,
) -> EqualDifficulty:
    """Bring graphs to one difficulty by the concentration of the observed node, and judge it on other processes.

    Args:
        graphs: or presets' names.
        target: nats per token.
        seeds: of the processes that ``n2n.calibrate`` averages over.
        fresh: seeds of the processes that it is then judged by, none of ``seeds``.
        sequences, length: of each process.

    Raises:
        ValueError: as ``n2n.calibrate``, two graphs of one name, or a seed that is both searched with and fresh.
    """
    graphs, both = [preset(graph) for graph in graphs], sorted(set(seeds) & set(fresh))
    names = [graph.name or f"graph {i}" for i, graph in enumerate(graphs, start=1)]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"graphs: saw the names {names}; at least one is needed, and no name twice")
    if both or len(fresh) == 0:
        raise ValueError(f"fresh: saw {list(fresh)} beside seeds {list(seeds)}; at least one other seed is needed")
    for graph in graphs:
        check_fixed(graph)
    rows, processes = {}, []
    for name, graph in zip(names, graphs, strict=True):
        asked = {"length": length, "seeds": seeds, "sequences": sequences}
        found = calibrate(graph, target, graph.observed.name, **asked)
        before, _ = entropies_by_seed(graph, seeds, sequences, length)
        means, errors = entropies_by_seed(found.graph, fresh, sequences, length)
        given = {"alpha given": graph.observed.alpha, "entropy given": float(np.mean(before)), "alpha": found.alpha}
        rows[name] = {**given, "entropy": found.entropy, "standard_error": found.standard_error, "fresh": means.mean()}
        processes.append(pd.DataFrame({"graph": name, "seed": fresh, "entropy": means, "standard_error": errors}))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("graph")
    return EqualDifficulty(target, table, pd.concat(processes, ignore_index=True), len(seeds))
