"""Chunks of sequences for the compiled oracle: their working memory, and the threads that work them off.

Each chunk runs on one thread from its first token to its last, and threads take the next chunk when they are done.
They never wait for each other, so the oracle keeps its speed on a machine whose cores other jobs use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from n2n.oracle.compiled.program import Program
from n2n.oracle.compiled.vectors import NARROW
from n2n.utils.cpu import cores, run_parts
from n2n.utils.threads import flushed_denormals

MIN_MULTIPLY_ADDS = 10**7  # for each further thread; they take half a millisecond
CACHE = 2**18  # bytes of the values of one chunk; with their copy they fit into a core's cache
MAX_LANES = 32  # with more, a chunk is no faster


class Work(NamedTuple):
    """Working memory of a chunk in its own layout, with the lanes as last axis."""

    values: np.ndarray  # (S, lanes)
    spare: np.ndarray  # (S, lanes)
    total: np.ndarray  # (lanes,) sum of the values before they are scaled
    scale: np.ndarray  # (lanes,) factor that normalises the values
    marginals: np.ndarray  # (sum of the latents' sizes, lanes)
    predictive: np.ndarray  # (V, lanes)
    seen: np.ndarray  # (states of X's parents, lanes)
    entries: np.ndarray  # (longest row, lanes) rows of a table, one for each lane
    ones: np.ndarray  # (lanes,)
    rows: np.ndarray  # (lanes,) int64, where each lane's row begins
    previous: np.ndarray  # (lanes,) int64, tokens
    current: np.ndarray  # (lanes,) int64, tokens
    sets: np.ndarray  # (lanes,) int64, which set of kernels each lane has
    history: np.ndarray  # (tokens to remember, S * lanes) beliefs

    @classmethod
    def of(cls, program: Program, lanes: int, history: int = 0) -> Work:
        """Working memory for this number of lanes, which remembers the beliefs after ``history`` tokens."""
        dtype, states = program.emission.dtype, program.seen.size
        arrays = [np.empty(count * lanes, dtype) for count in _numbers(program)]
        integers = [np.zeros(lanes, np.int64) for _ in range(4)]
        return cls(*arrays, np.ones(lanes, dtype), *integers, np.empty((history, states * lanes), dtype))

    @staticmethod
    def bytes_per_lane(program: Program, history: int = 0) -> int:
        """Bytes of one lane."""
        numbers = sum(_numbers(program)) + 1 + history * program.seen.size
        return numbers * program.emission.itemsize + 4 * np.dtype(np.int64).itemsize


def _numbers(program: Program) -> list[int]:
    """Numbers for one lane in the arrays of ``Work`` up to ``entries``."""
    states, vector = program.seen.size, NARROW // program.emission.itemsize
    depth = max([program.num_seen, *program.moves.shapes[:, 1].tolist()]) + vector
    return [states, states, 1, 1, int(program.sizes.sum()), program.vocab_size, program.num_seen, depth]


def run_chunks(
    work: Callable[[int, Work], None],
    program: Program,
    count: int,
    memory: int,
    multiply_adds: int,
    history: int = 0,
    extra: int = 0,
) -> None:
    """Call ``work(first sequence, working memory)`` for chunks of ``count`` sequences, on all cores.

    Args:
        work: what to do with a chunk.
        program: the tables.
        count: number of sequences.
        memory: bytes for all threads together; one sequence at a time is always worked on.
        multiply_adds: of a sequence, roughly; little work is not worth several threads.
        history: tokens after which the working memory keeps the beliefs.
        extra: bytes for a sequence that ``work`` itself needs.

    An error of a thread is raised here.
    """
    lane = extra + Work.bytes_per_lane(program, history)
    threads = min(cores(), count, max(1, memory // lane), 1 + count * multiply_adds // MIN_MULTIPLY_ADDS)
    lanes = affordable_lanes(program, -(-count // threads), memory // threads, lane)
    spaces = threading.local()

    @flushed_denormals()
    def run(first: int) -> None:
        if not hasattr(spaces, "work"):
            spaces.work = Work.of(program, lanes, history)
        work(first, spaces.work)

    run_parts(run, range(0, count, lanes), threads)


def multiply_adds(program: Program) -> int:
    """Multiply-adds of the products that move the belief of one sequence by one step."""
    return program.seen.size * int(program.moves.shapes[:, 1].sum())


def affordable_lanes(program: Program, count: int, memory: int, lane: int) -> int:
    """Number of lanes for ``count`` sequences: one, or a multiple of the numbers in a vector.

    Args:
        program: the tables.
        count: number of sequences.
        memory: bytes that all lanes may take together.
        lane: bytes of a lane.
    """
    itemsize = program.emission.itemsize
    vector = NARROW // itemsize
    if count == 1 or memory < vector * lane:
        return 1
    in_cache = max(2 * vector, CACHE // (program.seen.size * itemsize))
    return min(count + -count % vector, memory // lane, in_cache, MAX_LANES) // vector * vector
