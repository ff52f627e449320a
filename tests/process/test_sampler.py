import numpy as np
import pytest
from support.random_graphs import mixing_graph, random_graph

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.process import sampler
from n2n.process.process import Process
from n2n.process.sampler import draw
from n2n.process.sampler_reference import draw_numpy
from n2n.process.sampler_tables import cumulative, smallest_dtype
from n2n.process.splits import SPLITS
from n2n.utils import cpu
from n2n.utils.philox import derive_key


def assert_twins_agree(process: Process, start: int = 0) -> None:
    arguments = (process.program, derive_key("sequences", 0, "train"), start, 50, 20, True)
    for fast, slow in zip(draw(*arguments), draw_numpy(*arguments), strict=True):
        assert fast.dtype == slow.dtype
        assert np.array_equal(fast, slow)


@pytest.mark.parametrize("name", PRESETS)
def test_twins_agree_on_presets(name):
    assert_twins_agree(Process(Graph.preset(name)))


@pytest.mark.parametrize("seed", range(30))
def test_twins_agree_on_random_graphs(seed):
    assert_twins_agree(Process(random_graph(seed), seed))


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(8))
def test_twins_agree_from_other_starts(seed, initial):
    assert_twins_agree(Process(mixing_graph(seed, initial), seed))


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(4))
def test_the_first_step_has_the_initial_law(seed, initial):
    """A chi-square of (latents, token) at t = 0, and also at t = 3 if the law is stationary."""
    process = Process(mixing_graph(seed, initial), seed)
    sample = process.sample(50_000, length=4)
    law = process.initial_law
    for t in (0, 3) if initial == "stationary" else (0,):
        counts = np.zeros(law.shape)
        np.add.at(counts, (*(values[:, t] for values in sample.latents.values()), sample.tokens[:, t]), 1)
        statistic, cells = chi_square(counts, law * 50_000)
        assert cells > 3
        assert statistic < cells + 5 * np.sqrt(2 * cells)


def test_twins_agree_beyond_32_bit_indices():
    process = Process(Graph.preset("four_chains"))
    assert_twins_agree(process, start=2**32 - 10)
    assert_twins_agree(process, start=2**40)
    low, high = (process.sample(1, length=64, start=start).tokens for start in (5, 5 + 2**32))
    assert not np.array_equal(low, high)


def test_a_sequence_does_not_depend_on_threads_batch_or_length(monkeypatch):
    process = Process(Graph.preset("dense"))
    whole = process.sample(100, length=50)
    monkeypatch.setattr(sampler, "_SEQUENTIAL_BELOW", 0)
    monkeypatch.delenv("OMP_NUM_THREADS")
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _, threads=threads: range(threads), raising=False)
        assert np.array_equal(process.sample(100, length=50).tokens, whole.tokens)
    for start, count in [(0, 1), (41, 7), (99, 1)]:
        part = process.sample(count, length=50, start=start)
        assert np.array_equal(part.tokens, whole.tokens[start : start + count])
        assert np.array_equal(part.latents["Z3"], whole.latents["Z3"][start : start + count])
    shorter = process.sample(100, length=20, latents=False)
    assert np.array_equal(shorter.tokens, whole.tokens[:, :20])


def test_splits_and_sequences_do_not_repeat():
    process = Process(Graph.preset("two_chains"))
    rows = [row.tobytes() for split in SPLITS for row in process.sample(500, length=64, split=split).tokens]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize(("states", "name"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65_537, "uint32")])
def test_smallest_dtype(states, name):
    assert smallest_dtype(states) == np.dtype(name)


def test_wide_vocabularies_widen_the_type():
    nodes = (Node(name="Z", num_states=2), Node(name="X", num_states=300, parents=("Z",), observed=True))
    assert Process(Graph(nodes=nodes)).sample(2, length=5).tokens.dtype == np.uint16


def chi_square(observed: np.ndarray, expected: np.ndarray) -> tuple[float, int]:
    """Return the statistic and its number of cells, for cells with an expected count of at least 5."""
    cells = expected >= 5
    return float((((observed - expected) ** 2)[cells] / expected[cells]).sum()), int(cells.sum())


@pytest.mark.parametrize("seed", range(8))
def test_frequencies_follow_the_kernels(seed):
    """A chi-square compares all transitions and emissions with the kernels' rows, at a fixed seed."""
    process = Process(random_graph(seed), seed)
    sample = process.sample(2000, length=40)
    statistic, cells, rows = 0.0, 0, 0
    for node in process.graph.nodes:
        values = sample.tokens if node.observed else sample.latents[node.name]
        parents = [values[:, :-1]] if node.sees_itself else []
        parents += [sample.tokens[:, :-1] if name == "X" else sample.latents[name][:, 1:] for name in node.parents]
        kernel = process.kernel(node.name)
        counts = np.zeros(kernel.shape)
        np.add.at(counts, (*parents, values[:, 1:]), 1)
        totals = counts.sum(axis=-1, keepdims=True)
        node_statistic, node_cells = chi_square(counts, totals * kernel)
        statistic, cells, rows = statistic + node_statistic, cells + node_cells, rows + int((totals > 0).sum())
        assert not counts[kernel == 0].any()
    assert cells > 4
    assert statistic < cells + 5 * np.sqrt(2 * cells)
    assert statistic > cells - rows - 5 * np.sqrt(2 * cells)


def test_impossible_states_are_never_drawn():
    rows = np.zeros((3, 11))
    rows[0, [1, 3]] = 0.5
    rows[1, 0] = 1.0
    rows[2, :10] = 0.1
    assert rows[2].cumsum()[-1] < 1.0  # a sum that rounds down must not allow the impossible last state
    for row, cdf in zip(rows, cumulative(rows), strict=True):
        for value in (0.0, 1e-300, 0.4999, 0.5, 0.999, 1 - 2.0**-53):
            assert row[sampler._search(cdf, value)] > 0
