"""A graph and its kernels as flat arrays, for the compiled sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from n2n.graph.graph import Graph
from n2n.process.initial_law import shows_latents_first
from n2n.utils.compilation import compiled

GUIDE_ENTRIES = 2**18  # largest guide of a node that finer cells may fill


class Program(NamedTuple):
    """Flat arrays with the nodes in topological order, X last, and the edges grouped by child.

    The cumulative rows of fixed kernels are concatenated. Rows of context nodes are drawn during sampling, into a table
    for each sequence; only the layout of that table is stored here.
    """

    num_states: np.ndarray  # (nodes,)
    own_stride: np.ndarray  # (nodes,) rows to skip for each own previous state; 0 if the node does not see it
    first_edge: np.ndarray  # (nodes + 1,)
    parent: np.ndarray  # (edges,) position of the parent
    parent_stride: np.ndarray  # (edges,)
    offset: np.ndarray  # (nodes,) first entry of the node's rows, in cdf or in a sequence's own table
    cdf: np.ndarray  # cumulative rows of all fixed kernels
    cells: np.ndarray  # (nodes,) guide cells of a row: a power of two, at least the number of states
    guide_offset: np.ndarray  # (nodes,) first entry of the node's cells in guide
    guide: np.ndarray  # for each row and cell c of C: twice the smallest state whose cumulative probability exceeds
    # c / C, plus 1 if that probability is less than (c + 1) / C, so that a number in the cell may select a later state
    initial: np.ndarray  # cumulative law at t = 0, the last node fastest: of all nodes, or of only the latents if X is
    # then drawn from its row; empty if all nodes start in 0
    context: np.ndarray  # (nodes,) whether the kernel is redrawn for every sequence
    product: np.ndarray  # (nodes,) whether the kernel is a product of one factor for each variable that the node sees
    alpha: np.ndarray  # (nodes,)
    stickiness: np.ndarray  # (nodes,)
    row_offset: np.ndarray  # (nodes + 1,) first row of a context node, counted over the rows of all context nodes


def compile_program(graph: Graph, kernels: Mapping[str, np.ndarray], initial: np.ndarray | None) -> Program:
    """Flatten a graph, its fixed kernels by name (with axes as in ``Process.kernel``) and its initial law."""
    position = {node.name: k for k, node in enumerate(graph.order)}
    own_stride, first_edge, parent, parent_stride = [], [0], [], []
    for node in graph.order:
        rows_after = np.cumprod([*graph.sizes_seen(node), 1][::-1])[::-1]  # rows spanned by each axis
        strides = rows_after[1:].tolist()
        own_stride.append(strides.pop(0) if node.sees_itself else 0)
        parent += [position[name] for name in node.parents]
        parent_stride += strides
        first_edge.append(len(parent))
    redrawn = np.array([node.redrawn for node in graph.order])
    rows = np.array([graph.kernel_size(node) // node.num_states for node in graph.order])
    num_states = _integers([node.num_states for node in graph.order])
    cells = _integers([_cells(node.num_states, count) for node, count in zip(graph.order, rows.tolist(), strict=True)])
    offset = np.where(redrawn, _starts(rows * num_states * redrawn), _starts(rows * num_states * ~redrawn))
    cdf, guide = _tables(graph, kernels, cells)
    return Program(
        num_states,
        *(_integers(values) for values in (own_stride, first_edge, parent, parent_stride, offset)),
        cdf,
        cells,
        _integers(_starts(rows * cells * ~redrawn)),
        guide,
        _cumulative_start(graph, initial),
        redrawn,
        np.array([node.kernel == "product" for node in graph.order]),
        np.array([node.alpha for node in graph.order]),
        np.array([node.stickiness for node in graph.order]),
        _integers([0, *np.cumsum(rows * redrawn)]),
    )


def _cumulative_start(graph: Graph, initial: np.ndarray | None) -> np.ndarray:
    if initial is None:
        return np.empty(0)
    return cumulative((initial.sum(axis=-1) if shows_latents_first(graph) else initial).ravel())


def _integers(values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _cells(num_states: int, rows: int) -> int:
    """Return the number of guide cells of each row.

    With many cells, few of them contain a boundary between states; the guide of all rows must still fit in the cache.
    """
    min_cells = 1 << (num_states - 1).bit_length()
    return next((min_cells * finer for finer in (16, 8, 4, 2) if rows * min_cells * finer <= GUIDE_ENTRIES), min_cells)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.cumsum(sizes) - sizes


def _tables(graph: Graph, kernels: Mapping[str, np.ndarray], cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dtype = np.uint16 if max(node.num_states for node in graph.order) <= 2**15 else np.uint32
    cdfs, guides = [np.empty(0)], [np.empty(0, dtype)]
    for node, count in zip(graph.order, cells.tolist(), strict=True):
        if not node.redrawn:
            rows = cumulative(kernels[node.name]).reshape(-1, node.num_states)
            guide = np.empty((len(rows), count), dtype)
            _fill_guide(rows, guide)
            cdfs.append(rows.ravel())
            guides.append(guide.ravel())
    return np.concatenate(cdfs), np.concatenate(guides)


def cumulative(kernel: np.ndarray) -> np.ndarray:
    """Return cumulative rows that reach exactly 1 at the last state of positive probability, so every draw succeeds."""
    cdf = np.cumsum(kernel, axis=-1)
    return np.where(cdf >= cdf[..., -1:], 1.0, cdf)


@compiled
def _fill_guide(rows, guide):
    cells = guide.shape[1]
    for row in range(rows.shape[0]):
        state = 0
        for cell in range(cells):
            while rows[row, state] <= cell / cells:
                state += 1
            guide[row, cell] = 2 * state + (rows[row, state] < (cell + 1) / cells)


def smallest_dtype(num_states: int) -> np.dtype:
    """Return the smallest unsigned integer type that holds the states 0 to ``num_states - 1``."""
    return np.min_scalar_type(num_states - 1)


def table_size(program: Program) -> int:
    """Return the number of entries in the table of one sequence's own kernels."""
    rows = np.diff(program.row_offset)
    return int((rows * program.num_states).sum())
