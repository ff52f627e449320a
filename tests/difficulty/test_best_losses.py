"""Best losses of predictors with increasing knowledge, against published and exact values."""

import numpy as np
import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.process.process import Process
from n2n.utils.statistics import student_quantile


def test_best_losses_of_a_published_process():
    """For mess3 (x = 0.15, a = 0.6; as in test_markov.py) the oracle's loss is the mean entropy after 1 .. 7 tokens."""
    process = Process.classic("mess3", x=0.15, a=0.6)
    table = n2n.best_losses(process, 8, precision=0.001)
    assert table["loss"].tolist()[:3] == pytest.approx([np.log(3), 1.098612, 1.091068], abs=1e-6)
    exact = np.mean([n2n.markov_entropy(process, k) for k in range(1, 8)])
    assert abs(table["loss"].iloc[3] - exact) < 2 * table["half"].iloc[3]
    oracle = n2n.entropy(process, 8, precision=0.001)
    assert table["half"].iloc[3] == pytest.approx(student_quantile(oracle.sequences - 1) * oracle.standard_error)
    assert oracle.standard_error <= 0.001
    assert table["half"].tolist()[:3] == [0, 0, 0]
    assert list(table.index) == ["uniform guess", "unigram", "bigram", "oracle, 8 tokens"]


def test_best_losses_refuse():
    with pytest.raises(ValueError, match="mode 'context' redraws"):
        n2n.best_losses(Process(Graph.chain(2, mode="context")), 12)
    for length in (1, None):
        with pytest.raises(ValueError, match=f"length: saw {length}"):
            n2n.best_losses(Process(Graph.chain(2)), length)
