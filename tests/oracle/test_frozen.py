"""Processes with frozen latents: mixtures of their components, sums over all paths, and what a sequence reveals."""

from math import log

import numpy as np
import pytest
import torch
from support.context_graphs import latent, observed
from support.exact_beliefs import joint_beliefs, marginals
from support.frozen_graphs import NODES, SKEWED, by_hand, freeze, frozen, process_of
from support.random_graphs import path_log_probability

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.compiled.particles import filter_particles
from n2n.oracle.filtering import filter_torch
from n2n.oracle.learned.filters import run_torch
from n2n.oracle.reference import (
    brute_force_in_context,
    every_path,
    forward_nll,
    viterbi,
)
from n2n.process.process import Process

INITIALS = ["uniform", "stationary"]
KEPT = {"predictive": False, "beliefs": True, "joint": False}
IN_CONTEXT = {
    "one emission kernel for each state": [SKEWED, observed("R", alpha=0.5)],
    "a chain for each state": [SKEWED, observed("R", recurrent=True, num_states=2)],
    "a hidden chain": [SKEWED, latent("Z", "R", alpha=0.5), observed("Z", mode="default")],
    "a fixed emission": [frozen("A"), latent("Z"), observed("Z", "A", mode="default", recurrent=True)],
    "a sticky child": [SKEWED, latent("Z", "R", stickiness=0.5), observed("Z", "R", num_states=2, alpha=0.3)],
}


@pytest.mark.parametrize("initial", INITIALS)
@pytest.mark.parametrize("name", NODES)
def test_the_oracle_is_the_mixture_of_the_components(name, initial):
    process = process_of(name, initial)
    components, weights = by_hand(process)
    tokens = process.sample(20, length=80, split="test").tokens
    result = n2n.filter(process, tokens)
    assert result.nll.numpy() == pytest.approx(n2n.mixture_nll(components, tokens, weights).numpy(), abs=1e-10)
    each = [log(w) + n2n.filter(c, tokens).log_likelihood for c, w in zip(components, weights, strict=True) if w > 0]
    assert torch.allclose(result.log_likelihood, torch.logsumexp(torch.stack(each), 0), atol=1e-9)


@pytest.mark.parametrize("initial", INITIALS)
@pytest.mark.parametrize("seed", range(12))
def test_every_oracle_equals_the_sum_over_all_paths(seed, initial):
    process = freeze(seed, initial)
    tokens = process.sample(2, length=4 if process.graph.num_joint_states <= 9 else 3).tokens
    filtered = n2n.filter(process, tokens)
    decoded = n2n.decode(process, tokens)
    smoothed = n2n.smooth(process, tokens)
    for i, sequence in enumerate(tokens):
        paths = every_path(process, sequence)[1]
        likelihood = paths.sum()
        assert filtered.log_likelihood[i].item() == pytest.approx(log(likelihood), abs=1e-10)
        assert smoothed.log_likelihood[i].item() == pytest.approx(log(likelihood), abs=1e-10)
        for name, expected in marginals(process, joint_beliefs(process, sequence)).items():
            assert smoothed.beliefs[name][i].numpy() == pytest.approx(expected, abs=1e-10)
        assert decoded.log_probability[i].item() == pytest.approx(log(paths.max()), abs=1e-10)
    assert path_log_probability(process, tokens, decoded.latents) == pytest.approx(decoded.log_probability.numpy())


@pytest.mark.parametrize("initial", INITIALS)
@pytest.mark.parametrize("seed", range(6))
def test_longer_sequences_equal_the_textbook_algorithms(seed, initial):
    """Decoded and smoothed states of frozen latents do not change within a sequence."""
    process = freeze(seed, initial)
    tokens = process.sample(5, length=60).tokens
    result, decoded = n2n.filter(process, tokens, beliefs=True), n2n.decode(process, tokens)
    assert result.nll.numpy() == pytest.approx(forward_nll(process, tokens), abs=1e-9)
    assert decoded.log_probability.numpy() == pytest.approx([viterbi(process, row) for row in tokens], abs=1e-9)
    torch_result = filter_torch(process, torch.from_numpy(tokens.astype(int)), None, torch.float64, 2**26, **KEPT)
    smoothed = n2n.smooth(process, tokens).beliefs
    for node in process.graph.frozen_latents:
        assert torch.allclose(result.beliefs[node.name], torch_result.beliefs[node.name], atol=1e-12)
        assert (decoded.latents[node.name] == decoded.latents[node.name][:, :1]).all()
        last = result.beliefs[node.name][:, -1:]  # after all tokens
        assert torch.allclose(smoothed[node.name], last.expand_as(smoothed[node.name]), atol=1e-12)
    assert torch.equal(result.nll[1:3], n2n.filter(process, tokens[1:3]).nll)


def test_the_belief_finds_the_component():
    """The mean belief stays at the initial law, as a posterior's must, while each belief tends to its own component."""
    process = process_of("chains")
    sample = process.sample(4000, length=200)
    belief = n2n.filter(process, sample.tokens, beliefs=True).beliefs["R"].numpy()
    law = np.array(SKEWED.initial)
    spread = belief.std(0) / 4000**0.5
    assert (np.abs(belief.mean(0) - law) < 5 * spread + 1e-12).all()
    of_true = belief[np.arange(4000), :, sample.latents["R"][:, 0]].mean(0)
    assert belief[:, 0] == pytest.approx(np.tile(law, (4000, 1)), abs=1e-12)  # the first token is uniform
    assert (np.diff(of_true[[0, 10, 50, 100, 199]]) > 0).all()
    assert of_true[-1] > 0.999


def test_the_mean_field_of_one_latent_is_exact():
    process = process_of("draws")
    tokens = process.sample(5, length=50).tokens
    exact, result = n2n.filter(process, tokens, beliefs=True), n2n.mean_field(process, tokens)
    assert torch.allclose(result.nll, exact.nll, atol=1e-12)
    assert torch.allclose(result.beliefs["R"], exact.beliefs["R"], atol=1e-12)


def test_the_influence_of_tokens_on_a_mixture_of_draws():
    """All tokens count alike, and hiding one changes the prediction to that of the others."""
    process = process_of("draws")
    tokens = process.sample(3, length=5).tokens
    law, rows = np.array(SKEWED.initial), process.kernel("X")
    result = n2n.token_influence(process, tokens).numpy()
    for word, influence in zip(tokens, result, strict=True):
        for q in range(4):
            full = law * rows[:, word[: q + 1]].prod(1)
            for s in range(q + 1):
                hidden = full / rows[:, word[s]]
                p, other = full @ rows / full.sum(), hidden @ rows / hidden.sum()
                assert influence[q, s] == pytest.approx(np.sum(p * np.log(p / other)), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", IN_CONTEXT)
def test_kernels_are_learned_in_context_next_to_a_frozen_latent(name):
    """Exact losses equal the sum over all paths, and both particle filters agree with them and with each other."""
    process = Process(Graph(nodes=IN_CONTEXT[name], initial="uniform"), seed=2)
    tokens = process.sample(2, length=4, latents=False).tokens
    exact = np.log([[brute_force_in_context(process, row[: t + 1]) for t in range(4)] for row in tokens])
    result = n2n.in_context_nll(process, tokens)
    assert result.method == "enumeration"
    assert result.nll.numpy() == pytest.approx(-np.diff(exact), abs=1e-10)
    estimate = n2n.in_context_nll(process, tokens, hypotheses=0, particles=1024, repeats=16)
    assert (np.abs(estimate.nll.numpy() + np.diff(exact)) <= 5 * estimate.standard_error.numpy() + 1e-12).all()
    tokens = tokens.astype(np.int64)
    compiled = filter_particles(process, tokens, 50, 2, 5, 2**30)
    twin = run_torch(process, torch.from_numpy(tokens), torch.arange(2), 50, 2, 5, 2**30)
    np.testing.assert_allclose(np.log(compiled[0]), twin[0].numpy(), atol=1e-10)


@pytest.mark.parametrize("name", IN_CONTEXT)
def test_a_predictor_is_told_the_kernels_but_not_the_frozen_state(name):
    process = Process(Graph(nodes=IN_CONTEXT[name], initial="uniform"), seed=2)
    tokens = process.sample(6, length=20).tokens
    told = n2n.told_nll(process, tokens, range(6)).numpy()
    for index, losses in enumerate(told):
        fixed = process.of_sequence(index)
        assert fixed.graph.frozen_latents == process.graph.frozen_latents
        assert losses == pytest.approx(forward_nll(fixed, tokens[index : index + 1])[0], abs=1e-9)


def test_a_frozen_context_latent_has_nothing_to_learn():
    """Its kernel is the identity in every sequence, so all oracles know it and no table is redrawn."""
    x = Node("X", 3, ["R"], observed=True, recurrent=True)
    plain, context = (
        Process(Graph(nodes=[SKEWED.model_copy(update={"mode": mode}), x], initial="uniform"), seed=4)
        for mode in ("default", "context")
    )
    tokens = plain.sample(10, length=30).tokens
    assert np.array_equal(context.sample(10, length=30).tokens, tokens)
    expected = n2n.filter(plain, tokens).nll
    result = n2n.in_context_nll(context, tokens)
    assert (result.method, result.exact) == ("filter", True)
    for nll in (result.nll, n2n.filter(context, tokens).nll, n2n.told_nll(context, tokens, range(10))):
        assert torch.equal(nll, expected)


def test_a_pool_of_kernels_next_to_a_frozen_latent():
    graph = Graph(nodes=IN_CONTEXT["a chain for each state"], initial="uniform", pool=3)
    process = Process(graph)
    tokens = process.sample(10, length=30).tokens
    sets = [component for index in range(3) for component in by_hand(process.of_set(index))[0]]
    expected = n2n.mixture_nll(sets, tokens, np.tile(SKEWED.initial, 3) / 3)
    result = n2n.in_context_nll(process, tokens)
    assert result.method == "mixture"
    assert torch.allclose(result.nll, expected, atol=1e-10)
