"""The told oracle against the textbook forward algorithm with each sequence's kernels."""

import numpy as np
import pytest
from support.context_graphs import GRAPHS, observed
from support.random_graphs import random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.oracle.reference import forward_nll
from n2n.process.process import Process

CHAIN = Process(Graph(nodes=[observed(recurrent=True)], initial="uniform"))


@pytest.mark.parametrize("initial", ["zero", "uniform"])
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_the_textbook_with_the_kernels_of_each_sequence(name, initial):
    """The sequences stand in any order, also twice."""
    process = Process(Graph(nodes=GRAPHS[name], initial=initial), seed=2)
    sequences = np.array([7, 3, 2**40, 3])
    drawn = [process.sample(1, length=6, split="valid", start=int(index)) for index in sequences]
    tokens = np.concatenate([sample.tokens for sample in drawn])
    nll = n2n.told_nll(process, tokens, sequences, split="valid").numpy()
    for index, row, losses in zip(sequences, tokens, nll, strict=True):
        told = process.of_sequence(index, split="valid")
        assert losses == pytest.approx(forward_nll(told, row[None])[0], abs=1e-9)


def test_without_context_nodes_it_is_the_filter():
    process = Process(random_graph(3))
    tokens = process.sample(5, length=20).tokens
    assert n2n.told_nll(process, tokens, np.arange(5)).equal(n2n.filter(process, tokens).nll)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([0, 1], r"sequences: saw shape \(2,\); \(3,\) is needed, an index for each row"),
        ([[0, 1, 2]], r"sequences: saw shape \(1, 3\); \(3,\) is needed"),
        ([0, -1, 2], "sequences: saw -1; the index of a sequence is a whole number from 0"),
        ([0.0, 1.0, 2.0], "sequences: saw list of type float64; integers are needed"),
    ],
)
def test_wrong_sequences_are_refused(sequences, message):
    with pytest.raises(ValueError, match=message):
        n2n.told_nll(CHAIN, CHAIN.sample(3, length=4).tokens, sequences)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="unknown split 'vald'; did you mean 'valid'"):
        n2n.told_nll(CHAIN, CHAIN.sample(3, length=4).tokens, range(3), split="vald")
