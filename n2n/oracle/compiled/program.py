"""The tables of a process as flat arrays, for the compiled oracle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch

from n2n.oracle.compiled.vectors import NARROW
from n2n.oracle.transition import plan
from n2n.process.process import Process


class Moves(NamedTuple):
    """The moves that make up one time step of a belief, or of a message backwards, in the order of computation.

    A move of a block of latents multiplies, for each joint state of the latents before the block, by one of its tables.
    """

    shapes: np.ndarray  # (moves, 3): joint states before the block, in the block, after the block
    offsets: np.ndarray  # (moves, 3): where its tables begin, where its choices begin, tables for each previous token
    row_strides: np.ndarray  # (moves,): numbers from one row of a table to the next
    tables: np.ndarray  # all tables, (states to compute, states to sum over)
    choices: np.ndarray  # int32, for each joint state before the block, which of the tables applies


class Program(NamedTuple):
    """What the compiled oracle needs to know about a process. Denormal probabilities are 0."""

    moves: Moves
    sizes: np.ndarray  # (latents,) number of states of each latent
    emission: np.ndarray  # rows for each previous token (or one) and each token: joint states of X's parents
    row_stride: int  # numbers from one row of the emission to the next
    per_token: int  # numbers from the rows of one previous token to those of the next; 0 if X does not see it
    vocab_size: int
    seen: np.ndarray  # (S,) int32, the joint state of X's parents in each joint state
    num_seen: int  # number of joint states of X's parents
    initial: np.ndarray  # P(x_0, z_0), token by token; empty if all mass is on the first token and joint state


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
    return _program(process, forward_moves(process, dtype), partial(_probabilities, dtype=dtype))


def log_program(process: Process) -> Program:
    """The flat tables in logarithms, float64, with a move for each latent."""
    with np.errstate(divide="ignore"):
        moves = _moves(process, [(k,) for k in range(len(process.graph.latents))], np.log)
        return _program(process, moves, np.log)


def forward_moves(process: Process, dtype: np.dtype) -> Moves:
    """The moves of a belief by one time step."""
    return _moves(process, plan(process.graph), partial(_probabilities, dtype=dtype))


def backward_moves(process: Process, dtype: np.dtype) -> Moves:
    """The moves of a message back by one time step: transposed tables, last block first."""
    return _moves(process, plan(process.graph)[::-1], lambda table: _probabilities(table.swapaxes(-1, -2), dtype=dtype))


def _program(process: Process, moves: Moves, finish: Callable[[np.ndarray], np.ndarray]) -> Program:
    graph, x, law = process.graph, process.graph.observed, process.initial_law
    kernel = process.kernels[x.name] if x.recurrent else process.kernels[x.name][None]
    order = sorted(range(len(x.parents)), key=lambda i: graph.latent_names.index(x.parents[i]))
    rows = kernel.transpose(0, -1, *(1 + i for i in order)).reshape(len(kernel), x.num_states, -1)
    emission = finish(rows)
    return Program(
        moves,
        np.array(graph.latent_sizes, np.int64),
        _padded(emission.ravel()),
        emission.shape[-1],
        emission[0].size if x.recurrent else 0,
        x.num_states,
        _positions(graph.latent_sizes, [name in x.parents for name in graph.latent_names]),
        rows.shape[-1],
        finish(np.empty(0) if law is None else law.reshape(-1, x.num_states).T.ravel()),
    )


def _moves(process: Process, groups: list[tuple[int, ...]], finish: Callable[[np.ndarray], np.ndarray]) -> Moves:
    """The moves of groups of latents, in this order, with ``finish`` applied to their tables."""
    sizes = process.graph.latent_sizes
    shapes, offsets, row_strides, tables, choices = [], [], [], [finish(np.empty((0, 0))).ravel()], [_NO_CHOICES]
    for group in groups:
        table, is_parent = _table(process, group)
        table = finish(table)
        begin, states = group[0], table.shape[-2]
        shapes.append([prod(sizes[:begin]), states, prod(sizes[group[-1] + 1 :])])
        offsets.append([sum(map(len, tables)), sum(map(len, choices)), table.shape[1] if len(table) > 1 else 0])
        row_strides.append(table.shape[-1])
        tables.append(table.ravel())
        choices.append(_positions(sizes[:begin], is_parent))
    return Moves(
        np.array(shapes, np.int64).reshape(-1, 3),
        np.array(offsets, np.int64).reshape(-1, 3),
        np.array(row_strides, np.int64),
        _padded(np.concatenate(tables)),
        np.concatenate(choices),
    )


def _table(process: Process, group: tuple[int, ...]) -> tuple[np.ndarray, list[bool]]:
    """The tables of a block: ``(V or 1, states of earlier parents, new states, previous states)``.

    Also which of the latents before the block are such parents.
    """
    graph, before = process.graph, process.graph.latents[: group[0]]
    nodes = [graph.latents[k] for k in group if graph.latents[k].num_states > 1]  # one state needs no axis, and numpy
    seen = {name for node in nodes for name in node.parents}  # has at most 64
    earlier = [node.name for node in before if node.name in seen and node.num_states > 1]
    position = {name: axis for axis, name in enumerate([graph.observed.name, *earlier, *(node.name for node in nodes)])}
    # axes: the previous token, the earlier parents, the new states of the group, its previous states
    table = np.ones((1,) * (len(position) + len(nodes)))
    for i, node in enumerate(nodes):
        parents = [position[name] for name in node.parents if name in position]
        kernel = process.kernels[node.name]
        kernel = kernel.reshape(len(kernel), *(graph[name].num_states for name in node.parents if name in position), -1)
        table = table * _spread(kernel, [len(position) + i, *parents, position[node.name]], table.ndim)
    inner = [node.num_states for node in nodes]
    table = np.broadcast_to(table, (*table.shape[: len(position) - len(nodes)], *inner, *inner))
    return table.reshape(len(table), -1, prod(inner), prod(inner)), [node.name in seen for node in before]


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
