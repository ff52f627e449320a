"""Chunks of sequences: shared by threads, within the memory, and without effect on any result."""

import threading

import numpy as np
import pytest
from support.random_graphs import mixing_graph

from n2n.graph.graph import Graph
from n2n.oracle.compiled import chunks
from n2n.oracle.compiled.forward import filter_sequences
from n2n.oracle.compiled.program import program_of
from n2n.process.process import Process


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["feedback", "sparse", "two_chains"])
def test_a_sequence_s_result_does_not_depend_on_the_others(name, dtype, monkeypatch):
    """To the bit: for any batch, number of lanes, memory and number of threads."""
    graph = mixing_graph(8, "stationary") if name == "feedback" else Graph.preset(name)
    assert graph.feeds_back == (name == "feedback")
    process = Process(graph, seed=0)
    tokens = process.sample(37, length=9).tokens.astype(np.int64)
    program = program_of(process, np.dtype(dtype))
    whole = filter_sequences(program, tokens, predictive=True, beliefs=True, joint=True)
    cases = [(1, 1, 2**30), (2, 2, 2**30), (3, 5, 2**30), (2, 17, 2**30), (2, 37, 1), (1, 36, 2**20)]
    for threads, rows, memory in cases:
        monkeypatch.setattr(chunks, "cores", lambda threads=threads: threads)
        monkeypatch.setattr(chunks, "MIN_MULTIPLY_ADDS", 1)
        part = filter_sequences(program, tokens[-rows:], memory=memory, predictive=True, beliefs=True, joint=True)
        for one, all_rows in zip(part, whole, strict=True):
            assert np.array_equal(one, all_rows[-rows:])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 31, 32, 33, 64, 257])
def test_chunks_share_the_sequences(count, monkeypatch):
    """Each sequence is in one chunk, lanes fill vectors, and working memory stays within the limit."""
    program = program_of(Process(Graph.preset("two_chains")), np.dtype(np.float64))
    lane = chunks.Work.bytes_per_lane(program)
    assert lane == sum(array.nbytes for array in chunks.Work.of(program, 1))
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    for memory in (1, 2 * lane, 9 * lane, 1000 * lane):
        calls, spaces = [], {}

        def work(first: int, space: chunks.Work, calls=calls, spaces=spaces) -> None:
            calls.append((first, space.total.size))
            spaces[threading.get_ident()] = space

        chunks.run_chunks(work, program, count, memory, multiply_adds=10**9)
        firsts, (width, *_) = zip(*sorted(calls), strict=True)
        assert {size for _, size in calls} == {width}
        assert list(firsts) == list(range(0, count, width))
        assert width == 1 or width % 4 == 0
        assert sum(array.nbytes for space in spaces.values() for array in space) <= max(memory, lane)
