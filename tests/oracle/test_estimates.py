"""Intervals from repeated particle filters: do they cover the exact values as often as they say?"""

import numpy as np
import pytest
import torch
from support.context_graphs import latent, observed

import n2n
from n2n.graph.graph import Graph
from n2n.oracle.learned import estimates
from n2n.oracle.learned.filters import run_filters
from n2n.process.process import Process
from n2n.utils.statistics import student_quantile

BATCHES, SEQUENCES, LEAST = 300, 8, 0.912  # chance leaves 95% above this in 99.9% of tests
CASES = {
    "a latent and X": ([latent("Z", alpha=0.3), observed("Z", num_states=2, alpha=0.3)], 24),
    "a latent, long": ([latent("Z", alpha=0.3), observed("Z", mode="default", alpha=0.3)], 60),
    "sharp emissions": ([latent("Z", mode="default", alpha=0.3), observed("Z", num_states=4, alpha=0.1)], 24),
    "a slow latent": ([latent("Z", mode="slow", alpha=0.3), observed("Z", alpha=0.05)], 40),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("particles", "repeats"), [(4, 8), (4, 3), (16, 2), (16, 8), (128, 2), (128, 8)])
def test_intervals_cover_the_exact_values(name, particles, repeats):
    """The interval of the mean over sequences, and of each sequence's log likelihood where its error is below 0.5.

    At 4 particles, the likelihoods of some filters are wrong by several nats.
    """
    nodes, length = CASES[name]
    process = Process(Graph(nodes=nodes, initial="uniform"), seed=4)
    tokens = process.sample(SEQUENCES, length=length, latents=False).tokens.astype(np.int64)
    exact = n2n.in_context_nll(process, tokens)
    assert exact.exact
    many = torch.from_numpy(tokens).repeat(BATCHES, 1)
    evidence, _ = run_filters(process, many, torch.arange(len(many)), particles, repeats, 3, 2**30)
    found = estimates.combine(evidence, torch.zeros(len(many)))
    batches = [estimates.Estimate(*fields) for fields in zip(*(x.split(SEQUENCES) for x in found), strict=True)]
    means = [estimates.batch_mean(batch, repeats) for batch in batches]
    truth = exact.nll.mean().item()
    assert np.mean([mean.low <= truth <= mean.high for mean in means]) > LEAST
    error = (found.log_likelihood + found.bias.sum(1)).view(BATCHES, -1) + exact.nll.sum(1)
    half = student_quantile(repeats - 1) * found.log_likelihood_standard_error.view(BATCHES, -1)
    if half.median() < 0.5 * student_quantile(repeats - 1):
        assert (error.abs() <= half + 1e-9).double().mean() > LEAST


def test_a_mean_s_interval_by_hand():
    """Two sequences of 5 losses; the standard error of the mean includes the mean of the biases."""
    values = estimates.Estimate(
        nll=torch.full((2, 5), 0.5),
        standard_error=torch.zeros(2, 5),
        bias=torch.tensor([[0.01] * 5, [0.03] * 5]),
        log_likelihood=torch.tensor([-2.5, -2.5]),
        log_likelihood_standard_error=torch.tensor([0.3, 0.4]),
    )
    mean = estimates.batch_mean(values, repeats=4)
    assert mean.mean == pytest.approx(0.48)
    assert mean.standard_error == pytest.approx(np.sqrt(0.25 + 0.2**2) / 10)
    freedom = int(3 * 0.25**2 / (0.3**4 + 0.4**4))
    assert freedom == 5
    assert mean.high - mean.mean == pytest.approx(student_quantile(5) * mean.standard_error)
    assert mean.mean - mean.low == pytest.approx(mean.high - mean.mean)


def test_sequences_of_probability_0_and_errors_that_are_unknown():
    nan, inf = float("nan"), float("inf")
    values = estimates.exact(torch.tensor([[0.5, 0.5], [inf, nan]]), torch.tensor([-1.0, -inf]))
    mean = estimates.batch_mean(values, repeats=2)
    assert (mean.mean, mean.standard_error) == (inf, 0)
    unknown = values._replace(log_likelihood_standard_error=torch.tensor([nan, 0.0]))
    assert estimates.batch_mean(unknown, repeats=2).standard_error == inf


def test_repeats_that_die_count_as_nothing():
    """If one of three repeats dies at the second token, the means include it, and the errors stay finite."""
    evidence = torch.tensor([[[0.5, 0.5], [0.5, 0.0], [0.2, 0.5]]], dtype=torch.float64).log()
    result = estimates.combine(evidence, torch.zeros(1))
    likelihood = np.array([[0.5, 0.25], [0.5, 0.0], [0.2, 0.1]])
    assert result.log_likelihood.exp().item() == pytest.approx(likelihood[:, 1].mean())
    assert result.nll[0].exp().numpy() == pytest.approx([1 / 0.4, 0.4 / (0.35 / 3)])
    without = np.log([np.delete(likelihood, r, 0).mean(0) for r in range(3)])
    for values, error in (
        (without[:, 1], result.log_likelihood_standard_error[0]),
        (-without[:, 0], result.standard_error[0, 0]),
    ):
        assert error.item() == pytest.approx(np.sqrt(2 * values.var()))
