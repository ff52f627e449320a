"""The tables of a process as flat arrays, for the compiled oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch

from n2n.graph.graph import Graph
from n2n.oracle.compiled.vectors import NARROW
from n2n.oracle.transition import plan
from n2n.process.components import latent_law
from n2n.process.initial_law import shows_latents_first
from n2n.process.process import Process

Groups = list[tuple[int, ...]]  # latents that move together
Kernels = Mapping[str, np.ndarray]  # a table for each set of kernels, (sets or 1, own, parents.., new), by node
Finish = Callable[[np.ndarray], np.ndarray]


class Moves(NamedTuple):
    """The moves that make up one time step of a belief, or of a message backwards, in the order of computation.

    A move of a block of latents multiplies, for each joint state of the latents before the block, by one of its tables.
    """

    shapes: np.ndarray  # (moves, 3): joint states before the block, in the block, after the block
    offsets: np.ndarray  # (moves, 4): where its tables begin, where its choices begin, tables for each previous token,
    # and numbers from the tables of one set of kernels to the next
    row_strides: np.ndarray  # (moves,): numbers from one row of a table to the next
    tables: np.ndarray  # all tables, (states to compute, states to sum over)
    choices: np.ndarray  # int32, for each joint state before the block, which of the tables applies


class Program(NamedTuple):
    """What the compiled oracle needs to know about a process. Denormal probabilities are 0.

    It may hold several sets of kernels; tables that do not differ between them are stored once.
    """

    moves: Moves
    sizes: np.ndarray  # (latents,) number of states of each latent
    emission: np.ndarray  # rows for each previous token (or one) and each token: joint states of X's parents
    row_stride: int  # numbers from one row of the emission to the next
    per_token: int  # numbers from the rows of one previous token to those of the next; 0 if X does not see it
    per_set: int  # numbers from the emission of one set of kernels to the next; 0 if all share it
    vocab_size: int
    seen: np.ndarray  # (S,) int32, the joint state of X's parents in each joint state
    num_seen: int  # number of joint states of X's parents
    initial: np.ndarray  # P(x_0, z_0), token by token; empty if all mass is on the first token and joint state
    initial_per_set: int  # numbers from the initial law of one set of kernels to the next; 0 if all share it


_NO_CHOICES = np.empty(0, np.int32)
_PROGRAMS: WeakKeyDictionary[Process, dict[np.dtype, Program]] = WeakKeyDictionary()


def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    """The numpy type of a torch type."""
    return torch.empty(0, dtype=dtype).numpy().dtype


def program_of(process: Process, dtype: np.dtype) -> Program:
    """The flat tables of a process, which are kept as long as the process is."""
    programs = _PROGRAMS.setdefault(process, {})
    if dtype not in programs:
        programs[dtype] = compile_program(process, dtype)
    return programs[dtype]


def compile_program(process: Process, dtype: np.dtype) -> Program:
    """Flatten the kernels of a process."""
    return _program(process, _one_set(process), partial(_probabilities, dtype=dtype))


def stacked_program(process: Process, context_kernels: Mapping[str, np.ndarray]) -> Program:
    """Flatten several sets of kernels, float64: the tables of a process, and those of its context nodes.

    Args:
        process: the process.
        context_kernels: a table for each context node and set, ``{name: (sets, own, parents.., new)}``.
    """
    kernels = {name: table[None] for name, table in process.kernels.items()} | dict(context_kernels)
    return _program(process, kernels, partial(_probabilities, dtype=np.dtype(np.float64)))


def log_program(process: Process) -> Program:
    """The flat tables in logarithms, float64, with a move for each latent."""
    with np.errstate(divide="ignore"):
        return _program(process, _one_set(process), np.log, [(k,) for k in range(len(process.graph.latents))])


def backward_moves(process: Process, dtype: np.dtype) -> Moves:
    """The moves of a message back by one time step: transposed tables, last block first."""
    groups = plan(process.graph)[::-1]
    return _moves(
        process.graph,
        _one_set(process),
        groups,
        lambda table: _probabilities(table.swapaxes(-1, -2), dtype=dtype),
    )


def _one_set(process: Process) -> Kernels:
    return {name: table[None] for name, table in process.kernels.items()}


def _program(process: Process, kernels: Kernels, finish: Finish, groups: Groups | None = None) -> Program:
    """Flatten kernels with ``finish`` applied to all tables; the moves are those of ``plan`` unless ``groups`` are."""
    graph = process.graph
    x, moves = graph.observed, _moves(graph, kernels, groups or plan(graph), finish)
    kernel = kernels[x.name] if x.recurrent else kernels[x.name][:, None]
    order = sorted(range(len(x.parents)), key=lambda i: graph.latent_names.index(x.parents[i]))
    rows = kernel.transpose(0, 1, -1, *(2 + i for i in order)).reshape(*kernel.shape[:2], x.num_states, -1)
    emission, seen = finish(rows), _positions(graph.latent_sizes, [name in x.parents for name in graph.latent_names])
    law = finish(_initial(process, rows, seen))
    return Program(
        moves,
        np.array(graph.latent_sizes, np.int64),
        _padded(emission.ravel()),
        emission.shape[-1],
        emission[0, 0].size if x.recurrent else 0,
        _stride(emission),
        x.num_states,
        seen,
        rows.shape[-1],
        law.ravel(),
        _stride(law),
    )


def _initial(process: Process, rows: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """P(x_0, z_0) for each set of kernels or for all, ``(sets or 1, V, S)``; no entries if it is certain."""
    if shows_latents_first(process.graph) and process.graph.observed.name not in process.kernels:
        return rows[:, 0][..., seen] * latent_law(process.graph).ravel()
    law = process.initial_law
    return np.empty((1, 0, 0)) if law is None else law.reshape(1, -1, process.graph.vocab_size).swapaxes(1, 2)


def _stride(tables: np.ndarray) -> int:
    """Numbers from the tables of one set of kernels to the next, along the first axis; 0 if there is one set."""
    return tables[0].size if len(tables) > 1 else 0


def _moves(graph: Graph, kernels: Kernels, groups: Groups, finish: Finish) -> Moves:
    """The moves of groups of latents, in this order, with ``finish`` applied to their tables."""
    sizes = graph.latent_sizes
    shapes, offsets, row_strides, tables, choices = [], [], [], [finish(np.empty((0, 0))).ravel()], [_NO_CHOICES]
    for group in groups:
        table, is_parent = _table(graph, kernels, group)
        table = finish(table)
        begin, states, per_token = group[0], table.shape[-2], table.shape[2] if table.shape[1] > 1 else 0
        shapes.append([prod(sizes[:begin]), states, prod(sizes[group[-1] + 1 :])])
        offsets.append([sum(map(len, tables)), sum(map(len, choices)), per_token, _stride(table)])
        row_strides.append(table.shape[-1])
        tables.append(table.ravel())
        choices.append(_positions(sizes[:begin], is_parent))
    return Moves(
        np.array(shapes, np.int64).reshape(-1, 3),
        np.array(offsets, np.int64).reshape(-1, 4),
        np.array(row_strides, np.int64),
        _padded(np.concatenate(tables)),
        np.concatenate(choices),
    )


def _table(graph: Graph, kernels: Kernels, group: tuple[int, ...]) -> tuple[np.ndarray, list[bool]]:
    """The tables of a block: ``(sets or 1, V or 1, states of earlier parents, new states, previous states)``.

    Also which of the latents before the block are such parents.
    """
    before = graph.latents[: group[0]]
    nodes = [graph.latents[k] for k in group if graph.latents[k].num_states > 1]  # one state needs no axis, and numpy
    seen = {name for node in nodes for name in node.parents}  # has at most 64
    earlier = [node.name for node in before if node.name in seen and node.num_states > 1]
    names = [graph.observed.name, *earlier, *(node.name for node in nodes)]
    position = {name: axis for axis, name in enumerate(names, start=1)}
    # axes: the set of kernels, the previous token, the earlier parents, the group's new states, its previous states
    table = np.ones((1,) * (1 + len(position) + len(nodes)))
    for i, node in enumerate(nodes):
        parents = [name for name in node.parents if name in position]
        kernel = kernels[node.name]
        kernel = kernel.reshape(*kernel.shape[:2], *(graph[name].num_states for name in parents), -1)
        axes = [0, 1 + len(position) + i, *(position[name] for name in parents), position[node.name]]
        table = table * _spread(kernel, axes, table.ndim)
    inner = [node.num_states for node in nodes]
    table = np.broadcast_to(table, (*table.shape[: 1 + len(position) - len(nodes)], *inner, *inner))
    return table.reshape(*table.shape[:2], -1, prod(inner), prod(inner)), [node.name in seen for node in before]


def _spread(kernel: np.ndarray, axes: list[int], count: int) -> np.ndarray:
    """A kernel with its axes at the positions ``axes`` among ``count`` axes; the others have size 1."""
    kernel = kernel.transpose(np.argsort(axes))
    return np.expand_dims(kernel, [axis for axis in range(count) if axis not in axes])


def _positions(sizes: tuple[int, ...], kept: list[bool]) -> np.ndarray:
    """For each joint state, in order, the joint state of the latents that are kept."""
    kept_sizes = [size if keep else 1 for size, keep in zip(sizes, kept, strict=True)]
    return np.broadcast_to(np.arange(prod(kept_sizes), dtype=np.int32).reshape(kept_sizes), sizes).flatten()


def _probabilities(table: np.ndarray, dtype: np.dtype) -> np.ndarray:
    table = np.ascontiguousarray(table, dtype)
    return np.where(table < np.finfo(dtype).tiny, dtype.type(0), table)


def _padded(tables: np.ndarray) -> np.ndarray:
    """Flat tables with zeros behind the last row, because lookups load whole vectors, also beyond the end of a row."""
    return np.pad(tables, (0, NARROW // tables.itemsize))
