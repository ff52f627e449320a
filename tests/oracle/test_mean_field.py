"""The mean-field filter against an explicit loop over joint states."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from support.random_graphs import random_graph

import n2n
from n2n.oracle.mean_field import mean_field
from n2n.oracle.reference import emission_row, initial_belief, joint_states, transition_probability
from n2n.process.process import Process


def by_hand(process: Process, tokens: np.ndarray) -> tuple[list[float], list[dict[str, np.ndarray]]]:
    """Losses and beliefs after each token for one sequence, computed with only dictionaries and sums."""
    latents, states = process.graph.latents, joint_states(process)

    def marginals(joint: np.ndarray) -> dict[str, np.ndarray]:
        found = {node.name: np.zeros(node.num_states) for node in latents}
        for weight, state in zip(joint, states, strict=True):
            for name in found:
                found[name][state[name]] += weight
        return found

    nll, beliefs = [], [marginals(initial_belief(process, tokens[0]))]
    for before, token in pairwise(tokens):
        joint = [np.prod([beliefs[-1][name][state[name]] for name in beliefs[-1]]) for state in states]
        moved = np.zeros(len(states))
        for (i, old), (j, new) in product(enumerate(states), repeat=2):
            moved[j] += joint[i] * transition_probability(process, old, new, before)
        moved *= [emission_row(process, state, before)[token] for state in states]
        nll.append(-np.log(moved.sum()))
        beliefs.append(marginals(moved / moved.sum()))
    return nll, beliefs


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_loop_written_out(seed):
    process = Process(random_graph(seed), seed=seed)
    tokens = process.sample(3, length=6).tokens
    found = mean_field(process, tokens)
    for row, sequence in enumerate(tokens):
        nll, beliefs = by_hand(process, sequence)
        np.testing.assert_allclose(found.nll[row], nll, atol=1e-9)
        for name, belief in found.beliefs.items():
            np.testing.assert_allclose(belief[row], [at[name] for at in beliefs], atol=1e-9)


def test_with_one_latent_it_is_the_oracle():
    process = Process(n2n.Graph.preset("single"), seed=1)
    tokens = process.sample(4, length=20).tokens
    exact, found = n2n.filter(process, tokens, beliefs=True), mean_field(process, tokens)
    torch.testing.assert_close(found.nll, exact.nll)
    torch.testing.assert_close(found.beliefs["Z1"], exact.beliefs["Z1"])


def test_no_filter_is_better_than_the_oracle():
    """If X sees several latents, their correlations matter, and the mean-field loss is larger over many tokens."""
    process = Process(n2n.Graph.preset("two_chains"), seed=0)
    tokens = process.sample(64, length=64, split="test").tokens
    excess = (mean_field(process, tokens).nll - n2n.filter(process, tokens).nll).mean(1)
    assert excess.mean() > 3 * excess.std() / 8
    assert excess.mean() > 0.01


def test_it_cuts_the_batch_inside_its_budget():
    process = Process(n2n.Graph.preset("four_chains"), seed=0)
    tokens = process.sample(9, length=8).tokens
    small, whole = mean_field(process, tokens, memory_budget=140_000), mean_field(process, tokens)
    torch.testing.assert_close(small.nll, whole.nll)
    with pytest.raises(ValueError, match="budget"):
        mean_field(process, tokens, memory_budget=1000)


def test_a_chain_of_tokens_has_no_latents_to_forget():
    graph = n2n.Graph(nodes=[n2n.Node(name="X", num_states=4, observed=True, recurrent=True)])
    process = Process(graph, seed=0)
    tokens = process.sample(3, length=9).tokens
    torch.testing.assert_close(mean_field(process, tokens).nll, n2n.filter(process, tokens).nll)
