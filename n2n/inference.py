"""The exact oracle: filtering with a belief that stays factored by node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from n2n.contraction import BATCH, MOST_LATENTS, letters, of_parents, sees_x, transitions
from n2n.graph import Graph, Node
from n2n.process import Process

MEMORY_BUDGET = 2**30  # bytes that the beliefs of one part of the batch may take
_COPIES = 4  # beliefs alive at once within a step


@dataclass(frozen=True, eq=False)
class Filtered:
    """What a Bayesian who knows the process says of each token, float64.

    Attributes:
        nll: ``(batch, T - 1)``, ``-log P(x_t | x_<t)`` for t = 1 .. T - 1, nats. Infinite at a token that the process
            cannot emit, and nan after it, where the conditional is undefined.
        predictive: ``(batch, T - 1, V)``, ``P(x_t = v | x_<t)``, or None if it was not asked for.
        beliefs: ``{name: (batch, T, n)}``, ``P(z_t | x_<=t)`` of each latent node, or None if not asked for.
    """

    nll: Tensor
    predictive: Tensor | None
    beliefs: dict[str, Tensor] | None


def filter(
    process: Process,
    tokens,
    *,
    predictive: bool = False,
    beliefs: bool = False,
    memory_budget: int = MEMORY_BUDGET,
) -> Filtered:
    """The forward algorithm in normalised form, one node's kernel at a time.

    A token costs O(S * sum of n_i), S joint latent states, n_i states of node i; the S x S matrix is never built.

    Args:
        process: the process that the tokens are judged by.
        tokens: ``(batch, T)`` integers, T at least 2, each row a sequence from its start (which is 0 with
            ``initial="zero"``). A tensor's device is where the work is done.
        predictive: whether to return the distribution of each next token.
        beliefs: whether to return each latent node's belief.
        memory_budget: bytes, inside which the batch is cut; what is returned comes on top.

    Raises:
        ValueError: tokens of a wrong shape or type, outside the vocabulary or with another start than 0, or a kernel or
            one sequence's belief that exceeds the budget.

    Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), section III.A, on a factored state.
    """
    tokens = check_tokens(process, tokens)
    check_budget(process.graph, memory_budget)
    kernels = {name: torch.tensor(table, device=tokens.device) for name, table in process.kernels.items()}
    rows = memory_budget // _bytes_per_sequence(process.graph)
    parts = [
        _filter_part(process, kernels, part, predictive=predictive, beliefs=beliefs) for part in tokens.split(rows)
    ]
    joined = {name: torch.cat([part.beliefs[name] for part in parts]) for name in parts[0].beliefs or {}}
    return Filtered(
        torch.cat([part.nll for part in parts]),
        torch.cat([part.predictive for part in parts]) if predictive else None,
        joined if beliefs else None,
    )


def check_tokens(process: Process, tokens) -> Tensor:
    """Tokens as an int64 tensor ``(batch, T)``, or a ``ValueError`` that names the first one that is out of place."""
    if not isinstance(process, Process):
        raise ValueError(f"process: saw a {type(process).__name__}; a Process is needed, such as n2n.Process(graph)")
    tokens = _as_integers(tokens)
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] < 2:
        raise ValueError(f"tokens: saw shape {tuple(tokens.shape)}; (batch, T) with T of at least 2 is needed")
    vocab_size = process.graph.vocab_size
    for row, column in ((tokens < 0) | (tokens >= vocab_size)).nonzero()[:1].tolist():
        raise ValueError(
            f"tokens: saw {tokens[row, column]} in sequence {row} at position {column}; "
            f"the vocabulary is 0 to {vocab_size - 1}"
        )
    starts = tokens[:, 0] if process.graph.initial == "zero" else tokens[:0, 0]
    for (row,) in starts.nonzero()[:1].tolist():
        raise ValueError(
            f"tokens: sequence {row} begins with {tokens[row, 0]}; with initial='zero' every sequence begins with 0 "
            "(a window cut from a longer sequence has another law)"
        )
    return tokens


def _as_integers(tokens) -> Tensor:
    if not isinstance(tokens, Tensor):
        try:
            array = np.array(tokens)  # a copy: what is given may be read-only or laid out backwards
        except ValueError:
            raise ValueError("tokens: saw sequences of unequal lengths; (batch, T) is needed") from None
        if array.dtype.kind not in "iu":
            raise ValueError(f"tokens: saw {type(tokens).__name__} of type {array.dtype}; integers are needed")
        return torch.from_numpy(array.astype(np.int64))
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise ValueError(f"tokens: saw type {tokens.dtype}; integers are needed")
    return tokens.to(torch.int64)


def check_budget(graph: Graph, memory_budget: int = MEMORY_BUDGET) -> None:
    """Raise a ``ValueError`` if a kernel or the belief of one sequence exceeds the budget, in bytes."""
    if len(graph.latents) > MOST_LATENTS:
        raise ValueError(f"graph: saw {len(graph.latents)} latent nodes; at most {MOST_LATENTS} are supported")
    for node in graph.nodes:
        entries = graph.kernel_size(node)
        if 8 * entries > memory_budget:
            raise ValueError(
                f"{node.name}: its kernel of {entries} entries needs {8 * entries} bytes, more than the budget of "
                f"{memory_budget}; use fewer parents or fewer states"
            )
    needed = _bytes_per_sequence(graph)
    if needed > memory_budget:
        raise ValueError(
            f"memory_budget: {graph.num_joint_states} joint states need {needed} bytes for one sequence, more than the "
            f"budget of {memory_budget}; raise it, or use fewer or smaller latent nodes"
        )


def _bytes_per_sequence(graph: Graph) -> int:
    given_x = [graph.kernel_size(node) // graph.vocab_size for node in graph.latents if sees_x(graph, node)]
    return 8 * (_COPIES * graph.num_joint_states + max(given_x, default=0))


def _filter_part(
    process: Process, kernels: dict[str, Tensor], tokens: Tensor, *, predictive: bool, beliefs: bool
) -> Filtered:
    graph = process.graph
    latents = [node.name for node in graph.latents]
    belief = _start(process, tokens)
    steps = list(transitions(graph))
    to_parents, spread = _emission(graph)
    emission = _rows_of_x(graph, kernels[graph.observed.name])
    nll, predictives = [], []
    marginals = {name: [_marginal(belief, k)] for k, name in enumerate(latents)} if beliefs else None
    for t in range(1, tokens.shape[1]):
        previous, token = tokens[:, t - 1], tokens[:, t]
        for node, equation in steps:
            belief = torch.einsum(equation, belief, _seeing_x(graph, node, kernels[node.name], previous))
        row = previous if graph.observed.recurrent else torch.zeros_like(previous)
        if predictive:
            seen = torch.einsum(to_parents, belief).reshape(len(tokens), 1, -1)  # (batch, 1, parents of X)
            predictives.append((seen @ emission[row]).squeeze(1))  # (batch, V)
        belief = belief * spread(emission[row, :, token])
        evidence = belief.reshape(len(tokens), -1).sum(1)  # (batch,), P(x_t | x_<t)
        belief = belief / evidence.view(-1, *[1] * len(latents))
        nll.append(-evidence.log())
        for k, name in enumerate(latents if beliefs else ()):
            marginals[name].append(_marginal(belief, k))
    return Filtered(
        torch.stack(nll, 1),
        torch.stack(predictives, 1) if predictive else None,
        {name: torch.stack(values, 1) for name, values in marginals.items()} if beliefs else None,
    )


def _start(process: Process, tokens: Tensor) -> Tensor:
    """P(z_0 given x_0): (batch, n_1, .., n_K)."""
    graph = process.graph
    shape = [node.num_states for node in graph.latents]
    if process.initial_law is None:
        belief = torch.zeros(len(tokens), graph.num_joint_states, dtype=torch.float64, device=tokens.device)
        belief[:, 0] = 1.0
        return belief.view(len(tokens), *shape)
    law = torch.tensor(process.initial_law, device=tokens.device).view(-1, graph.vocab_size)
    belief = law.T[tokens[:, 0]]  # (batch, joint states)
    return (belief / belief.sum(1, keepdim=True)).view(len(tokens), *shape)


def _marginal(belief: Tensor, k: int) -> Tensor:
    others = [axis for axis in range(1, belief.ndim) if axis != k + 1]
    return belief.sum(others) if others else belief


def _seeing_x(graph: Graph, node: Node, kernel: Tensor, previous: Tensor) -> Tensor:
    """A latent's kernel given ``x_{t-1} (batch,)``: itself, or (batch, its axes but X's) where it sees X."""
    if not sees_x(graph, node):
        return kernel
    return kernel.movedim(1 + node.parents.index(graph.observed.name), 0)[previous]


def _rows_of_x(graph: Graph, kernel: Tensor) -> Tensor:
    """X's kernel as (previous states or 1, joint states of its parents, V)."""
    return kernel.reshape(graph.vocab_size if graph.observed.recurrent else 1, -1, graph.vocab_size)


def _emission(graph: Graph):
    """How to sum a belief down to X's parents in their order, and how to lay a table of theirs over a belief."""
    axes = [node.name for node in graph.latents]
    parents = graph.observed.parents
    to_parents = f"{BATCH}{letters(graph)}->{BATCH}{of_parents(graph, graph.observed, '')}"
    as_in_belief = [0, *(1 + parents.index(name) for name in axes if name in parents)]
    given = [graph[name].num_states for name in parents]
    shape = [graph[name].num_states if name in parents else 1 for name in axes]

    def spread(likelihood: Tensor) -> Tensor:  # (batch, joint states of the parents)
        return likelihood.reshape(-1, *given).permute(as_in_belief).reshape(-1, *shape)

    return to_parents, spread
