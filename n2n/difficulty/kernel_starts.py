"""States of a fit of kernels: where it starts, and how an iteration moves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from n2n.difficulty.calibration import with_alphas
from n2n.difficulty.kernel_updates import Rows, rows_of
from n2n.graph.graph import Graph
from n2n.oracle.learned.expected_counts import expected_counts
from n2n.process.process import Process
from n2n.utils.philox import derive_key

START_ALPHA = 1.0  # of all nodes in random starts; kernels near uniform start EM near a saddle point


@dataclass(frozen=True, eq=False)
class State:
    """The kernels after some iterations, and their expected counts.

    Attributes:
        rows: what is fitted of each node.
        process: the process of these kernels.
        counts: expected counts of each kernel given the tokens.
        log_likelihood, objective: of these and all earlier kernels, nats.
    """

    rows: dict[str, Rows]
    process: Process = field(repr=False)
    counts: Mapping[str, np.ndarray] = field(repr=False)
    log_likelihood: tuple[float, ...]
    objective: tuple[float, ...]

    @classmethod
    def of(cls, graph: Graph, rows: dict[str, Rows], tokens: Tensor, seed: int, before: State | None = None) -> State:
        """Count what the kernels did.

        Raises:
            ValueError: if a sequence has probability 0.
        """
        process = Process.from_kernels(graph, {name: of_node.kernel for name, of_node in rows.items()}, seed)
        counted = expected_counts(process, tokens)
        impossible = np.flatnonzero(~np.isfinite(counted.log_likelihood))
        if len(impossible):
            raise ValueError(f"start: sequence {impossible[0]} of the tokens has probability 0 under its kernels")
        log_likelihood = float(counted.log_likelihood.sum())
        objective = log_likelihood + sum(of_node.log_prior for of_node in rows.values())
        earlier = ((), ()) if before is None else (before.log_likelihood, before.objective)
        return cls(rows, process, counted.counts, (*earlier[0], log_likelihood), (*earlier[1], objective))

    def iterated(self, tokens: Tensor) -> State:
        """The state after an M-step and an E-step."""
        rows = {name: of_node.update(self.counts[name]) for name, of_node in self.rows.items()}
        return State.of(self.process.graph, rows, tokens, self.process.seed, self)


def rows_of_process(graph: Graph, process: Process) -> dict[str, Rows]:
    """What is fitted of each node's kernel in a process on the graph."""
    return {node.name: rows_of(graph, node, process.kernel(node.name)) for node in graph.nodes}


def random_rows(graph: Graph, seed: int, index: int) -> dict[str, Rows]:
    """Random start ``index`` of a seed: kernels drawn as the graph says, but with all concentrations 1."""
    high, low = derive_key("start of a fit", seed, index)
    vague = with_alphas(graph, dict.fromkeys(graph.names, START_ALPHA))
    return rows_of_process(graph, Process(vague, (int(high) << 32 | int(low)) >> 2))
