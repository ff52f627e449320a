"""The particle filter: resampling, unbiased likelihoods and standard errors."""

import numpy as np
import pytest
import torch
from support.context_graphs import TINY, latent, observed

import n2n
from n2n.graph.graph import Graph
from n2n.oracle.learned.kernel_counts import places
from n2n.oracle.learned.particle_filter import Cloud
from n2n.oracle.reference import brute_force_in_context
from n2n.process.process import Process


def test_the_likelihood_is_unbiased():
    """Filters with few particles, many of which resample, have the exact likelihood as their mean."""
    nodes = [latent("Z", num_states=3, alpha=0.02), observed("Z", alpha=0.02)]
    process, sequence = Process(Graph(nodes=nodes)), np.array([0, 1, 2, 0, 1, 2, 2])
    result = n2n.in_context_nll(process, np.tile(sequence, (4000, 1)), hypotheses=0, particles=8, repeats=2)
    assert (result.effective_sample_size[:, 2:4] < 4).double().mean() > 0.3
    ratio = result.log_likelihood.exp().numpy() / brute_force_in_context(process, sequence)
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.01
    assert ratio.mean() == pytest.approx(1.0, abs=4 * error)


def test_resampling_copies_in_proportion_to_weights():
    """Resampling copies particles with all their values, in proportion to their weights on average over offsets.

    A filter with a large effective sample size stays unchanged.
    """
    layout = places(Process(TINY), torch.device("cpu"))
    poor, rich = torch.tensor([[0.7, 0.05, 0.2, 0.05], [0.4, 0.2, 0.3, 0.1]], dtype=torch.float64)
    copies, offsets = torch.zeros(4), (torch.arange(1000) + 0.5) / 1000
    for offset in offsets:
        cloud = Cloud(TINY, layout, 2, 4, None)
        cloud.weights = torch.stack([poor, rich])
        cloud.states, law = torch.arange(8), torch.arange(8.0)[:, None]
        tables = [table for counts in cloud.counts.values() for table in (counts.cells, counts.totals)]
        for table in tables:
            table += torch.arange(8, dtype=torch.int32)[:, None]
        cloud._resample(law, 1 / cloud.weights.square().sum(1), torch.stack([offset, offset]).double())
        assert cloud.weights[0].eq(0.25).all()
        assert cloud.weights[1].equal(rich)
        assert cloud.states[4:].tolist() == [4, 5, 6, 7]
        assert all((cloud.states == values.T).all() for values in (law, *tables))
        copies += cloud.states[:4].bincount(minlength=4)
    assert (copies / 1000).numpy() == pytest.approx(4 * poor.numpy(), abs=2e-3)


def test_more_particles_give_smaller_errors():
    process = Process(TINY)
    tokens = process.sample(20, length=20).tokens
    few, many = (n2n.in_context_nll(process, tokens, hypotheses=0, particles=particles) for particles in (16, 1024))
    ratio = (
        many.log_likelihood_standard_error.square().mean().sqrt()
        / few.log_likelihood_standard_error.square().mean().sqrt()
    )
    assert ratio.item() == pytest.approx(1 / 8, rel=0.5)
    assert 512 <= many.effective_sample_size.mean() <= 1024
