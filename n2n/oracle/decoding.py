"""The most probable latent path: the Viterbi algorithm, one node at a time, without the S x S transition matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.checks import MEMORY_BUDGET, check_budget, check_fixed, check_tokens, rows_at_once, table_bytes
from n2n.oracle.compiled.program import log_program
from n2n.oracle.compiled.viterbi import decode_sequences
from n2n.oracle.emission import Emission
from n2n.oracle.transition import spread
from n2n.process.process import Process
from n2n.utils.threads import torch_threads

_CHUNK = 2**22  # bytes of sums that are compared at once; they fit into a CPU's cache
_COPIES = 6  # numbers per joint state that are in memory at once within a step, in addition to the compared sums


@dataclass(frozen=True, eq=False)
class Decoded:
    """The most probable latent path given the tokens.

    Attributes:
        latents: ``{name: (batch, T)}``, int64, the path of each latent node. It is -1 at every t of a sequence that the
            process cannot emit, because no path explains that sequence.
        log_probability: ``(batch,)``, float64, ``log P(z_0, .., z_{T-1}, x_0, .., x_{T-1})`` of that path and the
            tokens, nats. It is minus infinity for a sequence that the process cannot emit.
    """

    latents: dict[str, Tensor]
    log_probability: Tensor


@torch_threads(1)
def decode(process: Process, tokens, *, memory_budget: int = MEMORY_BUDGET) -> Decoded:
    """Run the Viterbi algorithm with logarithms in float64, one latent at a time.

    A node's kernel depends only on the node's previous state and on parents that have already moved. The maximum over
    the previous joint state is therefore a series of maxima over single latents, and a token costs O(S * sum of n_i)
    for S joint latent states and n_i states of node i, as in ``filter``. If several paths are equally probable, any of
    them may be returned.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2. Each row is a sequence from its start (which is 0 with
            ``initial="zero"``). If this is a tensor, the computation runs on its device.
        memory_budget: bytes. The batch is split to stay within it. Each sequence takes (T - 1) * S pointers per latent,
            of one byte each if the latent has at most 256 states; the tables come once.

    Returns:
        The path of every latent from z_0 on, and the joint log probability of the path and the tokens.

    Raises:
        ValueError: if the process redraws kernels for every sequence; if the tokens have a wrong shape or type, lie
            outside the vocabulary or, with ``initial="zero"``, do not start with 0; or if the tables and the pointers
            of one sequence exceed the budget.

    Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), section III.B, on a factored state.
    """
    tokens = check_tokens(process, tokens)
    check_fixed(process.graph)
    copies = _copies(process.graph, tokens.shape[1])
    check_budget(process.graph, memory_budget, copies=copies)
    if tokens.device.type == "cpu":
        return _decode_compiled(process, tokens, memory_budget)
    return decode_torch(process, tokens, memory_budget)


def _decode_compiled(process: Process, tokens: Tensor, memory_budget: int) -> Decoded:
    memory = memory_budget - table_bytes(process.graph, torch.float64)
    path, log_probability = map(torch.from_numpy, decode_sequences(log_program(process), tokens.numpy(), memory))
    impossible = log_probability == -torch.inf
    states = _split_states(path, process.graph.latent_sizes)
    paths = (of_latent.masked_fill(impossible[:, None], -1) for of_latent in states)
    return Decoded(dict(zip(process.graph.latent_names, paths, strict=True)), log_probability)


def decode_torch(process: Process, tokens: Tensor, memory_budget: int) -> Decoded:
    """Run the Viterbi algorithm in torch: on other devices than CPUs, and as the readable twin of the compiled one."""
    copies = _copies(process.graph, tokens.shape[1])
    moves = [Move.of(process, node, tokens.device) for node in process.graph.latents]
    emission = Emission.of(process, tokens.device, torch.float64)
    emission = replace(emission, rows=emission.rows.log())  # its lookups then return log likelihoods
    rows = rows_at_once(process.graph, memory_budget, tokens.device, torch.float64, copies)
    parts = [_decode_part(process, moves, emission, part) for part in tokens.split(rows)]
    paths = zip(*(part for part, _ in parts), strict=True)
    return Decoded(
        {name: torch.cat(path) for name, path in zip(process.graph.latent_names, paths, strict=True)},
        torch.cat([log_probability for _, log_probability in parts]),
    )


@dataclass(frozen=True, eq=False)
class Move:
    """One step of a latent, in logarithms.

    Attributes:
        table: log kernel, ``(n_1, .., n_i new, n_i previous, 1, V)``. The axes of earlier latents come first, and have
            size 1 for latents that are not parents. The axis of size 1 stands for all later latents. V is 1 if the node
            does not see the previous token.
        shape: shape of an array over the joint states, ``(n_1, .., 1, n_i previous, states of all later latents)``.
        pointer: smallest integer type that holds every state.
    """

    table: Tensor
    shape: tuple[int, ...]
    pointer: torch.dtype

    @classmethod
    def of(cls, process: Process, node: Node, device: torch.device) -> Move:
        """Build the step of a latent node on a device."""
        sizes, names = process.graph.latent_sizes, process.graph.latent_names
        i = names.index(node.name)
        position = {process.graph.observed.name: i + 3, **{name: k for k, name in enumerate(names)}}
        axes = [i + 1, *(position[parent] for parent in node.parents), i]  # axis of the table for each kernel axis
        kernel = torch.tensor(process.kernels[node.name], device=device, dtype=torch.float64)
        table = spread(kernel, axes, i + 4).log()
        return cls(table, (*sizes[:i], 1, sizes[i], prod(sizes[i + 1 :])), _pointer(node))

    def best(self, values: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Maxima of values ``(S, batch)`` over the node's previous state, and the states that attain them."""
        table = self.table if self.table.shape[-1] == 1 else self.table[..., previous]
        at_once = max(1, _CHUNK // (values.element_size() * values.numel()))
        before, maxima = values.view(*self.shape, -1), []
        for part in table.split(at_once, -4):
            maxima.append((before + part).max(-3))
        pointers = torch.cat([own.to(self.pointer) for _, own in maxima], -3)
        return torch.cat([largest for largest, _ in maxima], -3).view(values.shape), pointers.view(values.shape)


def _pointer(node: Node) -> torch.dtype:
    return torch.uint8 if node.num_states <= 2**8 else torch.int16 if node.num_states <= 2**15 else torch.int32


def _copies(graph: Graph, length: int) -> int:
    """Size of a step and of all pointers, in float64 numbers per joint state and sequence."""
    sums = max(graph.latent_sizes, default=0)
    pointers = (length - 1) * sum(_pointer(node).itemsize for node in graph.latents)
    return _COPIES + sums + -(-pointers // torch.float64.itemsize)


def _decode_part(
    process: Process, moves: list[Move], emission: Emission, tokens: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The path of each latent, ``(batch, T)``, and the joint log probability of paths and tokens, ``(batch,)``."""
    values, pointers = _start(process, tokens[:, 0]), []
    for previous, likelihood in zip(tokens.T, emission.likelihoods(tokens), strict=False):
        step = []
        for move in moves:
            values, own = move.best(values, previous)
            step.append(own)
        pointers.append(step)
        seen = likelihood.view(*emission.spread, len(tokens))
        values = (values.view(*emission.sizes, -1) + seen).view(values.shape)
    log_probability, state = values.max(0)
    impossible = log_probability == -torch.inf
    path = [states.masked_fill(impossible[:, None], -1) for states in _trace(pointers, state, emission.sizes)]
    return path, log_probability


def _start(process: Process, first: Tensor) -> Tensor:
    """log P(z_0, x_0), ``(S, batch)``, for the first tokens ``(batch,)``."""
    if process.initial_law is None:
        values = torch.full((process.graph.num_joint_states, len(first)), -torch.inf, dtype=torch.float64)
        values[0] = 0.0
        return values.to(first.device)
    law = torch.tensor(process.initial_law, dtype=torch.float64, device=first.device)
    return law.view(-1, process.graph.vocab_size).log()[:, first]


def _trace(pointers: list[list[Tensor]], state: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """Follow the pointers back from the last joint states ``(batch,)``; return each latent's path, ``(batch, T)``."""
    strides = [prod(sizes[k + 1 :]) for k in range(len(sizes))]
    path = [state]
    for step in reversed(pointers):
        for own, size, stride in zip(reversed(step), reversed(sizes), reversed(strides), strict=True):
            moved = state // stride % size
            state = state + (own.gather(0, state[None])[0] - moved) * stride  # resets the node to its previous state
        path.append(state)
    return _split_states(torch.stack(path[::-1], 1), sizes)


def _split_states(joint: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """The state of each latent in joint states of any shape; the last latent changes fastest."""
    strides = [prod(sizes[k + 1 :]) for k in range(len(sizes))]
    return [joint // stride % size for size, stride in zip(sizes, strides, strict=True)]
