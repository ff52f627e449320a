"""Graphs of equal difficulty: find the concentration at which the entropy reaches a target.

The bisection is our own, because ``scipy.optimize`` stops when the concentration is accurate, whereas this stops as
soon as the entropy is within the tolerance: each evaluation runs a filter over many processes.
"""

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
from n2n.utils.statistics import mean_and_error, mean_interval, t_interval
from n2n.utils.strict import as_integer, as_positive, short_repr, unknown_name_message

MIN_ALPHA, MAX_ALPHA = 1e-4, 1e3  # the concentrations between which the search runs
MAX_STEPS = 30  # halvings of that interval, on a logarithmic scale


@dataclass(frozen=True, eq=False)
class Calibration:
    """A graph calibrated to a target entropy.

    Attributes:
        graph: the graph with the calibrated concentration.
        alpha: that concentration.
        entropy: the mean oracle loss there, nats per token, over the processes and sequences of the search.
        standard_error: standard error of ``entropy`` over processes, for the mean over all processes of that
            concentration. Nan for a single process.
        spread: standard deviation over processes, nats per token: how far a single process may lie from the mean. Nan
            for a single process.
        fresh: 95% interval (Student's t) for the mean loss of an equal number of other processes of that concentration.
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
    """Find the concentration of ``nodes`` at which the oracle's mean loss reaches a target.

    The search is a bisection on common random numbers: every concentration is evaluated with kernels of the same seeds
    and sequences of the same indices, by the entropies of the oracle's predictive distributions. The loss is a mean
    over several processes, because single processes of the same concentration differ widely. ``tolerance`` bounds the
    distance of these processes from the target; ``fresh`` covers other processes and is several times wider.

    Args:
        graph: the graph, whose other concentrations are kept.
        target: nats per token.
        nodes: the name of a node, or several names that share one concentration.
        length: tokens in a sequence, at least 2.
        seeds: a seed, or several different seeds, of the processes that are averaged over.
        sequences: sequences of each process, at least 2.
        tolerance: largest distance of the loss from the target, nats per token.

    Raises:
        ValueError: if a node is unknown or frozen, a number is out of range, the target is out of reach (the message
            gives the interval that can be reached), or the loss jumps over the target because there are too few
            ``seeds``.
    """
    if not isinstance(graph, Graph):
        raise ValueError(f"graph: saw a {type(graph).__name__}; a Graph is needed")
    names, seeds = _listed("nodes", nodes), _listed("seeds", seeds)
    _check_calibration(graph, target, names, length, seeds, sequences, tolerance)

    def evaluate(alpha: float) -> Calibration:
        return _calibration(with_alphas(graph, dict.fromkeys(names, alpha)), alpha, length, seeds, sequences)

    low, high = evaluate(MIN_ALPHA), evaluate(MAX_ALPHA)
    if not low.entropy - tolerance <= target <= high.entropy + tolerance:
        raise ValueError(
            f"target: saw {target:g} nats per token; concentrations of {names} from {MIN_ALPHA:g} to {MAX_ALPHA:g} "
            f"reach {low.entropy:.4f} to {high.entropy:.4f}"
        )
    for _ in track(range(MAX_STEPS), "concentration"):
        best = min(low, high, key=lambda end: abs(end.entropy - target))
        if abs(best.entropy - target) <= tolerance:
            return best
        middle = evaluate(math.sqrt(low.alpha * high.alpha))
        low, high = (middle, high) if middle.entropy < target else (low, middle)
    raise ValueError(
        f"tolerance: saw {tolerance:g}; near alpha = {low.alpha:.6g} the entropy jumps from {low.entropy:.4f} to "
        f"{high.entropy:.4f}, and more seeds than {len(seeds)} would smooth it"
    )


def _listed(what: str, values) -> list:
    """One or several values as a list that is not empty."""
    listed = [values] if isinstance(values, str | int) or not isinstance(values, Iterable) else list(values)
    if not listed:
        raise ValueError(f"{what}: saw none; at least one is needed")
    return listed


def different_seeds(what: str, seeds: Iterable[int]) -> list[int]:
    """Seeds as different whole numbers; a process that counts twice would make the standard error too small."""
    seeds = [as_integer(what, seed, 0) for seed in seeds]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{what}: saw {short_repr(seeds)}; seeds must be different")
    return seeds


def _check_calibration(
    graph: Graph, target: float, names: list[str], length, seeds, sequences, tolerance: float
) -> None:
    for name in names:
        if name not in graph.names:
            raise ValueError(unknown_name_message("node", name, graph.names))
        if graph[name].frozen:
            raise ValueError(f"nodes: {name} is frozen (stickiness 1), so its concentration has no effect")
    for what, value in (("target", target), ("tolerance", tolerance)):
        as_positive(what, value, "nats per token")
    different_seeds("seeds", seeds)
    as_integer("length", length, 2)
    as_integer("sequences", sequences, 2)
    check_fixed(graph)
    check_budget(graph)


def _calibration(graph: Graph, alpha: float, length: int, seeds: Sequence[int], sequences: int) -> Calibration:
    means, _ = entropies_by_seed(graph, seeds, sequences, length)
    mean, count = float(means.mean()), len(means)
    if count == 1:
        return Calibration(graph, alpha, mean, math.nan, math.nan, (math.nan, math.nan), means)
    error = float(mean_and_error(means)[1])
    fresh = t_interval(mean, math.sqrt(2) * error, count)  # the mean of other processes has the same variance
    return Calibration(graph, alpha, mean, error, math.sqrt(count) * error, fresh, means)


def with_alphas(graph: Graph, alphas: Mapping[str, float]) -> Graph:
    """The graph with the concentrations ``{name: alpha}`` instead of its own."""
    nodes = [
        node.model_copy(update={"alpha": alphas[node.name]}) if node.name in alphas else node for node in graph.nodes
    ]
    return graph.model_copy(update={"nodes": nodes})


def several_seeds(what: str, seeds: Sequence[int]) -> list[int]:
    """Return at least two different seeds, which a standard error over processes needs."""
    seeds = different_seeds(what, seeds)
    if len(seeds) < 2:
        raise ValueError(f"{what}: saw {short_repr(seeds)}; a standard error over processes needs at least 2")
    return seeds


@dataclass(frozen=True, eq=False)
class EqualDifficulty:
    """Several graphs before and after calibration to one entropy.

    Attributes:
        target: nats per token.
        table: a row for each graph. ``alpha given`` and ``entropy given`` are the original concentration of the
            observed node and the entropy there. ``alpha`` is the calibrated concentration, ``entropy`` the mean over
            the processes of the search, with its ``standard_error`` over processes and its 95% interval by Student's t,
            ``low`` to ``high``. ``fresh``, ``fresh_standard_error``, ``fresh_low`` and ``fresh_high`` are the same for
            processes that the search did not use. Nats per token.
        processes: a row for each graph and each process that the search did not use: ``graph``, ``seed``, ``entropy``,
            and its ``standard_error`` over sequences.
        searched: number of processes that the search averaged over.
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
    """Calibrate graphs to one entropy by the concentration of the observed node, and check it on other processes.

    Args:
        graphs: graphs or names of presets.
        target: nats per token.
        seeds: seeds of the processes that ``n2n.calibrate`` averages over, at least two.
        fresh: seeds of the processes that check the result, at least two and none of ``seeds``.
        sequences: sequences of each process, at least 2.
        length: tokens in a sequence, at least 2.

    Raises:
        ValueError: as ``n2n.calibrate`` and ``n2n.graph.by_name.graphs_by_name``, or if a seed occurs twice.
    """
    graphs, seeds, fresh = graphs_by_name(graphs), several_seeds("seeds", seeds), several_seeds("fresh", fresh)
    if set(seeds) & set(fresh):
        raise ValueError(f"fresh: saw {short_repr(fresh)} and seeds {short_repr(seeds)}; they must not share a seed")
    for graph in graphs.values():
        check_fixed(graph)
    rows, processes = {}, []
    for name, graph in graphs.items():
        calibration = calibrate(graph, target, graph.observed.name, length=length, seeds=seeds, sequences=sequences)
        before, _ = entropies_by_seed(graph, seeds, sequences, length)
        means, errors = entropies_by_seed(calibration.graph, fresh, sequences, length)
        rows[name] = {
            "alpha given": graph.observed.alpha,
            "entropy given": float(np.mean(before)),
            "alpha": calibration.alpha,
            **_with_interval(calibration.by_seed, "entropy", "standard_error", "low", "high"),
            **_with_interval(means, "fresh", "fresh_standard_error", "fresh_low", "fresh_high"),
        }
        processes.append(pd.DataFrame({"graph": name, "seed": fresh, "entropy": means, "standard_error": errors}))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("graph")
    return EqualDifficulty(target, table, pd.concat(processes, ignore_index=True), len(seeds))


def _with_interval(means: np.ndarray, *columns: str) -> dict[str, float]:
    """Mean, standard error and the ends of the 95% interval over processes, under these column names."""
    return dict(zip(columns, mean_interval(means), strict=True))
