"""Kernels from a pool: the sets, their law, and the set of each sequence."""

import math

import numpy as np
import pytest
from support.context_graphs import in_context

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process import sampler
from n2n.process.pools import sets_of_pool
from n2n.process.process import Process
from n2n.process.sampler_reference import draw_numpy
from n2n.process.sampler_tables import cumulative
from n2n.process.splits import SPLITS
from n2n.utils.philox import derive_key

CHAIN = Node(name="X", num_states=3, observed=True, recurrent=True, mode="context")


def pooled(seed: int, pool: int | None) -> Process:
    return Process(in_context(seed).model_copy(update={"pool": pool}), seed)


def whole_kernels(process: Process, start: int, count: int, split: str) -> dict[int, np.ndarray]:
    """Return the cumulative rows of each sequence's kernels, ``(count, rows, n)`` by position of the node."""
    tables = process.context_kernels(process.kernel_sets(start, count, split), split)
    return {
        process.graph.names.index(name): cumulative(table).reshape(count, -1, table.shape[-1])
        for name, table in tables.items()
    }


@pytest.mark.parametrize("pool", [None, 1, 3, 1000])
@pytest.mark.parametrize("seed", range(8))
def test_the_sampler_equals_its_reference(seed, pool):
    process, start, split = pooled(seed, pool), 2**32 - 30, "valid"
    redrawn = whole_kernels(process, start, 60, split)
    slow = draw_numpy(
        process.program, derive_key("sequences", seed, split), start, 60, 20, latents=True, redrawn=redrawn
    )
    fast = process.sample(60, length=20, start=start, split=split)
    assert np.array_equal(fast.tokens, slow[0])
    assert np.array_equal(np.stack(list(fast.latents.values())), slow[1])


@pytest.mark.parametrize("pool", [1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_a_sequence_is_one_of_its_set(seed, pool):
    process = pooled(seed, pool)
    sample, sets = process.sample(40, length=25, split="test", start=5), process.kernel_sets(5, 40, "test")
    assert set(sets) == set(range(pool))
    for i in range(40):
        for part in (process.of_set(int(sets[i])), process.of_sequence(5 + i, split="test")):
            sequence = part.sample(1, length=25, split="test", start=5 + i)
            assert np.array_equal(sequence.tokens[0], sample.tokens[i])
            assert all(np.array_equal(sequence.latents[name][0], sample.latents[name][i]) for name in sample.latents)


def test_splits_share_the_sets_and_not_the_sequences():
    process = Process(Graph(nodes=[CHAIN], pool=4))
    sets = [process.kernel_sets(0, 200, split) for split in SPLITS]
    assert not any(np.array_equal(sets[i], sets[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    for split, of_split in zip(SPLITS, sets, strict=True):
        for i in range(8):
            kernel = process.of_sequence(i, split=split).kernel("X")
            assert np.array_equal(kernel, process.of_set(int(of_split[i])).kernel("X"))
    rows = [row.tobytes() for split in SPLITS for row in process.sample(300, length=64, split=split).tokens]
    assert len(set(rows)) == len(rows)


def test_threads_tiles_and_batches_change_nothing(monkeypatch):
    process = pooled(2, 5)
    whole = process.sample(600, length=20)
    part = process.sample(30, length=20, start=250)
    assert np.array_equal(part.tokens, whole.tokens[250:280])
    keys, sets = process._context_keys("train"), process.kernel_sets(0, 600)
    arguments = (process.program, derive_key("sequences", 2, "train"), 0, 600, 20, True)
    for budget, threads in ((2**28, 3), (5000, 1)):
        monkeypatch.setattr(sampler, "_CONTEXT_BUDGET", budget)
        tokens, _ = sampler.draw(*arguments, context_keys=keys, kernel_sets=sets, threads=threads)
        assert np.array_equal(tokens, whole.tokens)


@pytest.mark.parametrize("pool", [2, 7, 100])
def test_sets_are_uniform_and_independent(pool):
    """Chi-squares of the sets of 100,000 sequences, and of pairs of neighbours."""
    sets = Process(Graph(nodes=[CHAIN], pool=pool), seed=3).kernel_sets(2**32 - 50_000, 100_000)
    assert sets.dtype == np.int64
    for values, cells in ((sets, pool), (sets[::2] * pool + sets[1::2], pool**2)):
        counts, expected = np.bincount(values, minlength=cells), len(values) / cells
        assert len(counts) == cells
        assert abs(((counts - expected) ** 2 / expected).sum() - (cells - 1)) < 4 * math.sqrt(2 * (cells - 1))


def test_sets_of_the_largest_pool_are_uniform():
    sets = sets_of_pool(2**32, np.arange(50_000), derive_key("any"))
    counts = np.bincount(sets * 64 // 2**32, minlength=64)
    assert abs(((counts - 781.25) ** 2 / 781.25).sum() - 63) < 4 * math.sqrt(126)
    assert len(np.unique(sets % 64)) == 64


def test_sets_have_the_law_of_redrawn_kernels():
    """At alpha = 2 and n = 3, each entry is Beta(2, 4), with mean 1/3 and variance 8 / 252; sets are independent."""
    process = Process(Graph(nodes=[CHAIN.model_copy(update={"alpha": 2.0})], pool=4000))
    entries = np.stack([process.of_set(k).kernel("X") for k in range(4000)])
    assert entries.mean(0) == pytest.approx(1 / 3, abs=5 * math.sqrt(8 / 252 / 4000))
    assert entries.var(0) == pytest.approx(8 / 252, rel=0.15)
    assert abs(np.corrcoef(entries[1:, 0, 0], entries[:-1, 0, 0])[0, 1]) < 5 / math.sqrt(4000)


def test_sets_depend_on_the_seed_and_the_nodes_alone():
    nodes = [Node(name="A", num_states=4, mode="context"), Node(name="X", num_states=3, parents=("A",), observed=True)]
    small, large = (Process(Graph(nodes=nodes, pool=pool)) for pool in (2, 50))
    other_graph = Graph(nodes=[*nodes, Node(name="B", num_states=2, mode="context")], pool=9, initial="uniform")
    for k in (0, 1):
        for process in (large, Process(other_graph)):
            assert np.array_equal(process.of_set(k).kernel("A"), small.of_set(k).kernel("A"))
    assert not np.array_equal(small.of_set(0).kernel("A"), small.of_set(1).kernel("A"))
    assert not np.array_equal(small.of_set(0).kernel("A"), Process(small.graph, seed=1).of_set(0).kernel("A"))


@pytest.mark.parametrize("seed", range(8))
def test_set_0_has_the_kernels_of_fixed_nodes(seed):
    """So a pool of one is a fixed process; with stickiness, the kernels are rounded in another order."""
    process, graph = pooled(seed, 1), in_context(seed)
    nodes = [n.model_copy(update={"mode": "default"}) if n.mode == "context" else n for n in graph.nodes]
    fixed = Process(Graph(nodes=nodes, initial=graph.initial), seed)
    for node in graph.nodes:
        assert process.of_set(0).kernel(node.name) == pytest.approx(fixed.kernel(node.name), abs=1e-15)
    tokens = Process.from_kernels(fixed.graph, process.of_set(0).kernels, seed).sample(20, length=15).tokens
    assert np.array_equal(process.sample(20, length=15).tokens, tokens)


def test_a_pool_with_given_kernels():
    """Tables replace the fixed kernels; those of the pool are drawn from the seed as usual."""
    z = Node(name="Z", num_states=2, mode="context")
    x = Node(name="X", num_states=2, parents=("Z",), observed=True)
    graph = Graph(nodes=(z, x), pool=3)
    given, drawn = Process.from_kernels(graph, {"X": np.eye(2)}, seed=4), Process(graph, seed=4)
    for k in range(3):
        part = given.of_set(k)
        assert np.array_equal(part.kernel("X"), np.eye(2))
        assert np.array_equal(part.kernel("Z"), drawn.of_set(k).kernel("Z"))
        assert part.graph.pool is None
        assert (part.graph["Z"].mode, part.seed) == ("default", 4)
    assert np.array_equal(given.sample(5, length=9).tokens[:, 1:], given.sample(5, length=9).latents["Z"][:, 1:])


def test_without_a_pool_every_sequence_has_its_own_set():
    process = Process(Graph(nodes=[CHAIN]))
    assert process.kernel_sets(7, 3).tolist() == [7, 8, 9]
    with pytest.raises(ValueError, match=r"of_set: the graph has no pool, so every sequence has kernels of its own"):
        process.of_set(0)


def test_bad_requests_are_refused():
    process = Process(Graph(nodes=[CHAIN], pool=4))
    with pytest.raises(ValueError, match="index: saw 4; a whole number from 0 to 3 is needed"):
        process.of_set(4)
    with pytest.raises(ValueError, match="unknown split 'tets'; did you mean 'test'"):
        process.kernel_sets(0, 1, "tets")
    for start, count in ((-1, 1), (0, 0), (0, 2.5)):
        with pytest.raises(ValueError, match="a whole number from"):
            process.kernel_sets(start, count)


@pytest.mark.parametrize("pool", [None, 1, 8])
def test_tokens_of_context_graphs_are_pinned(pool):
    """Published sequences must not change with a new numpy, numba or n2n."""
    graph = Graph.chain(2, num_states=3, vocab_size=9, alpha_z=0.5, mode="context", stickiness=0.3, pool=pool)
    tokens = Process(graph, seed=5).sample(1, length=12, start=7041).tokens[0].tolist()
    assert tokens == PINNED[pool]


PINNED = {
    None: [0, 0, 0, 7, 7, 7, 0, 1, 1, 0, 7, 1],
    1: [0, 7, 0, 1, 7, 7, 0, 1, 1, 0, 7, 0],  # equal to the tokens of fixed nodes
    8: [0, 0, 0, 1, 1, 1, 0, 1, 1, 0, 7, 7],
}


def test_sets_of_sequences_in_any_order():
    process, sequences = Process(Graph(nodes=[CHAIN], pool=5), seed=3), np.array([9, 2, 2**33, 2])
    assert process.sets_of(sequences, "test").tolist() == [process.kernel_sets(i, 1, "test")[0] for i in sequences]
    alone = Process(Graph(nodes=[CHAIN]))
    assert alone.sets_of(sequences).tolist() == sequences.tolist()
    with pytest.raises(ValueError, match="unknown split 'tets'"):
        alone.sets_of(sequences, "tets")
