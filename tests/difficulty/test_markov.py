import itertools

import numpy as np
import pytest
from support.random_graphs import mixing_graph

import n2n
from n2n.difficulty.markov import markov_entropy, markov_entropy_estimate, markov_nll
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.reference import flatten, sees_previous_token
from n2n.process.process import Process

MESS3 = (1.098612, 1.091068, 1.089391, 1.089004)


def word_probabilities(process: Process, length: int) -> dict[tuple[int, ...], float]:
    """The stationary probability of every word, from the dense chain over (token, joint state)."""
    transitions, emissions = flatten(process)
    vocab_size, states = process.graph.vocab_size, transitions.shape[-1]
    rows = vocab_size if sees_previous_token(process) else 1
    chain = np.einsum("xzw,xwv->xzvw", transitions, emissions)
    chain = np.broadcast_to(chain, (vocab_size, *chain.shape[1:])) if rows == 1 else chain
    dense = chain.reshape(vocab_size * states, -1)
    values, vectors = np.linalg.eig(dense.T)
    law = vectors[:, np.argmin(np.abs(values - 1))].real
    law = (law / law.sum()).reshape(vocab_size, states)
    probabilities = {}
    for word in itertools.product(range(vocab_size), repeat=length):
        alpha = law[word[0]]
        for before, token in itertools.pairwise(word):
            alpha = alpha @ chain[before, :, token]
        probabilities[word] = float(alpha.sum())
    return probabilities


def entropy(probabilities) -> float:
    kept = np.array([p for p in probabilities if p > 0])
    return float(-(kept * np.log(kept)).sum())


def small(seed: int) -> Process:
    """A random process, with or without feedback and recurrence, small enough to list all words."""
    return Process(mixing_graph(seed, "zero"), seed)


def test_mess3():
    process = Process.classic("mess3", x=0.15, a=0.6)
    assert [markov_entropy(process, k) for k in range(4)] == pytest.approx(MESS3, abs=1e-6)


def test_golden_mean_and_even():
    golden, even = Process.classic("golden_mean"), Process.classic("even")
    unigram = np.log(3) - 2 / 3 * np.log(2)
    rate = 2 / 3 * np.log(2)
    assert [markov_entropy(golden, k) for k in range(4)] == pytest.approx([unigram, rate, rate, rate])
    entropies = [markov_entropy(even, k) for k in range(12)]
    assert entropies[0] == pytest.approx(unigram)
    assert all(np.diff(entropies) < 0)
    assert rate < entropies[11] < rate + 0.01  # no finite context always reveals the parity of a block of ones


def test_an_observed_chain_needs_one_token():
    graph = Graph(nodes=[Node(name="X", num_states=2, observed=True, recurrent=True)])
    process = Process.from_kernels(graph, {"X": [[0.8, 0.2], [0.3, 0.7]]})
    assert markov_entropy(process, 0) == pytest.approx(entropy([0.6, 0.4]))
    assert markov_entropy(process, 1) == pytest.approx(0.544587, abs=1e-6)
    assert markov_entropy(process, 5) == pytest.approx(markov_entropy(process, 1))


@pytest.mark.parametrize("seed", range(6))
def test_entropies_are_differences_of_block_entropies(seed):
    process = small(seed)
    blocks = [0.0, *(entropy(word_probabilities(process, length).values()) for length in (1, 2, 3))]
    assert [markov_entropy(process, k) for k in range(3)] == pytest.approx(np.diff(blocks), abs=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_losses_equal_those_from_listing_all_words(seed):
    process = small(seed)
    tokens = process.sample(20, length=7, latents=False).tokens
    words = {length: word_probabilities(process, length) for length in (1, 2, 3, 4)} | {0: {(): 1.0}}
    for context in range(4):
        losses = markov_nll(process, tokens, context)
        assert losses.shape == (20, 6)
        for row, values in zip(tokens.tolist(), losses, strict=True):
            for t, value in enumerate(values, start=1):
                word = tuple(row[max(0, t - context) : t + 1])
                expected = words[len(word) - 1][word[:-1]] / words[len(word)][word]
                assert value == pytest.approx(np.log(expected), abs=1e-7)


def test_a_context_of_the_whole_sequence_is_the_filter():
    process = Process.classic("mess3", x=0.15, a=0.6)
    tokens = process.sample(30, length=12).tokens
    for context in (11, 12, 10**9):
        assert markov_nll(process, tokens, context) == pytest.approx(n2n.filter(process, tokens).nll.numpy())
    assert markov_nll(process, tokens, 0) == pytest.approx(np.full((30, 11), np.log(3)))


def test_a_window_need_not_begin_with_zero():
    """The loss uses the stationary distribution, whatever the start of the process."""
    graph = Graph.preset("four_chains")
    zero, stationary = Process(graph), Process(graph.model_copy(update={"initial": "stationary"}))
    tokens = stationary.sample(50, length=10, latents=False).tokens
    assert tokens[:, 0].any()
    assert markov_nll(zero, tokens, 2) == pytest.approx(markov_nll(stationary, tokens, 2))


def test_an_impossible_context_is_shortened():
    """The even process emits blocks of ones of even length between zeros, so (0, 1, 0) is impossible."""
    even = Process.classic("even")
    losses = markov_nll(even, np.array([[0, 1, 0, 1, 1]]), 3)[0]
    possible = markov_nll(even, np.array([[1, 0, 1, 1]]), 3)[0]
    assert losses[:2] == pytest.approx([np.log(2), np.inf])
    assert losses[2:] == pytest.approx(possible[1:])  # (1, 0) replaces (0, 1, 0); (1, 0, 1) is possible


def test_an_ngram_fitted_on_much_data_approaches_the_exact_loss():
    process = Process.classic("mess3", x=0.15, a=0.6)
    fitted, held_out = (process.sample(2048, length=256, split=split).tokens for split in ("train", "test"))
    for context in range(4):
        ngram = n2n.fit_ngram(fitted, 3, context + 1).nll(held_out).mean()
        assert abs(ngram - markov_nll(process, held_out, context).mean()) < 2e-4


def test_the_estimate_agrees_with_the_enumeration():
    process = Process.classic("mess3", x=0.15, a=0.6)
    scores = []
    for context in (2, 3, 6):  # after one symbol the entropy is the same for every symbol
        estimate = markov_entropy_estimate(process, context, sequences=10_000)
        scores.append((estimate.mean - markov_entropy(process, context)) / estimate.standard_error)
        assert 0 < estimate.standard_error < 1e-3
    assert np.abs(scores).max() < 4


def test_the_standard_error_of_the_estimate():
    """The context is one token, which is 0 with probability 0.6, so the conditional entropy has two values."""
    graph = Graph(nodes=[Node(name="X", num_states=2, observed=True, recurrent=True)])
    process = Process.from_kernels(graph, {"X": [[0.8, 0.2], [0.3, 0.7]]})
    estimate = markov_entropy_estimate(process, 1, sequences=40_000)
    difference = entropy([0.3, 0.7]) - entropy([0.8, 0.2])
    assert estimate.standard_error == pytest.approx(difference * np.sqrt(0.24 / 40_000), rel=0.02)
    assert abs(estimate.mean - 0.544587) < 4 * estimate.standard_error


def test_invalid_arguments_are_refused():
    process = Process(Graph.preset("slow_switch"))
    for context in (3, 2**60):
        with pytest.raises(ValueError, match=rf"saw {context}; 128 symbols make 128\^{context + 1} windows.*_estimate"):
            markov_entropy(process, context)
    for wrong in (-1, 1.0, True):
        with pytest.raises(ValueError, match=f"context_length: saw {wrong}; a whole number from 0"):
            markov_nll(process, [[0, 1]], wrong)
    with pytest.raises(ValueError, match="context_length: saw 0; a whole number from 1"):
        markov_entropy_estimate(process, 0)
    with pytest.raises(ValueError, match="sequences: saw 1"):
        markov_entropy_estimate(process, 1, sequences=1)
    with pytest.raises(ValueError, match="saw 128 in sequence 0 at position 1"):
        markov_nll(process, [[0, 128]], 1)
    with pytest.raises(ValueError, match="saw a Graph; a Process is needed"):
        markov_nll(process.graph, [[0, 1]], 1)
