"""Kernels redrawn for every sequence: their distribution, and their use in sampling."""

import math

import numpy as np
import pytest
from support.context_graphs import in_context

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process import kernels, sampler
from n2n.process.context_kernels import fill_logarithms, log_gamma
from n2n.process.kernels import draw_context_kernels
from n2n.process.process import Process
from n2n.utils.philox import philox, uniform


def log_gammas(alpha: float, count: int) -> np.ndarray:
    zero = np.uint64(0)
    return np.array([log_gamma(alpha, zero, zero, np.uint64(i), np.uint64(5), np.uint64(6)) for i in range(count)])


@pytest.mark.parametrize("alpha", [0.3, 1.0, 7.5])
def test_gamma_moments(alpha):
    """Mean and variance are alpha; a chi-square over the deciles of a sample from numpy checks the distribution."""
    values = np.exp(log_gammas(alpha, 20_000))
    assert values.mean() == pytest.approx(alpha, abs=5 * math.sqrt(alpha / 20_000))
    assert values.var() == pytest.approx(alpha, rel=0.1 + 0.1 / alpha)
    reference = np.random.default_rng(0).gamma(alpha, size=2_000_000)
    edges = np.quantile(reference, np.linspace(0.1, 0.9, 9))
    counts = np.bincount(np.searchsorted(edges, values), minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 9 + 5 * math.sqrt(18)


def test_a_tiny_alpha_does_not_underflow():
    """log Gamma(alpha) is close to -E / alpha with E exponential; at 1e-3 its mean is digamma(1e-3) = -1000.5756."""
    values = log_gammas(1e-3, 20_000)
    assert np.isfinite(values).all()
    assert values.mean() == pytest.approx(-1000.5756, abs=5 * 1000 / math.sqrt(20_000))
    assert values.min() < -5000


def without_squeeze(alpha: float, low: int, entry: int, key: list[np.uint64]) -> float:
    """Marsaglia and Tsang's variable, where the logarithm decides about every attempt."""
    d = alpha + 2 / 3
    for attempt in range(0, 20, 2):
        words = [philox(np.uint64(low), np.uint64(0), np.uint64(entry), np.uint64(attempt + i), *key) for i in range(2)]
        u = [uniform(*pair) for block in words for pair in (block[:2], block[2:])]
        normal = math.sqrt(-2 * math.log1p(-u[0])) * math.cos(2 * math.pi * u[1])
        v = (1 + normal / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(1 - u[2]) < normal**2 / 2 + d - d * v + d * math.log(v):
            return math.log(d * v) + math.log1p(-u[3]) / alpha
    raise AssertionError("no attempt was accepted")


@pytest.mark.parametrize("alpha", [1e-3, 0.3, 7.5])
def test_the_squeeze_and_the_batch_change_no_variable(alpha):
    """Also in a batch whose size no vector divides; entries that the squeeze leaves to the logarithm occur too."""
    key = [np.uint64(5), np.uint64(6)]
    rows = np.empty((23, 29))
    fill_logarithms(rows, alpha, np.uint64(3), *key)
    assert rows.ravel() == pytest.approx([without_squeeze(alpha, 3, i, key) for i in range(rows.size)], rel=1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_kernels_of_several_sequences_equal_those_of_each(seed, monkeypatch):
    """To the bit, in any order, with one thread and with several."""
    process = Process(in_context(seed), seed)
    indices = np.array([3, 0, 2**40, 3, 17])
    for threads in (1, 2):
        monkeypatch.setattr(kernels, "cores", lambda threads=threads: threads)
        monkeypatch.setattr(kernels, "_ENTRIES_PER_THREAD", 1)
        for name, tables in process.context_kernels(indices, "test").items():
            each = [process.of_sequence(int(index), split="test").kernel(name) for index in indices]
            assert np.array_equal(tables, each)


@pytest.mark.parametrize(
    ("alpha", "states", "expected"),
    [(1e-3, 32, 0.049798), (0.1, 32, 1.735094), (1.0, 32, 3.058495), (0.5, 8, 1.469628)],
)
def test_mean_entropy_of_a_redrawn_row(alpha, states, expected):
    """E[H] = psi(n alpha + 1) - psi(alpha + 1), over rows and over sequences."""
    node = Node(name="X", num_states=states, observed=True, recurrent=True, alpha=alpha, mode="context")
    process = Process(Graph(nodes=(node,)))
    rows = np.concatenate([process.of_sequence(i).kernel("X") for i in range(400)])
    entropy = -(rows * np.log(np.maximum(rows, 1e-300))).sum(axis=-1)
    assert rows.sum(axis=-1) == pytest.approx(1.0, abs=1e-12)
    assert abs(entropy.mean() - expected) < 4 * entropy.std() / len(entropy) ** 0.5


@pytest.mark.parametrize("seed", range(25))
def test_a_sequence_follows_its_own_kernels(seed):
    """The compiled sampler draws only the rows it needs; whole kernels, drawn separately, give the same sequence."""
    process = Process(in_context(seed), seed)
    sample = process.sample(70, length=30, split="valid", start=5)
    for i in (0, 1, 63, 64, 69):
        sequence = process.of_sequence(5 + i, split="valid").sample(1, length=30, split="valid", start=5 + i)
        assert np.array_equal(sequence.tokens[0], sample.tokens[i])
        assert all(np.array_equal(sequence.latents[name][0], sample.latents[name][i]) for name in sample.latents)


def test_every_sequence_split_and_node_has_its_own_kernel():
    nodes = [Node(name=name, num_states=4, mode="context") for name in ("A", "B")]
    x = Node(name="X", num_states=4, parents=("A", "B"), observed=True)
    process = Process(Graph(nodes=(*nodes, x)))
    tables = [
        process.of_sequence(0).kernel("A"),
        process.of_sequence(0).kernel("B"),
        process.of_sequence(1).kernel("A"),
        process.of_sequence(2**32).kernel("A"),
        process.of_sequence(0, split="test").kernel("A"),
        Process(process.graph, seed=1).of_sequence(0).kernel("A"),
    ]
    assert len({table.tobytes() for table in tables}) == len(tables)
    assert np.array_equal(process.of_sequence(0).kernel("X"), process.kernel("X"))


def test_a_redrawn_product_kernel_is_a_product():
    """log p(z' | z, a) = f(z, z') + g(a, z') + c(z, a), and the kernel does depend on a."""
    nodes = (
        Node(name="A", num_states=3),
        Node(name="B", num_states=4, parents=("A",), kernel="product", mode="context"),
        Node(name="X", num_states=2, parents=("B",), observed=True),
    )
    logs = np.log(Process(Graph(nodes=nodes)).of_sequence(3).kernel("B"))
    contrast = logs[..., 1:] - logs[..., :1]
    assert contrast - contrast[:1] - contrast[:, :1] + contrast[:1, :1] == pytest.approx(0.0, abs=1e-9)
    assert np.abs(contrast[0, 0] - contrast[1, 0]).max() > 0.1


def test_stickiness_mixes_with_staying():
    free = Node(name="Z", num_states=4, mode="context")
    x = Node(name="X", num_states=4, parents=("Z",), observed=True)
    kernel, sticky = (
        Process(Graph(nodes=(free.model_copy(update={"stickiness": s}), x))).of_sequence(9).kernel("Z")
        for s in (0.0, 0.75)
    )
    assert sticky == pytest.approx(0.75 * np.eye(4) + 0.25 * kernel, abs=1e-12)


def test_full_kernels_are_dirichlet_over_sequences():
    """At alpha = 2 and n = 3, each entry is Beta(2, 4), with mean 1/3 and variance 8 / 252."""
    node = Node(name="X", num_states=3, observed=True, recurrent=True, alpha=2.0, mode="context")
    graph = Graph(nodes=(node,))
    entries = draw_context_kernels(graph, np.arange(4000), np.array([[11, 12]], np.uint64))["X"]
    assert entries.mean(0) == pytest.approx(1 / 3, abs=5 * math.sqrt(8 / 252 / 4000))
    assert entries.var(0) == pytest.approx(8 / 252, rel=0.15)
    assert abs(np.corrcoef(entries[:, 0, 0], entries[:, 1, 0])[0, 1]) < 5 / math.sqrt(4000)


@pytest.mark.parametrize("budget", [1, 5000])
def test_narrow_tiles_change_nothing(budget, monkeypatch):
    """With large kernels, fewer sequences are drawn side by side."""
    process = Process(in_context(2), 2)
    whole = process.sample(70, length=20)
    monkeypatch.setattr(sampler, "_CONTEXT_BUDGET", budget)
    narrow = process.sample(70, length=20)
    assert np.array_equal(whole.tokens, narrow.tokens)
    assert all(np.array_equal(whole.latents[name], narrow.latents[name]) for name in whole.latents)


def test_context_nodes_have_no_fixed_kernel():
    node = Node(name="X", num_states=3, observed=True, recurrent=True, mode="context")
    graph = Graph(nodes=(node,))
    with pytest.raises(ValueError, match=r"X: its kernel is redrawn for every sequence; process.of_sequence"):
        Process(graph).kernel("X")
    with pytest.raises(ValueError, match="saw a table for 'X', whose mode 'context' redraws it"):
        Process.from_kernels(graph, {"X": np.eye(3)})
    with pytest.raises(ValueError, match=r"'stationary' needs fixed kernels; mode 'context' redraws those of \['X'\]"):
        Graph(nodes=(node,), initial="stationary")
    with pytest.raises(ValueError, match="index: saw -1"):
        Process(graph).of_sequence(-1)
    with pytest.raises(ValueError, match="unknown split 'tets'; did you mean 'test'"):
        Process(graph).of_sequence(0, split="tets")
