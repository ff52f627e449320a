"""Entropies against closed forms, enumeration and published values."""

import math

import numpy as np
import pytest
import torch
from support.enumeration import enumerated, flips
from support.random_graphs import chain_seen_through, mixing_graph

import n2n
from n2n.difficulty import entropies
from n2n.graph.graph import Graph
from n2n.graph.presets import PRESETS
from n2n.process.process import Process


@pytest.mark.parametrize(("p", "q", "rate"), [(0.2, 0.3, 0.544587), (0.3, 0.4, 0.637499)])
def test_a_two_state_chain(p, q, rate):
    """The entropy rate of the chain is (q H(p) + p H(q)) / (p + q)."""
    assert n2n.entropy(flips(p, q), 200).mean == pytest.approx(rate, abs=0.02)


def test_mess3():
    """The published values of H(X_L | X_<L) are 1.091068, 1.089391 and 1.089004 for L = 2 to 4."""
    whole = n2n.entropy(Process.classic("mess3", x=0.15, a=0.6), 4, precision=1e-4)
    assert whole.by_position == pytest.approx([1.091068, 1.089391, 1.089004], abs=5e-4)
    assert abs(whole.mean - np.mean([1.091068, 1.089391, 1.089004])) < 5 * whole.standard_error


@pytest.mark.parametrize("initial", ["zero", "uniform", "stationary"])
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_by_position_equals_enumeration(seed, initial):
    process = Process(mixing_graph(seed, initial), seed)
    result = n2n.entropy(process, 5, precision=0.002)
    errors = np.maximum(result.standard_error_by_position, 1e-12)
    assert (np.abs(result.by_position - enumerated(process, 5)) < 5 * errors).all()
    assert result.mean == pytest.approx(result.by_position.mean(), abs=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_the_mean_is_the_oracle_s_loss(name):
    """The plain nll on other sequences of the process has the same mean as the entropy."""
    process = Process(Graph.preset(name, alpha_z=0.3, alpha_x=0.3))
    result = n2n.entropy(process, 64, precision=0.02)
    nll = n2n.filter(process, process.sample(1000, length=64).tokens).nll.mean(1).numpy()
    error = math.hypot(result.standard_error, nll.std() / math.sqrt(1000))
    assert result.standard_error <= 0.02
    assert abs(result.mean - nll.mean()) < 4 * error


def test_more_sequences_are_drawn_for_more_precision(monkeypatch):
    monkeypatch.setattr(entropies, "MIN_SEQUENCES", 16)
    process = Process(Graph.preset("two_chains"))
    rough, fine = (n2n.entropy(process, 32, precision=precision) for precision in (0.2, 0.02))
    assert rough.sequences < fine.sequences
    assert fine.standard_error <= 0.02
    with pytest.raises(ValueError, match=r"precision: 0.0001 nats per token needs about \d+ sequences, more than"):
        n2n.entropy(process, 32, precision=1e-4, max_sequences=100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "length: saw 1; a whole number from 2"),
        ({"length": 8, "precision": 0}, "precision: saw 0; a positive number"),
        ({"length": 8, "precision": float("nan")}, "precision: saw nan"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    for function in (n2n.entropy, n2n.entropy_rate):
        with pytest.raises(ValueError, match=message):
            function(flips(0.1, 0.2), **arguments)


def test_a_known_start_is_a_certain_belief():
    """With a known z_0, the filter equals that of a process that starts in this state."""
    chain, shown = (
        np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.0, 0.4, 0.6]]),
        np.array([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]),
    )
    process = chain_seen_through(chain, shown, "stationary")
    tokens = process.sample(30, length=10).tokens
    oracle = n2n.filter(process, tokens, start={"Z": np.full(30, 2)}, beliefs=True)
    order = [2, 0, 1]  # state 2 becomes the chain's state 0, where it starts
    moved = chain_seen_through(chain[np.ix_(order, order)], shown[order], "zero")
    same = tokens.copy()
    same[:, 0] = 0
    assert torch.allclose(oracle.nll, n2n.filter(moved, same).nll, atol=1e-12)
    assert (oracle.beliefs["Z"][:, 0, 2] == 1).all()
    with pytest.raises(ValueError, match=r"start: saw \['Y'\]; a state of each latent, \['Z'\]"):
        n2n.filter(process, tokens, start={"Y": np.zeros(30, int)})
    with pytest.raises(ValueError, match="start: Z: saw state 3; its states are 0 to 2"):
        n2n.filter(process, tokens, start={"Z": np.full(30, 3)})
    with pytest.raises(ValueError, match=r"start: Z: saw shape \(2,\)"):
        n2n.filter(process, tokens, start={"Z": [0, 1]})
