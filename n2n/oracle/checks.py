"""Checks of tokens, sizes and memory budgets before inference starts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.transition import table_entries
from n2n.process.einsums import MAX_EINSUM_LATENTS
from n2n.process.process import Process
from n2n.utils.arrays import integer_tensor
from n2n.utils.strict import as_integer

MEMORY_BUDGET = 2**30  # bytes; maximum for the tables and the beliefs of one part of the batch
COPIES = 4  # beliefs that are in memory at once within a step
CACHE_BUDGET = 2**23  # bytes; maximum for the beliefs that a CPU processes at once, so that they stay in its cache
MIN_ROWS = 8  # sequences; with fewer, a matrix product has too few columns to be fast


def check_process(process: object) -> None:
    """Raise a ``ValueError`` if ``process`` is not a ``Process``."""
    if not isinstance(process, Process):
        raise ValueError(f"process: saw a {type(process).__name__}; a Process is needed, such as n2n.Process(graph)")


def check_device(device: str) -> str:
    """Return the name of a device, or raise a ``ValueError`` if torch has no such device on this machine."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"saw {device!r}; {str(error).splitlines()[0]}") from None
    return device


def check_tokens(process: Process, tokens) -> Tensor:
    """Return the tokens as an int64 tensor ``(batch, T)``, or raise a ``ValueError`` that names the first bad one."""
    check_process(process)
    tokens = integer_tensor(tokens)
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] < 2:
        raise ValueError(f"tokens: saw shape {tuple(tokens.shape)}; (batch, T) with T of at least 2 is needed")
    vocab_size = process.graph.vocab_size
    least, most = (int(bound) for bound in tokens.aminmax())  # on its way in one pass, where all tokens are right
    wrong = ((tokens < 0) | (tokens >= vocab_size)).nonzero() if least < 0 or most >= vocab_size else ()
    for row, column in wrong[:1]:
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


def joint_start(process: Process, start: Mapping[str, ArrayLike], tokens: Tensor) -> Tensor:
    """Convert the known states of the latents at t = 0, ``{name: (batch,)}``, to joint states ``(batch,)``.

    Raises:
        ValueError: if a latent is missing or unknown, or if its states have a wrong shape or type or are out of range.
    """
    names = list(process.graph.latent_names)
    if not isinstance(start, Mapping) or set(start) != set(names):
        raise ValueError(f"start: saw {list(start)}; a state of each latent, {names}, is needed")
    joint = torch.zeros_like(tokens[:, 0])
    for node in process.graph.latents:
        states = integer_tensor(start[node.name], f"start: {node.name}").to(tokens.device)
        if states.shape != joint.shape:
            raise ValueError(f"start: {node.name}: saw shape {tuple(states.shape)}; {tuple(joint.shape)} is needed")
        wrong = states[(states < 0) | (states >= node.num_states)]
        if len(wrong):
            raise ValueError(f"start: {node.name}: saw state {wrong[0]}; its states are 0 to {node.num_states - 1}")
        joint = joint * node.num_states + states
    return joint


def check_fixed(graph: Graph) -> None:
    """Raise a ``ValueError`` that names the nodes whose kernels are redrawn for every sequence, if there are any."""
    redrawn = [node.name for node in graph.context_nodes]
    if redrawn:
        raise ValueError(
            f"process: mode 'context' redraws the kernels of {redrawn} for every sequence; n2n.in_context_nll learns "
            "them from the tokens, and n2n.filter on process.of_sequence(index) knows them"
        )


def check_latents(graph: Graph) -> None:
    """Raise a ``ValueError`` if the graph has more latents than an einsum has letters."""
    if len(graph.latents) > MAX_EINSUM_LATENTS:
        raise ValueError(f"graph: saw {len(graph.latents)} latent nodes; at most {MAX_EINSUM_LATENTS} are supported")


def check_budget(
    graph: Graph, memory_budget: int = MEMORY_BUDGET, dtype: torch.dtype = torch.float64, copies: int = COPIES
) -> None:
    """Raise a ``ValueError`` if the tables and ``copies`` beliefs of one sequence exceed the budget, in bytes."""
    as_integer("memory_budget", memory_budget, 1)
    check_latents(graph)
    for node in graph.nodes:
        entries = graph.kernel_size(node)
        if dtype.itemsize * entries > memory_budget:
            raise ValueError(
                f"{node.name}: its kernel of {entries} entries needs {dtype.itemsize * entries} bytes, more than the "
                f"budget of {memory_budget}; use fewer parents or fewer states"
            )
    needed = table_bytes(graph, dtype) + bytes_per_sequence(graph, dtype, copies)
    if needed > memory_budget:
        shorter = "shorter sequences, or " if copies > COPIES else ""  # more copies: memory grows with the length
        raise ValueError(
            f"memory_budget: {graph.num_joint_states} joint states need {needed} bytes for one sequence, more than the "
            f"budget of {memory_budget}; raise it, or use {shorter}fewer or smaller latent nodes"
        )


def check_tables(graph: Graph, dtype: torch.dtype, memory_budget: int, copies: int = COPIES) -> None:
    """Raise a ``ValueError`` if the oracle does not support the dtype or the graph, or the budget is too small."""
    if dtype not in (torch.float64, torch.float32):
        raise ValueError(f"dtype: saw {dtype}; torch.float64 or torch.float32 is needed")
    check_fixed(graph)
    check_budget(graph, memory_budget, dtype, copies)


def rows_at_once(
    graph: Graph, memory_budget: int, device: torch.device, dtype: torch.dtype, copies: int = COPIES
) -> int:
    """Number of sequences to process at once, as many as fit into the budget and, on a CPU, into its cache."""
    most = (memory_budget - table_bytes(graph, dtype)) // bytes_per_sequence(graph, dtype, copies)
    if device.type != "cpu":
        return most
    return min(most, max(MIN_ROWS, CACHE_BUDGET // (dtype.itemsize * graph.num_joint_states)))


def bytes_per_sequence(graph: Graph, dtype: torch.dtype, copies: int = COPIES) -> int:
    """Bytes of ``copies`` beliefs and of the rows of one kernel for a fixed previous token, for the largest kernel."""
    given_x = [graph.kernel_size(node) // graph.vocab_size for node in graph.nodes if graph.sees_x(node)]
    return dtype.itemsize * (copies * graph.num_joint_states + max(given_x, default=0))


def table_bytes(graph: Graph, dtype: torch.dtype) -> int:
    """Bytes of the tables of all moves and of X's kernel."""
    return dtype.itemsize * (table_entries(graph) + graph.kernel_size(graph.observed))
