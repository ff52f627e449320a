"""The mean-field filter against an explicit loop over joint states."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from support.exact_beliefs import marginals
from support.frozen_graphs import freeze
from support.random_graphs import random_graph

import n2n
from n2n.oracle.mean_field import mean_field
from n2n.oracle.reference import emission_row, initial_belief, joint_states, transition_probability
from n2n.process.process import Process


def by_hand(process: Process, tokens: np.ndarray) -> tuple[list[float], list[dict[str, np.ndarray]]]:
    """Losses and beliefs after each token for one sequence, computed with only dictionaries and sums."""
    states = joint_states(process)

    def marginals_of(joint: np.ndarray) -> dict[str, np.ndarray]:
        return {name: laws[0] for name, laws in marginals(process, joint[None]).items()}

    nll, beliefs = [], [marginals_of(initial_belief(process, tokens[0]))]
    for before, token in pairwise(tokens):
        joint = [np.prod([beliefs[-1][name][state[name]] for name in beliefs[-1]]) for state in states]
        moved = np.zeros(len(states))
        for (i, old), (j, new) in product(enumerate(states), repeat=2):
            moved[j] += joint[i] * transition_probability(process, old, new, before)
        moved *= [emission_row(process, state, before)[token] for state in states]
        nll.append(-np.log(moved.sum()))
        beliefs.append(marginals_of(moved / moved.sum()))
    return nll, beliefs


def assert_equals_the_loop(process: Process, count: int) -> None:
    """Losses and beliefs on sequences of 6 tokens are those of the loop over joint states."""
    tokens = process.sample(count, length=6).tokens
    result = mean_field(process, tokens)
    for row, sequence in enumerate(tokens):
        nll, beliefs = by_hand(process, sequence)
        np.testing.assert_allclose(result.nll[row], nll, atol=1e-9)
        for name, belief in result.beliefs.items():
            np.testing.assert_allclose(belief[row], [step[name] for step in beliefs], atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_loop_over_joint_states(seed):
    assert_equals_the_loop(Process(random_graph(seed), seed=seed), 3)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_for_frozen_latents(seed):
    """Correlations of a frozen latent with the others are lost in each step, as those of other latents are."""
    assert_equals_the_loop(freeze(seed, ["uniform", "stationary"][seed % 2]), 2)


def test_equals_the_oracle_for_one_latent():
    process = Process(n2n.Graph.preset("single"), seed=1)
    tokens = process.sample(4, length=20).tokens
    exact, result = n2n.filter(process, tokens, beliefs=True), mean_field(process, tokens)
    torch.testing.assert_close(result.nll, exact.nll)
    torch.testing.assert_close(result.beliefs["Z1"], exact.beliefs["Z1"])


def test_the_loss_is_larger_than_the_oracle_s():
    """The latents are correlated given the tokens, because X depends on both."""
    process = Process(n2n.Graph.preset("two_chains"), seed=0)
    tokens = process.sample(64, length=64, split="test").tokens
    excess = (mean_field(process, tokens).nll - n2n.filter(process, tokens).nll).mean(1)
    assert excess.mean() > 3 * excess.std() / 8
    assert excess.mean() > 0.01


def test_the_budget_cuts_the_batch_without_changing_results():
    process = Process(n2n.Graph.preset("four_chains"), seed=0)
    tokens = process.sample(9, length=8).tokens
    small, whole = mean_field(process, tokens, memory_budget=140_000), mean_field(process, tokens)
    torch.testing.assert_close(small.nll, whole.nll)
    with pytest.raises(ValueError, match="budget"):
        mean_field(process, tokens, memory_budget=1000)


def test_equals_the_oracle_for_a_graph_without_latents():
    graph = n2n.Graph(nodes=[n2n.Node(name="X", num_states=4, observed=True, recurrent=True)])
    process = Process(graph, seed=0)
    tokens = process.sample(3, length=9).tokens
    torch.testing.assert_close(mean_field(process, tokens).nll, n2n.filter(process, tokens).nll)
