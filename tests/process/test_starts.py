"""The first time step: its law for each ``initial``, impossible first tokens, and a vocabulary of one symbol."""

import itertools

import numpy as np
import pytest
import torch
from support.random_graphs import chain_seen_through, random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.reference import joint_states
from n2n.process.process import Process

INITIALS = ["zero", "uniform", "stationary"]


def first_step(process: Process, state: dict[str, int], token: int) -> float:
    """Return P(z_0, x_0) from its definition in ``Graph``; the stationary law is the limit of 4,000 steps."""
    graph, x = process.graph, process.graph.observed
    if graph.initial == "zero":
        return float(token == 0 and not any(state.values()))
    if graph.initial == "uniform":
        emission = 1 / x.num_states if x.recurrent else process.kernel(x.name)[(*(state[p] for p in x.parents), token)]
        return emission / graph.num_joint_states
    return long_run(process)[(*(state[node.name] for node in graph.latents), token)]


def long_run(process: Process) -> np.ndarray:
    rows = {node.name: process.kernel(node.name) for node in process.graph.order}
    sizes = [node.num_states for node in process.graph.order]
    places = list(np.ndindex(*sizes))
    step = np.zeros((len(places), len(places)))
    for (i, before), (j, after) in itertools.product(enumerate(places), repeat=2):
        step[i, j] = one_step(process, rows, before, after)
    return np.linalg.matrix_power(0.5 * (step + np.eye(len(step))), 2**12).mean(axis=0).reshape(sizes)


def one_step(process: Process, rows: dict, before: tuple[int, ...], after: tuple[int, ...]) -> float:
    names, x = list(process.graph.names), process.graph.observed.name
    new, old = dict(zip(names, after, strict=True)), dict(zip(names, before, strict=True))
    probability = 1.0
    for node in process.graph.order:
        own = (old[node.name],) if node.sees_itself else ()
        parents = (old[name] if name == x else new[name] for name in node.parents)
        probability *= rows[node.name][(*own, *parents, new[node.name])]
    return probability


@pytest.mark.parametrize("initial", INITIALS)
@pytest.mark.parametrize("seed", range(8))
def test_the_filter_equals_the_sum_over_all_paths(seed, initial):
    """P(x_0, x_1, x_2), including x_0, is the sum over all paths of the latents."""
    graph = random_graph(seed)
    nodes = [node.model_copy(update={"alpha": 2.0, "num_states": 2}) for node in graph.nodes]
    process = Process(Graph(nodes=nodes, initial=initial), seed)
    rows = {node.name: process.kernel(node.name) for node in process.graph.order}
    states = joint_states(process)
    start = {(k, x): first_step(process, state, x) for k, state in enumerate(states) for x in (0, 1)}
    words = [word for word in itertools.product((0, 1), repeat=3) if initial != "zero" or word[0] == 0]
    likelihoods = n2n.filter(process, np.array(words)).log_likelihood.exp().numpy()
    for word, probability in zip(words, likelihoods, strict=True):
        law = np.array([start[k, word[0]] for k in range(len(states))])
        for before, token in itertools.pairwise(word):
            moves = [
                [one_step(process, rows, (*a.values(), before), (*b.values(), token)) for b in states] for a in states
            ]
            law = law @ np.array(moves)
        assert probability == pytest.approx(law.sum(), abs=1e-12)
    assert likelihoods.sum() == pytest.approx(1.0)


def test_a_uniform_start_draws_the_first_token_from_the_latents():
    """With an identity emission, x_0 equals z_0; a uniform x_0 would be independent of z_0."""
    process = chain_seen_through([[0.9, 0.1], [0.2, 0.8]], np.eye(2), "uniform")
    sample = process.sample(500, length=5)
    assert np.array_equal(sample.tokens, sample.latents["Z"])
    assert 150 < sample.tokens[:, 0].sum() < 350
    assert n2n.filter(process, sample.tokens, beliefs=True).beliefs["Z"][:, 0].max(-1).values.eq(1).all()
    assert np.array_equal(n2n.decode(process, sample.tokens).latents["Z"].numpy(), sample.tokens)
    assert n2n.edge_information(process, 2).set_index(["parent", "child"])["information"]["Z", "X"] > 0.6


def test_a_context_x_draws_its_first_token_from_the_latents():
    """Tokens of a sequence share a redrawn kernel, so x_0 and x_1 agree more often than by chance."""
    nodes = [Node(name="Z", num_states=1), Node(name="X", num_states=8, parents=("Z",), observed=True, alpha=0.1)]
    redrawn = [nodes[0], nodes[1].model_copy(update={"mode": "context"})]
    tokens = Process(Graph(nodes=redrawn, initial="uniform")).sample(4000, length=3).tokens
    agreement = [(tokens[:, t] == tokens[:, t + 1]).mean() for t in (0, 1)]
    expected = (0.1 + 1) / (8 * 0.1 + 1)  # P(two draws of a Dirichlet row agree)
    assert agreement == pytest.approx([expected, expected], abs=4 * np.sqrt(expected * (1 - expected) / 4000))
    assert np.bincount(tokens[:, 0], minlength=8) == pytest.approx(np.full(8, 500), abs=4 * np.sqrt(500))


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
def test_an_impossible_first_token_has_infinite_loss(initial):
    """X is never 2: losses are infinite at t = 1, where they begin, and undefined afterwards."""
    process = chain_seen_through([[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]], initial)
    tokens = np.array([[2, 0, 1, 1], [0, 0, 1, 1]])
    for oracle in (n2n.filter(process, tokens), n2n.mean_field(process, tokens)):
        assert oracle.nll[0, 0].item() == np.inf
        assert oracle.nll[0, 1:].isnan().all()
        assert oracle.nll[1].isfinite().all()
    for log_likelihood in (n2n.filter(process, tokens).log_likelihood, n2n.smooth(process, tokens).log_likelihood):
        assert log_likelihood[0].item() == -np.inf
        assert log_likelihood[1].isfinite()
    assert (n2n.decode(process, tokens).latents["Z"] >= 0).tolist() == [[False] * 4, [True] * 4]
    assert n2n.smooth(process, tokens).beliefs["Z"][0].isnan().all()
    # An impossible context is shortened to a possible end. Tokens are independent here, and 0 has probability 0.35.
    assert n2n.markov_nll(process, tokens, 3) == pytest.approx(-np.log([[0.35, 0.65, 0.65]] * 2))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("initial", INITIALS)
def test_a_vocabulary_of_one_symbol_has_zero_loss(initial, recurrent):
    """Losses are exactly 0, not -2e-16 or -0, for any latents."""
    nodes = [Node(name="A", num_states=3), Node(name="B", num_states=4, parents=("A",))]
    nodes.append(Node(name="X", num_states=1, parents=("B",), observed=True, recurrent=recurrent))
    process = Process(Graph(nodes=nodes, initial=initial))
    tokens = process.sample(50, length=20).tokens
    model = n2n.models.build("mingru", vocab_size=1, dim=16, layers=1)
    exact = {
        "filter": n2n.filter(process, tokens).nll,
        "in float32": n2n.filter(process, tokens, dtype=torch.float32).nll,
        "mean field": n2n.mean_field(process, tokens).nll,
        "last two tokens": n2n.markov_nll(process, tokens, 2),
        "no token": n2n.markov_nll(process, tokens, 0),
        "trigram": n2n.fit_ngram(tokens, 1, 3).nll(tokens),
        "model": model.nll(torch.from_numpy(tokens.astype(int))).detach(),
    }
    for name, nll in exact.items():
        nll = np.asarray(nll)
        assert (nll == 0).all(), name
        assert not np.signbit(nll).any(), name
    rounded = [n2n.entropy(process, 20).mean, n2n.markov_entropy(process, 2), *n2n.best_losses(process, 20)["loss"]]
    assert all(0 <= value < 1e-15 for value in rounded)
    assert not np.signbit(rounded).any()
    assert (n2n.filter(process, tokens).log_likelihood <= 0).all()
    assert (n2n.smooth(process, tokens).log_likelihood <= 0).all()
