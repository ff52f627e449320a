"""The exact recursion over merged paths against its twin, sums over all paths and closed forms."""

import numpy as np
import pytest
from support.context_graphs import GRAPHS, latent, observed

from n2n.graph.graph import Graph
from n2n.oracle.compiled import hypotheses
from n2n.oracle.compiled.hypotheses import enumerate_hypotheses
from n2n.oracle.reference import brute_force_in_context, in_context_by_hypotheses
from n2n.process.process import Process

BUDGET = 2**30
SMALL = [name for name in GRAPHS if name not in ("two latents and an edge", "a sticky child")]


@pytest.mark.parametrize("initial", ["zero", "uniform"])
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_the_sum_over_all_paths(name, initial):
    process = Process(Graph(nodes=GRAPHS[name], initial=initial), seed=2)
    tokens = process.sample(2, length=4, latents=False).tokens.astype(np.int64)
    likelihoods, numbers = enumerate_hypotheses(process, tokens, 4096, BUDGET)
    exact = [[brute_force_in_context(process, row[: t + 1]) for t in range(1, 4)] for row in tokens]
    np.testing.assert_allclose(likelihoods.cumprod(1), exact, rtol=1e-12)
    assert (numbers > 0).all()


@pytest.mark.parametrize("initial", ["zero", "uniform"])
@pytest.mark.parametrize("name", SMALL)
def test_equals_the_twin_with_the_same_number_of_hypotheses(name, initial):
    process = Process(Graph(nodes=GRAPHS[name], initial=initial), seed=3)
    tokens = process.sample(2, length=6, latents=False).tokens.astype(np.int64)
    likelihoods, numbers = enumerate_hypotheses(process, tokens, 4096, BUDGET)
    for row, sequence, number in zip(likelihoods, tokens, numbers, strict=True):
        history = in_context_by_hypotheses(process, sequence)
        np.testing.assert_allclose(row.cumprod(), [sum(weights.values()) for weights in history[1:]], rtol=1e-12)
        assert number == max(map(len, history[:-1]))  # after the last token none are needed


def test_a_chain_of_second_order_follows_from_counts():
    """A latent that holds the last two tokens is certain, so the counts after each pair of tokens decide."""
    pairs = np.zeros((9, 3, 9))
    for old, new in np.ndindex(9, 3):
        pairs[old, new, 3 * (old % 3) + new] = 1  # (x_{t-2}, x_{t-1})
    graph = Graph(nodes=[latent("Z", "X", num_states=9, mode="default"), observed("Z", alpha=0.4)])
    process = Process.from_kernels(graph, {"Z": pairs})
    tokens = process.sample(4, length=60, latents=False).tokens.astype(np.int64)
    likelihoods, numbers = enumerate_hypotheses(process, tokens, 1, BUDGET)
    assert (numbers == 1).all()
    for row, sequence in zip(likelihoods, tokens.tolist(), strict=True):
        counts, padded = np.full((3, 3, 3), 0.4), [0, *sequence]
        for t in range(1, 60):
            seen = counts[padded[t - 1], padded[t]]
            assert row[t - 1] == pytest.approx(seen[padded[t + 1]] / seen.sum(), rel=1e-12)
            seen[padded[t + 1]] += 1


def test_emissions_of_a_certain_path_follow_from_counts():
    """Z goes round in a circle from state 0, so the counts of tokens in each of its states decide."""
    graph = Graph(nodes=[latent("Z", num_states=5, mode="default"), observed("Z", num_states=7, alpha=0.2)])
    process = Process.from_kernels(graph, {"Z": np.roll(np.eye(5), 1, axis=1)})
    tokens = process.sample(3, length=300, latents=False).tokens.astype(np.int64)
    likelihoods, numbers = enumerate_hypotheses(process, tokens, 1, BUDGET)
    assert (numbers == 1).all()
    for row, sequence in zip(likelihoods, tokens.tolist(), strict=True):
        counts = np.full((5, 7), 0.2)
        for t in range(1, 300):
            seen = counts[t % 5]
            assert row[t - 1] == pytest.approx(seen[sequence[t]] / seen.sum(), rel=1e-12)
            seen[sequence[t]] += 1


def test_a_sequence_beyond_the_limit_is_given_up_and_leaves_no_trace(monkeypatch):
    process = Process(Graph(nodes=GRAPHS["a sticky X"], initial="uniform"))
    tokens = process.sample(6, length=10, latents=False).tokens.astype(np.int64)
    whole, numbers = enumerate_hypotheses(process, tokens, 2**16, BUDGET)
    limit = int(np.median(numbers))
    assert 0 < (numbers > limit).sum() < 6
    for threads in (1, 3):
        monkeypatch.setattr(hypotheses, "cores", lambda threads=threads: threads)
        monkeypatch.setattr(hypotheses, "_PART", 1)
        part, kept = enumerate_hypotheses(process, tokens, limit, BUDGET)
        assert np.array_equal(kept, np.where(numbers > limit, -1, numbers))
        assert np.array_equal(part[kept > 0], whole[kept > 0])


def test_growth_beyond_the_limit_is_foreseen():
    """A sequence that heads for many times the limit is given up long before; one that heads for less is finished."""
    process = Process(Graph(nodes=[latent("Z"), observed("Z", mode="default")]))
    tokens = process.sample(4, length=200, latents=False).tokens.astype(np.int64)
    _, short = enumerate_hypotheses(process, tokens[:, :70], 4000, BUDGET)
    assert (short > 2000).all()
    likelihoods, numbers = enumerate_hypotheses(process, tokens, 2000, BUDGET)
    assert (numbers == -1).all()
    assert (likelihoods[:, 40:] == 0).all()
    _, numbers = enumerate_hypotheses(process, tokens, 2**15, BUDGET)
    assert (numbers > 16_000).all()


def test_a_token_of_probability_zero_ends_the_sequence():
    graph = Graph(nodes=[latent("Z"), observed("Z", mode="default")])
    process = Process.from_kernels(graph, {"X": [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]})
    likelihoods, numbers = enumerate_hypotheses(process, np.array([[0, 1, 2, 0, 1], [0, 1, 0, 1, 0]]), 64, BUDGET)
    assert (likelihoods[0] > 0).tolist() == [True, False, False, False]
    assert (likelihoods[1] > 0).all()
    assert (numbers > 0).all()


@pytest.mark.parametrize("length", [255, 256, 300])
def test_a_count_does_not_overflow(length):
    graph = Graph(nodes=[latent("Z", num_states=2, mode="default"), observed("Z", num_states=2, alpha=0.5)])
    process = Process.from_kernels(graph, {"Z": np.eye(2)})
    likelihoods, _ = enumerate_hypotheses(process, np.zeros((1, length), np.int64), 1, BUDGET)
    seen = np.arange(length - 1)
    np.testing.assert_allclose(likelihoods[0], (seen + 0.5) / (seen + 1), rtol=1e-14)
