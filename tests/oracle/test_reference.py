"""The in-context reference sums to one and equals the mean over redrawn kernels."""

import itertools

import numpy as np
import pytest
import torch
from support.context_graphs import GRAPHS

import n2n
from n2n.graph.graph import Graph
from n2n.oracle.reference import brute_force_in_context, first_law
from n2n.process.process import Process


@pytest.mark.parametrize("name", ["two latents and an edge", "a sticky latent", "a sticky X alone"])
def test_equals_the_mean_over_redrawn_kernels(name):
    """P(tokens) is the mean probability under oracles that know the kernels, over many draws of the kernels."""
    process = Process(Graph(nodes=GRAPHS[name]))
    tokens = process.sample(1, length=4, latents=False, start=5).tokens
    likelihoods = torch.stack([n2n.filter(process.of_sequence(i), tokens).log_likelihood.exp() for i in range(400)])
    assert brute_force_in_context(process, tokens[0]) == pytest.approx(
        likelihoods.mean().item(), abs=4 * likelihoods.std().item() / 20
    )


@pytest.mark.parametrize("name", ["feedback", "a sticky child"])
def test_sums_to_one(name):
    process = Process(Graph(nodes=GRAPHS[name]))
    every = [np.array([0, *rest]) for rest in itertools.product(range(2), repeat=3)]
    assert sum(brute_force_in_context(process, sequence) for sequence in every) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("name", "initial"), [("the emission", "uniform"), ("a latent", "uniform")])
def test_sums_to_one_over_first_tokens_too(name, initial):
    """The sum of P(x_0) P(x_1 .. x_{T-1} | x_0) over all sequences is one."""
    process = Process(Graph(nodes=GRAPHS[name], initial=initial))
    first = first_law(process).sum(1)
    every = [np.array(word) for word in itertools.product(range(3), repeat=3)]
    total = sum(first[word[0]] * brute_force_in_context(process, word) for word in every)
    assert total == pytest.approx(1.0, abs=1e-12)
