"""Expected counts of what each kernel did, given the tokens: the E-step of expectation-maximisation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.checks import MEMORY_BUDGET, check_tables, rows_at_once
from n2n.oracle.forward import Oracle
from n2n.oracle.transition import Feedback, plan
from n2n.process.initial_law import shows_latents_first
from n2n.process.process import Process
from n2n.utils.threads import torch_threads

STEP_COPIES = 6  # beliefs alive at once within a step, in addition to those stored for each token and each move


@dataclass(frozen=True, eq=False)
class ExpectedCounts:
    """The posterior expectation of how often each kernel drew each value, summed over sequences.

    Attributes:
        counts: ``{name: (own previous state, parents.., new state)}``, with the axes of ``process.kernel``. If X's
            kernel also draws x_0 (a uniform start of an X that does not see itself), x_0 is counted.
        log_likelihood: ``(batch,)``, log of the sum over latent paths of P(path, tokens) to the ``power``, nats.
    """

    counts: dict[str, np.ndarray]
    log_likelihood: np.ndarray


def history_copies(graph: Graph, length: int) -> int:
    """Beliefs of one sequence of this length that are in memory at once."""
    return length + len(plan(graph)) + STEP_COPIES


@torch_threads(1)
def expected_counts(
    process: Process, tokens: Tensor, *, power: float = 1.0, memory_budget: int = MEMORY_BUDGET
) -> ExpectedCounts:
    """Count in expectation what each kernel drew, by a forward and a backward pass over the factored state.

    The backward pass takes each message back through one move at a time, so the counts of a node come from the belief
    before its move and the message after it; the S x S matrix is never built.

    Args:
        process: with fixed kernels.
        tokens: ``(batch, T)`` as from ``check_tokens``.
        power: exponent of all probabilities. Below 1 the posterior of the latent paths is flatter, as deterministic
            annealing needs (Ueda and Nakano, "Deterministic annealing EM algorithm", Neural Networks 11, 1998).
        memory_budget: bytes. The batch is split to stay within it.

    Raises:
        ValueError: if kernels are redrawn for every sequence, or the tables and the beliefs of one sequence exceed the
            budget.

    Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), section III.C, on a factored state.
    """
    return count_torch(process, tokens, power, memory_budget)


def count_torch(process: Process, tokens: Tensor, power: float, memory_budget: int = MEMORY_BUDGET) -> ExpectedCounts:
    """Count in torch, in parts of the batch; see ``expected_counts``."""
    dtype, copies = torch.float64, history_copies(process.graph, tokens.shape[1])
    check_tables(process.graph, dtype, memory_budget, copies)
    oracle = _tempered(Oracle.of(process, tokens.device, dtype, memory_budget, copies), power)
    sums = _Sums(oracle)
    rows = rows_at_once(process.graph, memory_budget, tokens.device, dtype, copies)
    log_likelihood = torch.cat([sums.add(part) for part in tokens.split(rows)])
    return ExpectedCounts(sums.counts(), log_likelihood.cpu().numpy())


def _tempered(oracle: Oracle, power: float) -> Oracle:
    """All probabilities raised to a power; rows then no longer sum to 1, which the forward algorithm does not need."""
    return replace(
        oracle,
        steps=[replace(step, table=step.table**power) for step in oracle.steps],
        emission=replace(oracle.emission, rows=oracle.emission.rows**power),
        initial=None if oracle.initial is None else oracle.initial**power,
    )


class _Sums:
    """Sums over sequences and times.

    For each move, ``moves`` has sums of (belief before the move) * (message after it), which the move's table turns
    into expected counts. ``emitted`` has the sums of beliefs about X's parents for each previous token and token.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle, self.graph = oracle, oracle.process.graph
        self.moves = [torch.zeros_like(step.table.contiguous()) for step in oracle.steps]
        self.emitted = torch.zeros_like(oracle.emission.rows)

    def add(self, tokens: Tensor) -> Tensor:
        """Add the sums of ``tokens (batch, T)``; return the log likelihood of each sequence, ``(batch,)``."""
        emission = self.oracle.emission
        beliefs, evidences = zip(*((step.belief, step.evidence) for step in self.oracle.forward(tokens)), strict=True)
        message, smoothed = torch.ones_like(beliefs[-1]), beliefs[-1]
        for t in reversed(range(tokens.shape[1] - 1)):
            self._add_emitted(smoothed, tokens[:, t], tokens[:, t + 1])
            weighed = emission.weigh(message, next(emission.likelihoods(tokens[:, t : t + 2])))
            messages = [weighed]
            for step in reversed(self.oracle.steps):
                messages.append(step.move_back(messages[-1], tokens[:, t]))
            known = beliefs[t] >= torch.finfo(weighed.dtype).tiny  # elsewhere a message may grow without bound
            message = messages.pop().where(known, 0.0)
            smoothed = beliefs[t] * message
            total = smoothed.sum(0)
            self._add_moves(beliefs[t] / total, messages[::-1], tokens[:, t])
            smoothed, message = smoothed / total, message / total
        if shows_latents_first(self.graph):
            self._add_emitted(smoothed, tokens[:, 0], tokens[:, 0])
        return torch.stack(evidences).log().sum(0)

    def _add_emitted(self, smoothed: Tensor, previous: Tensor, tokens: Tensor) -> None:
        given, vocab_size = self.emitted.shape[:2]
        rows = tokens + (vocab_size * previous if given > 1 else 0)
        self.emitted.view(given * vocab_size, -1).index_add_(0, rows, self.oracle.emission.parents(smoothed).T)

    def _add_moves(self, belief: Tensor, messages: list[Tensor], previous: Tensor) -> None:
        """Add the products of the belief before each move, and the message ``(S, batch)`` after it."""
        for step, message, sums in zip(self.oracle.steps, messages, self.moves, strict=True):
            if isinstance(step, Feedback):
                before_move, kernel = step.there.split("->")[0].split(",")
                equation = f"{before_move},{step.there.split('->')[1]}->{kernel}"
                joint = (values.view(*step.sizes, -1) for values in (belief, message))
                sums.index_add_(0, previous, torch.einsum(equation, *joint))
            else:
                shape = (step.before, step.states, -1)
                sums.baddbmm_(message.view(shape), belief.view(shape).mT)
            belief = step.move(belief, previous)

    def counts(self) -> dict[str, np.ndarray]:
        """The expected counts of each kernel."""
        counted = {}
        for step, group, sums in zip(self.oracle.steps, plan(self.graph), self.moves, strict=True):
            counted |= of_move(self.graph, group, (sums * step.table).cpu().numpy())
        rows = self.emitted.cpu().numpy()
        return counted | {self.graph.observed.name: of_emission(self.graph, rows)}


def of_move(graph: Graph, group: tuple[int, ...], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Split the counts of a move into those of its latents' kernels.

    Args:
        graph: the graph.
        group: the latents that move together.
        counts: ``(joint states before the group, new states, previous states)``; for a latent that sees X,
            ``(previous token, own previous state, other parents.., new state)``.
    """
    nodes, sizes, names = [graph.latents[k] for k in group], graph.latent_sizes, graph.latent_names
    if graph.sees_x(nodes[0]):
        (node,) = nodes
        return {node.name: np.moveaxis(counts, 0, 1 + node.parents.index(graph.observed.name))}
    inner = [node.num_states for node in nodes]
    joint, last = counts.reshape(*sizes[: group[-1] + 1], *inner), group[-1] + 1
    of_nodes = {}
    for i, node in enumerate(nodes):
        axes = [last + i, *(names.index(name) for name in node.parents), group[i]]
        of_nodes[node.name] = _marginal(joint, axes)
    return of_nodes


def _marginal(counts: np.ndarray, axes: list[int]) -> np.ndarray:
    """Sum over all axes but these, which are returned in this order."""
    others = tuple(axis for axis in range(counts.ndim) if axis not in axes)
    return counts.sum(axis=others).transpose(np.argsort(np.argsort(axes)))


def of_emission(graph: Graph, rows: np.ndarray) -> np.ndarray:
    """Arrange counts ``(previous tokens or 1, V, joint states of X's parents)`` like X's kernel."""
    x, names = graph.observed, graph.latent_names
    order = sorted(range(len(x.parents)), key=lambda i: names.index(x.parents[i]))  # axes of the joint states
    sizes = [graph[x.parents[i]].num_states for i in order]
    counts = rows.reshape(len(rows), x.num_states, *sizes)
    places = [0, *(2 + order.index(i) for i in range(len(order))), 1]
    counts = counts.transpose(places)
    return counts if x.recurrent else counts[0]
