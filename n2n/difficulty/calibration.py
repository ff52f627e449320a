"""Graphs brought to equal difficulty: the concentration at which the entropy reaches a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from n2n.difficulty.entropies import entropies_by_seed
from n2n.graph.by_name import graphs_by_name
from n2n.graph.graph import Graph
from n2n.oracle.checks import check_budget, check_fixed
from n2n.utils.progress import track
from n2n.utils.statistics import mean_and_error, mean_interval, student_quantile
from n2n.utils.strict import as_integer, as_positive, short_repr, unknown

LOWEST, HIGHEST = 1e-4, 1e3  # concentrations between which the target is looked for
STEPS = 30  # halvings of that interval, on a logarithmic scale


@dataclass(frozen=True, eq=False)
class Calibration:
    """A graph at a given difficulty.

    Attributes:
        graph: the graph with the concentration found.
        alpha: that concentration.
        entropy: the mean oracle loss there, nats per token, over the processes and sequences that were asked for.
        standard_error: of ``entropy`` over processes: how far it may lie from the mean over all processes of that
            concentration. Nan of a single process.
        spread: the standard deviation over processes, nats per token: how far a single one may lie. Nan of a single
            process.
        fresh: a 95% interval (Student's t) for the mean loss of as many other processes of that concentration.
        by_seed: ``(seeds,)``, the loss of each process.
    """

    graph: Graph
    alpha: float
    entropy: float
    standard_error: float
    spread: float
    fresh: tuple[float, float]
    by_seed: np.ndarray = field(repr=False)


def calibrate(
    graph: Graph,
    target: float,
    nodes: str | Sequence[str],
    *,
    length: int = 256,
    seeds: int | Sequence[int] = range(16),
    sequences: int = 64,
    tolerance: float = 0.01,
) -> Calibration:
    """The concentration of ``nodes`` at which the oracle's mean loss reaches a target.

    Bisection on common random numbers: every concentration is judged on kernels of the same seeds and on sequences of
    the same indices, by the entropies of the oracle's predictives. The loss is a mean over several processes, since
    that of one may lie far from what its concentrations make of the next. ``tolerance`` is how well these processes
    are brought to the target; how well others are, ``fresh`` says, and it is several times wider.

    Args:
        graph: whose other concentrations stay as they are.
        target: nats per token.
        nodes: a node's name, or several names that share the concentration looked for.
        length: tokens in a sequence, at least 2.
        seeds: of the processes that are averaged over, none of them twice, or a single one.
        sequences: of each process, at least 2.
        tolerance: how far from the target the loss may lie, nats per token.

    Raises:
        ValueError: an unknown node, a number out of range, a target out of reach (the message gives the interval that
            can be reached), or a loss that jumps over it because there are too few ``seeds``.
    """
    if not isinstance(graph, Graph):
        raise ValueError(f"graph: saw a {type(graph).__name__}; a Graph is needed")
    names, seeds = _listed("nodes", nodes), _listed("seeds", seeds)
    _refuse(graph, target, names, length, seeds, sequences, tolerance)

    def judge(alpha: float) -> Calibration:
        return _judged(with_alphas(graph, dict.fromkeys(names, alpha)), alpha, length, seeds, sequences)

    low, high = judge(LOWEST), judge(HIGHEST)
    if not low.entropy - tolerance <= target <= high.entropy + tolerance:
        raise ValueError(
            f"target: saw {target:g} nats per token; concentrations of {names} from {LOWEST:g} to {HIGHEST:g} reach "
            f"{low.entropy:.4f} to {high.entropy:.4f}"
        )
    for _ in track(range(STEPS), "concentration"):
        best = min(low, high, key=lambda found: abs(found.entropy - target))
        if abs(best.entropy - target) <= tolerance:
            return best
        middle = judge(math.sqrt(low.alpha * high.alpha))
        low, high = (middle, high) if middle.entropy < target else (low, middle)
    raise ValueError(
        f"tolerance: saw {tolerance:g}; near alpha = {low.alpha:.6g} the entropy jumps from {low.entropy:.4f} to "
        f"{high.entropy:.4f}, and more seeds than {len(seeds)} would smooth it"
    )


def _listed(what: str, values) -> list:
    """One or several values as a list, which may not be empty."""
    listed = [values] if isinstance(values, str | int) or not isinstance(values, Iterable) else list(values)
    if not listed:
        raise ValueError(f"{what}: saw none; at least one is needed")
    return listed


def different_seeds(what: str, seeds: Iterable[int]) -> list[int]:
    """Seeds as whole numbers, none of them twice: a process that counts twice makes a standard error too small."""
    seeds = [as_integer(what, seed, 0) for seed in seeds]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{what}: saw {short_repr(seeds)}; no seed may be there twice")
    return seeds


def _refuse(graph: Graph, target: float, names: list[str], length, seeds, sequences, tolerance: float) -> None:
    for name in names:
        if name not in graph.names:
            raise ValueError(unknown("node", name, graph.names))
    for what, value in (("target", target), ("tolerance", tolerance)):
        as_positive(what, value, "nats per token")
    different_seeds("seeds", seeds)
    as_integer("length", length, 2)
    as_integer("sequences", sequences, 2)
    check_fixed(graph)
    check_budget(graph)


def _judged(graph: Graph, alpha: float, length: int, seeds: Sequence[int], sequences: int) -> Calibration:
    means, _ = entropies_by_seed(graph, seeds, sequences, length)
    mean, count = float(means.mean()), len(means)
    if count == 1:
        return Calibration(graph, alpha, mean, math.nan, math.nan, (math.nan, math.nan), means)
    error = float(mean_and_error(means)[1])
    half = student_quantile(count - 1) * math.sqrt(2) * error  # the mean of the others varies as much as this one
    return Calibration(graph, alpha, mean, error, math.sqrt(count) * error, (mean - half, mean + half), means)


def with_alphas(graph: Graph, alphas: Mapping[str, float]) -> Graph:
    """The graph with other concentrations of the nodes named."""
    nodes = [
        node.model_copy(update={"alpha": alphas[node.name]}) if node.name in alphas else node for node in graph.nodes
    ]
    return graph.model_copy(update={"nodes": nodes})


def several_seeds(what: str, seeds: Sequence[int], least: int) -> list[int]:
    seeds = different_seeds(what, seeds)
    if len(seeds) < least:
        raise ValueError(f"{what}: saw {short_repr(seeds)}; a standard error over processes needs at least 2")
    return seeds


@dataclass(frozen=True, eq=False)
class EqualDifficulty:
    """Several graphs before and after they were brought to one difficulty.

    Attributes:
        target: nats per token.
        table: a row for each graph: ``alpha given`` of the observed node and ``entropy given``; the ``alpha`` found,
            the ``entropy`` there, a mean over the processes of the search, its ``standard_error`` over these, and
            ``low`` to ``high``, its 95% interval by Student's t; and ``fresh``, ``fresh_se``, ``fresh_low`` and
            ``fresh_high``, the same of processes that had no part in the search. Nats per token.
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
    seeds: Sequence[int] = range(16),
    fresh: Sequence[int] = range(16, 32),
    sequences: int = 64,
    length: int = 64,
) -> EqualDifficulty:
    """Bring graphs to one difficulty by the concentration of the observed node, and judge it on other processes.

    Args:
        graphs: or presets' names.
        target: nats per token.
        seeds: of the processes that ``n2n.calibrate`` averages over, two at least.
        fresh: seeds of the processes that it is then judged by, two at least and none of ``seeds``.
        sequences, length: of each process.

    Raises:
        ValueError: as ``n2n.calibrate`` and ``n2n.graph.by_name.named``, or a seed that is there twice.
    """
    graphs, seeds, fresh = graphs_by_name(graphs), several_seeds("seeds", seeds, 2), several_seeds("fresh", fresh, 2)
    if set(seeds) & set(fresh):
        raise ValueError(
            f"fresh: saw {short_repr(fresh)} beside seeds {short_repr(seeds)}; none of these is a fresh one"
        )
    for graph in graphs.values():
        check_fixed(graph)
    rows, processes = {}, []
    for name, graph in graphs.items():
        found = calibrate(graph, target, graph.observed.name, length=length, seeds=seeds, sequences=sequences)
        before, _ = entropies_by_seed(graph, seeds, sequences, length)
        means, errors = entropies_by_seed(found.graph, fresh, sequences, length)
        given = {"alpha given": graph.observed.alpha, "entropy given": float(np.mean(before)), "alpha": found.alpha}
        searched = _with_interval(found.by_seed, "entropy", "standard_error", "low", "high")
        rows[name] = {**given, **searched, **_with_interval(means, "fresh", "fresh_se", "fresh_low", "fresh_high")}
        processes.append(pd.DataFrame({"graph": name, "seed": fresh, "entropy": means, "standard_error": errors}))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("graph")
    return EqualDifficulty(target, table, pd.concat(processes, ignore_index=True), len(seeds))


def _with_interval(means: np.ndarray, *names: str) -> dict[str, float]:
    """Mean, standard error and 95% interval over processes, by these names."""
    return dict(zip(names, mean_interval(means), strict=True))
