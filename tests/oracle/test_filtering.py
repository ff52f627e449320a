"""The filter against sums over all paths, the forward algorithm, closed forms and published entropies."""

import numpy as np
import pytest
import torch
from support.random_graphs import chain_seen_through, mixing_graph, random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.oracle import checks, filtering, transition
from n2n.oracle.reference import brute_force_likelihood, flatten, forward_nll, joint_states
from n2n.process.process import Process


@pytest.mark.parametrize("seed", range(25))
def test_equals_the_sum_over_all_paths(seed):
    process = Process(random_graph(seed), seed)
    states = process.graph.num_joint_states
    length = 5 if states <= 6 else 4 if states <= 12 else 3  # the sum has states^(length - 1) terms
    tokens = process.sample(2, length=length).tokens
    nll = n2n.filter(process, tokens).nll.numpy()
    for row, sequence in zip(nll, tokens, strict=True):
        for t in range(1, length):  # checks every prefix and hence every conditional probability
            total = -np.log(brute_force_likelihood(process, sequence[: t + 1]))
            assert row[:t].sum() == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("seed", range(25, 50))
def test_equals_the_textbook_forward_algorithm(seed):
    process = Process(random_graph(seed), seed)
    tokens = process.sample(6, length=60).tokens
    assert n2n.filter(process, tokens).nll.numpy() == pytest.approx(forward_nll(process, tokens), abs=1e-9)


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_references_from_other_starts(seed, initial):
    """The references solve the balance equations for the stationary start; the filter computes it by elimination."""
    process = Process(mixing_graph(seed, initial), seed)
    tokens = process.sample(5, length=12).tokens
    assert n2n.filter(process, tokens).nll.numpy() == pytest.approx(forward_nll(process, tokens), abs=1e-9)
    nll = n2n.filter(process, tokens[:1, :3]).nll.sum().item()
    assert nll == pytest.approx(-np.log(brute_force_likelihood(process, tokens[0, :3])), abs=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_equals_the_textbook_on_presets(name):
    process = Process(Graph.preset(name), seed=1)
    tokens = process.sample(2, length=8).tokens
    assert n2n.filter(process, tokens).nll.numpy() == pytest.approx(forward_nll(process, tokens), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_predictive_and_beliefs(seed):
    """The predictive sums to one and contains the nll; the beliefs are the marginals of a filter on the flat chain."""
    process = Process(random_graph(seed), seed)
    tokens = process.sample(4, length=15).tokens
    result = n2n.filter(process, tokens, predictive=True, beliefs=True)
    assert result.predictive.sum(-1).numpy() == pytest.approx(1.0, abs=1e-12)
    of_token = result.predictive.gather(-1, torch.from_numpy(tokens[:, 1:, None].astype(int))).squeeze(-1)
    assert -of_token.log().numpy() == pytest.approx(result.nll.numpy(), abs=1e-9)
    transitions, emissions = flatten(process)
    states = joint_states(process)
    for i, sequence in enumerate(tokens):
        belief = np.eye(len(states))[0]
        for t, token in enumerate(sequence[1:], start=1):
            previous = sequence[t - 1] if len(transitions) > 1 else 0
            belief = (belief @ transitions[previous]) * emissions[previous, :, token]
            belief /= belief.sum()
            for name, values in result.beliefs.items():
                marginal = np.bincount([s[name] for s in states], belief, minlength=values.shape[-1])
                assert values[i, t].numpy() == pytest.approx(marginal, abs=1e-9)


def test_the_oracle_has_the_frequencies_of_the_sampler():
    """Sample frequencies of a tiny process's sequences match the oracle's probabilities in a chi-squared test."""
    process = Process(mixing_graph(3, "zero"), 3)
    tokens = process.sample(200_000, length=4, latents=False).tokens
    sequences, counts = np.unique(tokens, axis=0, return_counts=True)
    probability = n2n.filter(process, sequences).nll.sum(1).neg().exp().numpy()
    expected = probability * len(tokens)
    frequent = expected >= 10
    statistic = ((counts - expected)[frequent] ** 2 / expected[frequent]).sum()
    assert frequent.sum() > 5
    assert statistic < frequent.sum() + 5 * np.sqrt(2 * frequent.sum())


def test_optional_results_are_none_by_default():
    result = n2n.filter(Process(Graph.preset("single")), [[0, 1, 2]])
    assert result.predictive is None
    assert result.beliefs is None
    assert result.nll.shape == (1, 2)
    assert result.nll.dtype == torch.float64


@pytest.mark.parametrize(("p", "q", "rate"), [(0.2, 0.3, 0.544587), (0.3, 0.4, 0.637499)])
def test_a_markov_chain_that_x_reveals(p, q, rate):
    """X reveals a Markov chain: a token's nll is that of its transition, and the mean is the entropy rate."""
    chain = np.array([[1 - p, p], [q, 1 - q]])
    process = chain_seen_through(chain, np.eye(2))
    tokens = process.sample(400, length=1000).tokens.astype(int)
    nll = n2n.filter(process, tokens).nll.numpy()
    assert nll == pytest.approx(-np.log(chain[tokens[:, :-1], tokens[:, 1:]]), abs=1e-12)
    assert nll[:, 100:].mean() == pytest.approx(rate, abs=4 * nll[:, 100:].mean(1).std() / 20)


def test_a_markov_chain_of_tokens():
    """The graph has a recurrent X and no latents, so a token's nll is that of its transition."""
    chain = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])
    graph = Graph(nodes=(Node(name="X", num_states=3, observed=True, recurrent=True),))
    process = Process.from_kernels(graph, {"X": chain})
    sample = process.sample(50, length=40)
    tokens = sample.tokens.astype(int)
    result = n2n.filter(process, tokens, predictive=True, beliefs=True)
    assert sample.latents == result.beliefs == {}
    assert result.nll.numpy() == pytest.approx(-np.log(chain[tokens[:, :-1], tokens[:, 1:]]), abs=1e-12)
    assert result.predictive.numpy() == pytest.approx(chain[tokens[:, :-1]], abs=1e-12)


def test_feedback_makes_the_tokens_a_markov_chain():
    """The latent depends only on x_{t-1}, and X reveals it, so the tokens are a Markov chain."""
    chain = np.array([[0.2, 0.8], [0.7, 0.3]])
    nodes = (
        Node(name="Z", num_states=2, parents=("X",)),
        Node(name="X", num_states=2, parents=("Z",), observed=True),
    )
    process = Process.from_kernels(Graph(nodes=nodes), {"Z": np.stack([chain, chain]), "X": np.eye(2)})
    tokens = process.sample(50, length=40).tokens.astype(int)
    nll = n2n.filter(process, tokens).nll.numpy()
    assert nll == pytest.approx(-np.log(chain[tokens[:, :-1], tokens[:, 1:]]), abs=1e-12)


def test_losses_of_independent_chains_add():
    """X reveals the joint state of two chains, so the nll is the sum of the chains' nlls."""
    p, q = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([[0.7, 0.3, 0.0], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
    nodes = (
        Node(name="A", num_states=2),
        Node(name="B", num_states=3),
        Node(name="X", num_states=6, parents=("A", "B"), observed=True),
    )
    process = Process.from_kernels(Graph(nodes=nodes), {"A": p, "B": q, "X": np.eye(6).reshape(2, 3, 6)})
    tokens = process.sample(20, length=50).tokens.astype(int)
    a, b = tokens // 3, tokens % 3
    expected = -np.log(p[a[:, :-1], a[:, 1:]] * q[b[:, :-1], b[:, 1:]])
    assert n2n.filter(process, tokens).nll.numpy() == pytest.approx(expected, abs=1e-12)


def test_golden_mean_entropy():
    """A start in A keeps the state known: H(X_t | X_<t) = P(A at t - 1) ln 2, which tends to (2/3) ln 2 = 0.4620981."""
    # Joint states (next state, symbol): 0 = (A, 1), 1 = (B, 0). A emits 1 and stays, or emits 0 and moves to B. B emits
    # 1 and returns to A.
    process = chain_seen_through(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    length = 13
    every = np.array(np.meshgrid(*[[0, 1]] * (length - 1), indexing="ij")).reshape(length - 1, -1).T
    words = np.hstack([np.zeros((len(every), 1), int), every])
    nll = n2n.filter(process, words).nll
    likelihood = torch.nan_to_num(nll, nan=torch.inf).sum(1).neg().exp()
    assert likelihood.sum().item() == pytest.approx(1.0, abs=1e-12)
    last = nll[:, -1][likelihood > 0] @ likelihood[likelihood > 0]
    probability_of_a = 2 / 3 + (1 / 3) * (-0.5) ** (length - 2)
    assert last.item() == pytest.approx(probability_of_a * np.log(2), abs=1e-12)
    assert last.item() == pytest.approx(0.4620981, abs=2e-4)


def test_mess3_conditional_entropies():
    """From a stationary start the published entropies are 1.098612, 1.091068, 1.089391, 1.089004, .. to 1.0888882."""
    process = Process.classic("mess3", x=0.15, a=0.6)
    words = np.array(np.meshgrid(*[range(3)] * 8, indexing="ij")).reshape(8, -1).T
    nll = n2n.filter(process, words).nll.numpy()
    weight = np.exp(-nll.sum(1)) / 3  # every first symbol has probability 1/3
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
    first = process.initial_law.sum(0)
    assert -(first * np.log(first)).sum() == pytest.approx(1.098612, abs=1e-6)
    assert weight @ nll[:, :3] == pytest.approx([1.091068, 1.089391, 1.089004], abs=1e-6)
    assert weight @ nll[:, -1] == pytest.approx(1.0888882, abs=1e-6)


def test_an_impossible_token_is_infinite_and_undefined_after():
    process = chain_seen_through(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    nll = n2n.filter(process, [[0, 0, 0, 1], [0, 1, 1, 1]]).nll
    assert nll[0, 0].item() == pytest.approx(np.log(2))
    assert nll[0, 1].item() == np.inf  # the golden mean process never emits 0 twice
    assert torch.isnan(nll[0, 2])
    assert n2n.filter(process, [[0, 0, 0, 1]]).log_likelihood.item() == -np.inf
    assert torch.isfinite(nll[1]).all()


@pytest.mark.parametrize("name", PRESETS)
def test_the_cut_of_the_batch_in_torch_does_not_change_results(name, monkeypatch):
    process = Process(Graph.preset(name))
    tokens = process.sample(7, length=10).tokens
    kept = {"predictive": True, "beliefs": True, "joint": False}
    arguments = (process, torch.from_numpy(tokens.astype(int)), None, torch.float64, checks.MEMORY_BUDGET)
    whole = filtering.filter_torch(*arguments, **kept)
    sizes, real = [], filtering._filter_part

    def spy(oracle, part, known, **options):
        sizes.append(len(part))
        return real(oracle, part, known, **options)

    monkeypatch.setattr(filtering, "_filter_part", spy)
    for rows in (1, 2, 5):
        sizes.clear()
        monkeypatch.setattr(filtering, "rows_at_once", lambda *_, rows=rows: rows)
        cut = filtering.filter_torch(*arguments, **kept)
        assert sizes == {1: [1] * 7, 2: [2, 2, 2, 1], 5: [5, 2]}[rows]
        assert torch.allclose(whole.evidence, cut.evidence, atol=1e-12)
        assert torch.allclose(whole.predictive, cut.predictive, atol=1e-12)
        assert all(torch.allclose(whole.beliefs[key], cut.beliefs[key], atol=1e-12) for key in whole.beliefs)


@pytest.mark.parametrize("name", PRESETS)
def test_the_budget_bounds_the_batch(name):
    """The number of rows is the largest whose memory stays within the budget."""
    graph, f64 = Graph.preset(name), torch.float64
    size = checks.bytes_per_sequence(graph, f64)
    fixed = 8 * (transition.table_entries(graph) + graph.kernel_size(graph.observed))
    for rows in (1, 3, 100):
        budget = fixed + rows * size
        assert checks.rows_at_once(graph, budget, torch.device("cuda"), f64) == rows
        assert checks.rows_at_once(graph, budget + size - 1, torch.device("cuda"), f64) == rows
        checks.check_budget(graph, max(budget, 8 * max(map(graph.kernel_size, graph.nodes))))
    with pytest.raises(ValueError, match="joint states need"):
        checks.check_budget(graph, fixed + size - 1)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[0, 3, 32]], r"saw 32 in sequence 0 at position 2; the vocabulary is 0 to 31"),
        ([[0, 3, 1], [0, -1, 2]], r"saw -1 in sequence 1 at position 1"),
        ([[0, 3], [5, 3]], r"sequence 1 begins with 5"),
        ([0, 1, 2], r"saw shape \(3,\)"),
        ([[0]], r"saw shape \(1, 1\)"),
        ([[0.0, 1.0]], "integers are needed"),
        (torch.zeros(1, 3), "integers are needed"),
        (None, "saw NoneType of type object; integers are needed"),
        ([[0, 1], [0]], "unequal lengths"),
    ],
)
def test_bad_tokens_are_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        n2n.filter(Process(Graph.preset("single")), tokens)


def test_any_layout_and_type_of_integers_is_accepted():
    process = Process(Graph.preset("single"))
    tokens = process.sample(3, length=8).tokens
    expected = n2n.filter(process, tokens).nll
    read_only = tokens.copy()
    read_only.setflags(write=False)
    backwards = tokens[::-1].copy()[::-1]
    for values in (read_only, backwards, tokens.astype(np.uint16), tokens.tolist(), torch.from_numpy(tokens)):
        assert torch.equal(n2n.filter(process, values).nll, expected)


def test_a_graph_instead_of_a_process_is_refused():
    with pytest.raises(ValueError, match="process: saw a Graph; a Process is needed"):
        n2n.filter(Graph.preset("single"), [[0, 1]])


def wide_graph(latents: int, num_states: int) -> Graph:
    nodes = [Node(name=f"Z{i}", num_states=num_states) for i in range(latents)]
    return Graph(nodes=(*nodes, Node(name="X", num_states=2, parents=("Z0",), observed=True)))


def test_graphs_that_exceed_the_budget_are_refused():
    with pytest.raises(ValueError, match=r"1296 joint states need \d+ bytes"):
        n2n.filter(Process(Graph.preset("dense")), [[0, 1]], memory_budget=40_000)
    with pytest.raises(ValueError, match="Z0: its kernel of 100000000000000 entries needs 800000000000000 bytes"):
        checks.check_budget(wide_graph(1, 10**7))
    with pytest.raises(ValueError, match="saw 60 latent nodes; at most 49 are supported"):
        checks.check_budget(wide_graph(60, 1))
    process = Process(wide_graph(49, 1))
    assert n2n.filter(process, process.sample(2, length=4).tokens).nll.shape == (2, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", PRESETS)
def test_the_gpu_agrees(name):
    process = Process(Graph.preset(name))
    tokens = process.sample(16, length=40).tokens.astype(int)
    cpu = n2n.filter(process, tokens, beliefs=True)
    gpu = n2n.filter(process, torch.from_numpy(tokens).cuda(), beliefs=True)
    assert torch.allclose(cpu.nll, gpu.nll.cpu(), atol=1e-9)
    assert all(torch.allclose(cpu.beliefs[key], gpu.beliefs[key].cpu(), atol=1e-9) for key in cpu.beliefs)
