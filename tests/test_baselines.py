import numpy as np
import pytest

from n2n.baselines import fit_ngram
from n2n.graph import Graph
from n2n.process import Process


def test_counts_by_hand():
    tokens = np.array([[0, 1, 1, 2], [0, 1, 2, 2]], np.uint8)
    unigram, bigram = fit_ngram(tokens, 3, 1), fit_ngram(tokens, 3, 2)
    counts = np.array([0, 3, 3]) + 0.5  # the first tokens are no targets
    assert np.exp(unigram.log_probability[0]) == pytest.approx(counts / counts.sum())
    pairs = np.array([[0, 2, 0], [0, 1, 2], [0, 0, 1]]) + 0.5
    assert np.exp(bigram.log_probability) == pytest.approx(pairs / pairs.sum(1, keepdims=True))
    expected = [bigram.log_probability[a, b] for a, b in ((0, 1), (1, 1), (1, 2))]
    assert bigram.nll(tokens)[0] == pytest.approx(-np.array(expected))
    assert unigram.nll(tokens)[0] == pytest.approx(-unigram.log_probability[0][[1, 1, 2]])


def test_a_vocabulary_of_two():
    bigram = fit_ngram(np.array([[0, 1, 0, 0, 1]]), 2, 2)
    pairs = np.array([[1, 2], [1, 0]]) + 0.5
    assert np.exp(bigram.log_probability) == pytest.approx(pairs / pairs.sum(1, keepdims=True))
    assert bigram.nll(np.array([[0, 1, 0]]))[0] == pytest.approx(-np.log([2.5 / 4, 1.5 / 2]))


def test_small_types_do_not_overflow():
    tokens = Process(Graph.preset("slow_switch")).sample(50, length=40, latents=False).tokens
    assert tokens.dtype == np.uint8
    for order in (1, 2):
        wide = fit_ngram(tokens.astype(np.int64), 128, order)
        assert np.array_equal(fit_ngram(tokens, 128, order).log_probability, wide.log_probability)
        assert np.array_equal(wide.nll(tokens), wide.nll(tokens.astype(np.int64)))


def test_other_orders_are_refused():
    with pytest.raises(ValueError, match=r"unknown order 3 \(allowed: 1, 2\)"):
        fit_ngram(np.zeros((1, 4), int), 3, 3)
