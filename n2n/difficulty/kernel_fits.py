"""The ideal learner: it knows the graph, and fits the kernels to sequences by maximum a posteriori EM."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from torch import Tensor

from n2n.difficulty.kernel_starts import State, random_rows, rows_of_process
from n2n.difficulty.kernel_updates import check_fitted
from n2n.graph.graph import Graph
from n2n.oracle.checks import check_budget, check_fixed, check_tokens
from n2n.oracle.learned.expected_counts import history_copies
from n2n.process.process import Process
from n2n.utils.progress import track
from n2n.utils.strict import as_integer, as_positive, short_repr


@dataclass(frozen=True, eq=False)
class KernelFit:
    """Kernels fitted to sequences; see ``fit_kernels``.

    Attributes:
        process: the process with the fitted kernels, for ``n2n.filter`` and all else that takes a process.
        log_likelihood: ``(iterations + 1,)``, ``log P(tokens)`` at the start and after each iteration, nats, summed
            over sequences.
        objective: ``(iterations + 1,)``, ``log_likelihood`` plus the logarithm of the prior in the basis of the
            softmax, ``alpha * sum(log p)``, nats. It never falls.
        iterations: number of iterations from the start that was continued.
        converged: whether an iteration gained less than the tolerance; otherwise ``max_iterations`` ended the fit.
        starts: a row for each start, by its index (one row, for a given start): ``iterations``, and the
            ``log_likelihood`` and the ``objective`` after them, nats.
        start: index of the start that was continued.
    """

    process: Process
    log_likelihood: np.ndarray = field(repr=False)
    objective: np.ndarray = field(repr=False)
    iterations: int
    converged: bool
    starts: pd.DataFrame = field(repr=False)
    start: int


def fit_kernels(
    graph: Graph,
    tokens,
    *,
    start: Process | None = None,
    starts: int = 8,
    trial: int = 10,
    seed: int = 0,
    tolerance: float = 0.1,
    max_iterations: int = 1000,
) -> KernelFit:
    """Fit the kernels of a graph to sequences by expectation-maximisation, with the graph's own Dirichlet priors.

    The result is what an ideal learner that knows the graph, but not its kernels, can know after these sequences. The
    E-step is exact, on the factored state (``n2n.oracle.learned.expected_counts``). In the M-step a row of a full
    kernel becomes (expected counts + alpha), normalised. This is the maximum a posteriori in the basis of the softmax
    (MacKay 1998), not on the simplex, where it would be counts + alpha - 1 and not exist for alpha < 1. It is also the
    predictive distribution of the next draw from the row. Without latents this is the exact posterior mean, after one
    iteration.

    - A product kernel's factors climb towards the maximum by L-BFGS.
    - Stickiness is known; whether a state that stayed was drawn is another latent variable.
    - Modes "slow" and "dead" are known: the entry on the diagonal, or that of state 0, stays the largest of its row.
    - The initial law "stationary" follows the kernels, but its part in the likelihood does not affect the M-step. The
      fit ends before an iteration that would lower the objective.

    EM finds a local maximum. Each random start runs for a short trial, and the one with the largest objective goes on.
    A fit from the true process measures what remains to be *counted* if the maximum need not be *found*; a fit from
    random starts may end below it, or above.

    Args:
        graph: the graph; the alpha of each node is that of the prior.
        tokens: ``(batch, T)`` integers, T at least 2, as for ``n2n.filter``.
        start: a process on a graph with the same kernel shapes, such as the true one, from whose kernels the only
            start begins. None for random starts.
        starts: number of random starts.
        trial: iterations of each random start before one is chosen.
        seed: draws the random starts, and is the seed of the result.
        tolerance: the fit ends when an iteration gains less, nats in all.
        max_iterations: iterations after which the fit ends in any case.

    Raises:
        ValueError: if the tokens are wrong as for ``n2n.filter``, kernels are redrawn for every sequence, a latent is
            frozen, a product kernel has mode "slow" or "dead", the start has kernels of other shapes or cannot emit a
            sequence, a number is out of range, or one sequence exceeds a memory budget of 1 GiB.

    Sources: Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via the EM algorithm", J. R. Stat. Soc.
    B 39 (1977); MacKay, "Choice of basis for Laplace approximation", Machine Learning 33 (1998).
    """
    tokens = _checked(graph, tokens)
    starts, trial = as_integer("starts", starts, 1), as_integer("trial", trial, 0)
    seed, max_iterations = as_integer("seed", seed, 0), as_integer("max_iterations", max_iterations, 1)
    as_positive("tolerance", tolerance, "nats")
    if start is not None:
        _check_start(graph, start)
        tried = [State.of(graph, rows_of_process(graph, start), tokens, seed)]
    else:
        limit = min(trial, max_iterations)
        tried = [
            _climb(State.of(graph, random_rows(graph, seed, index), tokens, seed), tokens, tolerance, limit)[0]
            for index in track(range(starts), "start")
        ]
    table = pd.DataFrame([_row(state) for state in tried]).rename_axis("start")
    best = int(np.argmax(table["objective"])) if start is None else 0
    state, converged = _climb(tried[best], tokens, tolerance, max_iterations)
    objective = np.array(state.objective)
    return KernelFit(
        state.process, np.array(state.log_likelihood), objective, len(objective) - 1, converged, table, best
    )


def _checked(graph: Graph, tokens) -> Tensor:
    """The tokens as a tensor, after checks of both arguments."""
    if not isinstance(graph, Graph):
        raise ValueError(f"graph: saw {short_repr(graph)}; a Graph is needed, such as n2n.Graph.preset('sparse')")
    check_fixed(graph)
    check_fitted(graph)
    tokens = check_tokens(Process(graph), tokens)
    check_budget(graph, copies=history_copies(graph, tokens.shape[1]))
    return tokens


def _check_start(graph: Graph, start: Process) -> None:
    if not isinstance(start, Process):
        raise ValueError(f"start: saw {short_repr(start)}; a Process is needed, or None for random starts")
    check_fixed(start.graph)
    shapes = {node.name: (*graph.sizes_seen(node), node.num_states) for node in graph.nodes}
    given = {name: table.shape for name, table in start.kernels.items()}
    if given != shapes:
        raise ValueError(f"start: saw kernels of shapes {given}; the graph needs {shapes}")


def _row(state: State) -> dict[str, float]:
    return {
        "iterations": len(state.objective) - 1,
        "log_likelihood": state.log_likelihood[-1],
        "objective": state.objective[-1],
    }


def _climb(state: State, tokens: Tensor, tolerance: float, max_iterations: int) -> tuple[State, bool]:
    """Iterate up to ``max_iterations`` in all; return also whether the last one gained less than the tolerance."""
    while len(state.objective) <= max_iterations:
        following = state.iterated(tokens)
        gain = following.objective[-1] - state.objective[-1]
        state = following if gain >= 0 else state
        if gain < tolerance:
            return state, True
    return state, False
