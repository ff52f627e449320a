"""The exact influence of tokens against sums over all paths, closed forms and rational arithmetic."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from support.random_graphs import mixing_graph, random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.influence import token_influence
from n2n.oracle.reference import every_path
from n2n.process.process import Process

LENGTH, VOCAB = 4, 3


def tiny(feedback: bool, recurrent: bool, initial: str) -> Process:
    """A process with two latents of two states and three symbols, small enough to list all paths of all sequences."""
    nodes = (
        Node(name="A", num_states=2, alpha=0.3, parents=("X",) if feedback else ()),
        Node(name="B", num_states=2, alpha=0.3, parents=("A",)),
        Node(name="X", num_states=VOCAB, alpha=0.3, parents=("B",), observed=True, recurrent=recurrent),
    )
    return Process(Graph(nodes=nodes, initial=initial), seed=2)


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    positive = np.where(p > 0, p, 1.0)
    return np.where(p > 0, p * np.log(positive / np.where(p > 0, q, 1.0)), 0.0).sum(-1)


def brute_force(process: Process) -> dict[tuple[int, ...], np.ndarray]:
    """All possible sequences and their influences, from marginals of the distribution over sequences."""
    joint = np.zeros((VOCAB,) * LENGTH)
    for word in np.ndindex(joint.shape):
        joint[word] = every_path(process, np.array(word))[1].sum()
    assert joint.sum() == pytest.approx(1.0)
    result = {word: np.zeros((LENGTH - 1, LENGTH - 1)) for word in map(tuple, np.argwhere(joint > 0).tolist())}
    for q in range(LENGTH - 1):
        law = joint.sum(axis=tuple(range(q + 2, LENGTH)))  # P(x_0 .. x_{q+1})
        for word, s in itertools.product(result, range(q + 1)):
            full, hidden = law[word[: q + 1]], law.sum(axis=s)[word[:s] + word[s + 1 : q + 1]]
            result[word][q, s] = divergence(full / full.sum(), hidden / hidden.sum())
    return result


@pytest.mark.parametrize("initial", ["zero", "uniform", "stationary"])
@pytest.mark.parametrize(("feedback", "recurrent"), list(itertools.product([False, True], repeat=2)))
def test_every_sequence_equals_the_sum_over_all_paths(feedback, recurrent, initial):
    process = tiny(feedback, recurrent, initial)
    expected = brute_force(process)
    result = token_influence(process, np.array(list(expected)))
    assert result.numpy() == pytest.approx(np.array(list(expected.values())), rel=1e-6, abs=1e-12)
    assert result.max() > 0.4
    assert (result[..., 0].max() == 0) == (initial == "zero")


def substituted(process: Process, tokens: np.ndarray, s: int) -> np.ndarray:
    """P(x_{q+1} | x_0 .. x_q without x_s), ``(batch, queries, V)``, from filters with each possible value of x_s.

    It is the sum over v of P(x_s = v | other tokens up to q) P(x_{q+1} | x_s = v, other tokens up to q).
    """
    values = range(process.graph.vocab_size if s or process.graph.initial != "zero" else 1)
    filtered = [n2n.filter(process, np.insert(np.delete(tokens, s, 1), s, v, 1), predictive=True) for v in values]
    nll = torch.stack([oracle.nll for oracle in filtered])
    first = torch.stack([oracle.log_likelihood + oracle.nll.sum(1) for oracle in filtered])[..., None]  # log P(x_0)
    log_before = torch.cat([first, first - nll.cumsum(-1)[..., :-1]], -1).nan_to_num(-torch.inf)  # log P(x_0 .. x_q)
    predictive = torch.stack([oracle.predictive for oracle in filtered]).nan_to_num(0.0)
    return (log_before.softmax(0)[..., None] * predictive).sum(0).numpy()


@pytest.mark.parametrize("seed", range(16))
def test_random_graphs_equal_the_sum_over_hidden_values(seed):
    graph = mixing_graph(seed, ["zero", "uniform", "stationary"][seed % 3])
    process = Process(graph, seed)
    tokens = process.sample(5, length=9, split="test").tokens
    result = token_influence(process, tokens).numpy()
    law = n2n.filter(process, tokens, predictive=True).predictive.numpy()
    for s in range(8):
        expected = divergence(law, substituted(process, tokens, s))
        assert result[:, s:, s] == pytest.approx(expected[:, s:], rel=1e-5, abs=1e-11)
        assert (result[:, :s, s] == 0).all()


def test_the_random_graphs_cover_feedback_and_recurrence():
    graphs = [mixing_graph(seed, "zero") for seed in range(16)]
    feedback = [graph.feeds_back for graph in graphs]
    recurrent = [graph.observed.recurrent for graph in graphs]
    assert {(a, b) for a, b in zip(feedback, recurrent, strict=True)} == set(itertools.product([False, True], repeat=2))


def test_only_the_last_token_of_a_markov_chain_has_influence():
    """If the last token is hidden, the prediction is two steps from the one before; earlier tokens have influence 0."""
    rows = np.array([[0.8, 0.2, 0.0], [0.3, 0.3, 0.4], [0.1, 0.6, 0.3]])
    chain = Graph(nodes=[Node(name="X", num_states=3, observed=True, recurrent=True)], initial="uniform")
    tokens = np.array([[0, 1, 2, 2, 1, 0, 1]])
    result = token_influence(Process.from_kernels(chain, {"X": rows}), tokens)[0].numpy()
    assert result[0, 0] == pytest.approx(divergence(rows[0], rows.mean(0)))
    for q in range(1, 6):
        assert result[q, q] == pytest.approx(divergence(rows[tokens[0, q]], (rows @ rows)[tokens[0, q - 1]]))
    assert (np.tril(result, -1) == 0).all()


def exact_law(tokens: list[int], flip: Fraction, correct: Fraction, hidden: int | None) -> list[Fraction]:
    """P(next token | all tokens but the hidden one), in rational numbers, for a bit that flips and a noisy X.

    The bit flips with probability ``flip`` per step, and X shows it correctly with probability ``correct``.
    """
    belief = [Fraction(1, 2)] * 2
    for t, token in enumerate(tokens):
        if t:
            belief = [belief[z] * (1 - flip) + belief[1 - z] * flip for z in (0, 1)]
        if t != hidden:
            belief = [belief[z] * (correct if z == token else 1 - correct) for z in (0, 1)]
            belief = [part / sum(belief) for part in belief]
    moved = [belief[z] * (1 - flip) + belief[1 - z] * flip for z in (0, 1)]
    return [moved[x] * correct + moved[1 - x] * (1 - correct) for x in (0, 1)]


def test_small_influences_are_accurate():
    """Laws that differ by d have divergence sum d^2 / 2p; its relative error is at most 1e-3 down to 1e-20."""
    graph = Graph(
        nodes=[Node(name="Z", num_states=2), Node(name="X", num_states=2, parents=("Z",), observed=True)],
        initial="stationary",
    )
    process = Process.from_kernels(
        graph, {"Z": [[0.5625, 0.4375], [0.4375, 0.5625]], "X": [[0.75, 0.25], [0.25, 0.75]]}
    )
    tokens = [0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0]
    result = token_influence(process, [[*tokens, 0]])[0, -1].numpy()
    flip, correct = Fraction(7, 16), Fraction(3, 4)
    whole = exact_law(tokens, flip, correct, None)
    for s in range(6):
        without = exact_law(tokens, flip, correct, s)
        expected = float(sum((b - a) ** 2 / (2 * a) for a, b in zip(whole, without, strict=True)))
        assert result[s] == pytest.approx(expected, rel=1e-3, abs=0)
    assert 0 < result[0] < 1e-18


def test_the_budget_cuts_the_work_without_changing_results():
    for seed in (3, 5):  # seed 3: no node sees the previous token; seed 5: a node sees it
        process = Process(random_graph(seed), seed)
        tokens = process.sample(6, length=12).tokens
        whole = token_influence(process, tokens)
        tables = sum(process.graph.kernel_size(node) for node in process.graph.nodes)
        small = token_influence(process, tokens, memory_budget=8 * (40 * tables + 20 * process.graph.num_joint_states))
        assert small.numpy() == pytest.approx(whole.numpy(), rel=1e-8, abs=1e-20)


def test_influences_are_undefined_after_an_impossible_token():
    """The golden mean process never emits 0 twice in a row: influences are nan from the second 0 on, finite before."""
    result = token_influence(Process.classic("golden_mean"), [[1, 0, 0, 1, 1]])[0]
    assert result[:2].isfinite().all()
    assert result[2:].isnan().tolist() == [[True, True, True, False], [True] * 4]


def test_invalid_arguments_are_refused():
    process = Process(Graph.preset("four_chains"))
    with pytest.raises(ValueError, match="saw 32 in sequence 0 at position 1"):
        token_influence(process, [[0, 32]])
    with pytest.raises(ValueError, match="begins with 1; with initial='zero'"):
        token_influence(process, [[1, 0]])
    with pytest.raises(ValueError, match=r"more than the budget of 70000; raise it"):
        token_influence(process, [[0, 0]], memory_budget=70_000)
    redrawn = Graph(
        nodes=[
            Node(name="Z", num_states=2, mode="context"),
            Node(name="X", num_states=2, parents=("Z",), observed=True),
        ]
    )
    with pytest.raises(ValueError, match="mode 'context' redraws"):
        token_influence(Process(redrawn), [[0, 0]])
