"""The compiled particle filter against its twin in torch, which draws the same random numbers."""

import numpy as np
import pytest
import torch
from support.context_graphs import GRAPHS, TINY, latent, observed

from n2n.graph.graph import Graph
from n2n.oracle.compiled import particles
from n2n.oracle.compiled.particle_program import count_dtype
from n2n.oracle.learned.filters import run_torch
from n2n.oracle.reference import brute_force_in_context
from n2n.process.process import Process

BUDGET = 2**30
LARGE = [latent("A", num_states=4, alpha=0.3), latent("B", num_states=4), observed("A", "B", num_states=16, alpha=0.1)]
ALL = {**GRAPHS, "32 joint states and an edge": [*LARGE[:2], latent("C", "A"), observed("B", "C", alpha=0.05)]}


def assert_agrees(process: Process, length: int, particle_count: int, seed: int = 5) -> torch.Tensor:
    """The results of both filters for two sequences are equal; the effective sample sizes are returned."""
    tokens = process.sample(2, length=length, latents=False).tokens.astype(np.int64)
    likelihoods, sample_sizes = particles.filter_particles(process, tokens, particle_count, 2, seed, BUDGET)
    expected = run_torch(process, torch.from_numpy(tokens), torch.arange(len(tokens)), particle_count, 2, seed, BUDGET)
    np.testing.assert_allclose(np.log(likelihoods), expected[0].numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(sample_sizes, expected[1].numpy(), rtol=1e-10)
    return expected[1]


@pytest.mark.parametrize("initial", ["zero", "uniform"])
@pytest.mark.parametrize("name", ALL)
def test_equals_the_twin(name, initial):
    process = Process(Graph(nodes=ALL[name], initial=initial), seed=2)
    for count in (1, 7, 150):  # the last ones fill more than one block
        assert_agrees(process, 20, count)


@pytest.mark.parametrize("name", ["two latents and an edge", "a sticky child", "a sticky X", "feedback"])
@pytest.mark.parametrize(("length", "dtype"), [(40, np.uint8), (300, np.uint16)])
def test_equals_the_twin_after_resampling(name, length, dtype):
    """Sequences longer than 255 need larger counts."""
    nodes = [node.model_copy(update={"alpha": 0.05}) if node.mode == "context" else node for node in GRAPHS[name]]
    assert count_dtype(length) == dtype
    sizes = assert_agrees(Process(Graph(nodes=nodes, initial="uniform"), seed=3), length, 32, seed=2**40 + 9)
    assert (sizes < 16).sum() > 2


def test_a_count_does_not_overflow():
    """X always shows the same token, so that one entry has all counts; counts have three types."""
    graph = Graph(nodes=[observed(recurrent=True, alpha=0.5)])
    for length in (255, 256, 257, 65535, 65536, 65546):
        tokens = np.zeros((1, length), np.int64)
        filtered, _ = particles.filter_particles(Process(graph), tokens, 1, 1, 0, BUDGET)
        counted, seen = particles.count_sequences(graph, tokens), np.arange(length - 1)
        for likelihoods in (filtered[0, 0], counted[0]):
            np.testing.assert_allclose(likelihoods, (seen + 0.5) / (seen + 1.5), rtol=1e-14)


@pytest.mark.parametrize("initial", ["zero", "uniform"])
@pytest.mark.parametrize(
    "nodes",
    [
        [observed(recurrent=True, alpha=0.3)],
        [latent("Z", "X", num_states=1), observed("Z", recurrent=True)],
        [latent("Z", num_states=1), observed("Z", alpha=0.1)],
    ],
)
def test_counts_equal_the_filter_and_its_twin_if_nothing_is_hidden(nodes, initial):
    process = Process(Graph(nodes=nodes, initial=initial))
    tokens = process.sample(5, length=50, latents=False).tokens.astype(np.int64)
    counted = particles.count_sequences(process.graph, tokens)
    filtered = particles.filter_particles(process, tokens, 1, 1, 0, BUDGET)[0][:, 0]
    twin = (
        run_torch(process, torch.from_numpy(tokens), torch.arange(len(tokens)), 1, 1, 0, BUDGET)[0][:, 0].exp().numpy()
    )
    np.testing.assert_allclose(counted, filtered, rtol=1e-13)
    np.testing.assert_allclose(counted, twin, rtol=1e-13)


def test_neither_threads_nor_memory_nor_other_sequences_change_a_bit(monkeypatch):
    process = Process(Graph(nodes=LARGE))
    tokens = process.sample(6, length=30).tokens.astype(np.int64)
    alone = particles.filter_particles(process, tokens, 64, 3, 0, BUDGET)
    for threads, size in ((1, 2**20), (4, 1), (4, 2**18)):
        monkeypatch.setattr(particles, "cores", lambda threads=threads: threads)
        monkeypatch.setattr(particles, "_PART", size)
        for memory in (BUDGET, 1):
            again = particles.filter_particles(process, tokens[:4], 64, 3, 0, memory)
            for one, other in zip(alone, again, strict=True):
                assert np.array_equal(one[:4], other)


def test_the_likelihood_of_every_prefix_is_unbiased():
    """4,000 filters with few particles, many of which resample."""
    nodes = [latent("Z", num_states=3, alpha=0.02), observed("Z", alpha=0.02)]
    process, sequence = Process(Graph(nodes=nodes)), np.array([0, 1, 2, 0, 1, 2, 2])
    likelihoods, sizes = particles.filter_particles(process, sequence[None], 8, 4000, 1, BUDGET)
    assert (sizes < 4).mean() > 0.1
    for t, estimates in enumerate(likelihoods[0].cumprod(1).T, start=1):
        exact = brute_force_in_context(process, sequence[: t + 1])
        error = estimates.std() / np.sqrt(len(estimates))
        assert estimates.mean() == pytest.approx(exact, abs=4 * error + 1e-12 * exact)


def test_random_numbers_differ_between_all_filters_and_seeds():
    process = Process(TINY)
    tokens = np.tile(process.sample(1, length=12).tokens.astype(np.int64), (3, 1))
    results = [particles.filter_particles(process, tokens, 16, 3, seed, BUDGET)[0][:, :, -1] for seed in (0, 1, 2**32)]
    assert len(np.unique(np.stack(results))) == 27


def test_an_impossible_token_has_probability_zero():
    graph = Graph(nodes=[latent("Z"), observed("Z", mode="default")])
    process = Process.from_kernels(graph, {"X": [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]})
    likelihoods, sizes = particles.filter_particles(process, np.array([[0, 1, 2, 0]]), 64, 2, 0, BUDGET)
    assert (likelihoods[0, :, 1] == 0).all()
    assert (likelihoods[0, :, 2] > 0).all()
    assert (sizes[0, :, 1] == 64).all()
