"""Kernels drawn from their prior, against exact values."""

import numpy as np
import pytest
import torch
from support.context_graphs import latent, observed

import n2n
from n2n.graph.graph import Graph
from n2n.oracle.learned.estimates import batch_mean, combine
from n2n.oracle.learned.importance import run_draws
from n2n.oracle.reference import first_law
from n2n.process.process import Process

CONJUGATE = Process(Graph(nodes=[latent("Z"), observed("Z", alpha=2.0)], initial="uniform"))
CIRCLES = {"A": np.roll(np.eye(2), 1, axis=1), "B": np.roll(np.eye(3), 1, axis=1)}
FACTORS = Process.from_kernels(
    Graph(
        nodes=[
            latent("A", mode="default"),
            latent("B", num_states=3, mode="default"),
            observed("A", "B", num_states=2, kernel="product"),
        ]
    ),
    CIRCLES,
)


def test_equals_exact_values_within_its_errors():
    """In 40 runs on a graph that has exact values too; sequences share their draws."""
    tokens = torch.from_numpy(CONJUGATE.sample(4, length=10).tokens.astype(np.int64))
    exact = n2n.in_context_nll(CONJUGATE, tokens)
    assert exact.exact
    first = torch.from_numpy(np.log(first_law(CONJUGATE).sum(1)))[tokens[:, 0]]
    covered, scores = [], []
    for seed in range(40):
        evidence, sizes = run_draws(CONJUGATE, tokens, torch.arange(4), 32, 4, seed, 2**30)
        assert ((sizes >= 1) & (sizes <= 32 + 1e-9)).all()
        found = combine(evidence, first)
        mean = batch_mean(found, 4, dependent=True)
        covered.append(mean.low <= exact.mean_loss.mean <= mean.high)
        scores.append(((found.log_likelihood - exact.log_likelihood) / found.log_likelihood_standard_error).numpy())
    assert np.mean(covered) > 0.85
    assert np.abs(scores).mean() < 1.5


def test_a_product_of_two_factors_equals_its_integral():
    """The latents go round in circles, so the likelihood is an integral over the five rows of the two factors."""
    tokens = FACTORS.sample(3, length=9).tokens
    result = n2n.in_context_nll(FACTORS, tokens, particles=128)
    assert (result.exact, result.method, result.particles, result.repeats) == (False, "importance", 128, 8)
    roots, shares = np.polynomial.legendre.leggauss(10)
    points, shares = (1 + roots) / 2, shares / 2
    likelihoods = []
    for sequence in tokens.tolist():
        likelihood = np.ones(5 * [10])  # axes: two rows of A's factor, three of B's
        running = [1.0]
        for t in range(1, 9):
            row_a, row_b = (points.reshape([-1 if k == axis else 1 for k in range(5)]) for axis in (t % 2, 2 + t % 3))
            ones, zeros = row_a * row_b, (1 - row_a) * (1 - row_b)
            likelihood = likelihood * (ones if sequence[t] else zeros) / (ones + zeros)
            running.append(np.einsum("abcde,a,b,c,d,e", likelihood, *5 * [shares]))
        likelihoods.append(running)
    expected = -np.diff(np.log(likelihoods))
    assert (np.abs(result.nll.numpy() - expected) <= 5 * result.standard_error.numpy() + 1e-9).all()
    assert result.mean_loss.low <= expected.mean() <= result.mean_loss.high
    assert result.standard_error.max() < 0.1


def test_draws_are_added_until_the_precision_is_reached():
    tokens = FACTORS.sample(3, length=9).tokens
    result = n2n.in_context_nll(FACTORS, tokens, particles=16, repeats=4, precision=0.01)
    assert result.particles > 16
    assert result.mean_loss.standard_error <= 0.01


def test_kernels_that_are_not_found_are_refused():
    nodes = [latent("Z", mode="slow"), observed("Z", kernel="product", recurrent=True, num_states=6, alpha=0.2)]
    process = Process(Graph(nodes=nodes))
    tokens = process.sample(3, length=40).tokens
    message = r"X: saw kernel 'product' over 2 variables.* of 64 kernel sets .* only \d\.\d count in sequence \d"
    with pytest.raises(ValueError, match=message):
        n2n.in_context_nll(process, tokens, particles=16, repeats=4)


def test_draws_are_not_the_kernels_of_the_process_s_own_sequences():
    """Otherwise the draws would contain the kernels that the tokens come from."""
    graph = Graph(nodes=[latent("A", mode="slow"), observed("A", kernel="product", recurrent=True, alpha=0.05)])
    process = Process(graph)
    tokens = torch.from_numpy(process.sample(20, length=12).tokens.astype(np.int64))
    found = run_draws(process, tokens, torch.arange(20), 10, 2, 0, 2**30)[0].sum(2).mean()
    told = -n2n.told_nll(process, tokens, range(20)).sum(1).mean()
    assert found < told - 2
