"""N-grams that count within one sequence equal a loop over tokens, the in-context oracle, and known means."""

import numpy as np
import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


def looped(sequence: list[int], vocab_size: int, order: int, alpha: float) -> list[float]:
    """The definition, token by token: contexts are tuples, and shorter ones at the start are contexts of their own."""
    counts, losses = {}, []
    for t in range(len(sequence)):
        context = tuple(sequence[max(0, t - order + 1) : t])
        seen = counts.setdefault(context, [0] * vocab_size)
        losses.append(-np.log((seen[sequence[t]] + alpha) / (sum(seen) + vocab_size * alpha)))
        seen[sequence[t]] += 1
    return losses[1:]


def chain(num_states: int, alpha: float = 1.0, recurrent: bool = True, initial: str = "uniform") -> Process:
    """An observed chain, or independent symbols, with new kernels for every sequence."""
    fields = {"num_states": num_states, "observed": True, "mode": "context", "alpha": alpha}
    nothing = Node(name="Z", num_states=1)
    nodes = (
        (Node(name="X", recurrent=True, **fields),)
        if recurrent
        else (nothing, Node(name="X", parents=("Z",), **fields))
    )
    return Process(Graph(nodes=nodes, initial=initial))


@pytest.mark.parametrize("order", [1, 2, 3, 5, 12])
@pytest.mark.parametrize(("vocab_size", "alpha"), [(1, 1.0), (2, 0.3), (5, 2.5)])
def test_losses_equal_a_loop_over_tokens(order, vocab_size, alpha):
    tokens = np.random.default_rng(order).integers(0, vocab_size, (7, 12))
    expected = [looped(row, vocab_size, order, alpha) for row in tokens.tolist()]
    np.testing.assert_allclose(n2n.context_ngram_nll(tokens, vocab_size, order, alpha), expected, atol=1e-13)


def test_sequences_do_not_depend_on_one_another():
    tokens = np.random.default_rng(0).integers(0, 3, (9, 30))
    alone = [n2n.context_ngram_nll(row[None], 3, 3)[0] for row in tokens]
    np.testing.assert_array_equal(n2n.context_ngram_nll(tokens, 3, 3), alone)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize(("order", "recurrent"), [(1, False), (2, True)])
def test_the_right_order_is_the_in_context_oracle(order, recurrent, alpha):
    process = chain(3, alpha, recurrent)
    tokens = process.sample(20, length=40).tokens
    oracle = n2n.in_context_nll(process, tokens)
    assert oracle.exact
    np.testing.assert_allclose(n2n.context_ngram_nll(tokens, 3, order, alpha), oracle.nll.numpy(), atol=1e-12)


def test_a_fixed_first_symbol_is_dropped():
    """It does not come from the kernel, so the oracle of independent symbols does not count it."""
    process = chain(3, recurrent=False, initial="zero")
    tokens = process.sample(20, length=40).tokens
    oracle = n2n.in_context_nll(process, tokens).nll.numpy()
    np.testing.assert_allclose(oracle[:, 0], np.log(3))
    np.testing.assert_allclose(n2n.context_ngram_nll(tokens[:, 1:], 3, 1), oracle[:, 1:], atol=1e-12)


@pytest.mark.parametrize(("num_states", "mean"), [(3, 0.8866), (2, 0.5112)])
def test_known_means_of_in_context_markov_chains(num_states, mean):
    """Means over positions 2 to 100 of a chain with Dirichlet(1) rows and a uniform first symbol."""
    tokens = chain(num_states).sample(40_000, length=100).tokens
    losses = n2n.context_ngram_nll(tokens, num_states, 2).mean(1)
    error = losses.std() / len(losses) ** 0.5
    assert losses.mean() == pytest.approx(mean, abs=0.0003 + 3 * error)


def test_the_unigram_of_a_chain_of_three_states():
    losses = n2n.context_ngram_nll(chain(3).sample(40_000, length=100).tokens, 3, 1)
    assert losses.mean() == pytest.approx(1.008, abs=0.0015)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 0}, "order: saw 0; a whole number from 1 to 4 is needed"),
        ({"order": 5}, "order: saw 5; a whole number from 1 to 4 is needed"),
        ({"alpha": 0.0}, "alpha: saw 0.0; a positive number of pseudo-counts is needed"),
        ({"alpha": float("nan")}, "alpha: saw nan"),
        ({"tokens": [[0, 3]]}, "tokens: saw 3; the vocabulary is 0 to 2"),
        ({"tokens": [[0]]}, r"tokens: saw shape \(1, 1\)"),
        ({"tokens": [[0.0, 1.0]]}, "integers are needed"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"tokens": [[0, 1, 2, 1]], "vocab_size": 3, "order": 2, "alpha": 1.0}
    with pytest.raises(ValueError, match=message):
        n2n.context_ngram_nll(**{**arguments, **change})
