"""Bounds on the entropy rate against enumeration and closed forms, and the coverage of the estimate's interval."""

import itertools
import math

import numpy as np
import pytest
from support.enumeration import enumerated, flips
from support.frozen_graphs import by_hand, freeze
from support.random_graphs import chain_seen_through, mixing_graph, random_graph

import n2n
from n2n.difficulty import entropy_rates
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.reference import flatten, sees_previous_token
from n2n.process.process import Process

MESS3 = 1.0888882  # nats; published for x = 0.15 and a = 0.6


def assert_exact(result: n2n.EntropyRate, rate: float) -> None:
    """Check that the bounds meet at the rate without any sampling."""
    assert result.lower_bound <= rate <= result.upper_bound
    assert result.upper_bound - result.lower_bound < 1e-11
    assert result.lower_bound <= result.estimate <= result.upper_bound
    assert (result.standard_error, result.sequences) == (0.0, 0)
    assert result.start_effect == pytest.approx(0.0, abs=1e-11)


@pytest.mark.parametrize(("p", "q"), [(0.2, 0.3), (0.3, 0.4), (1e-6, 3e-6), (1.0, 1.0)])
def test_a_two_state_chain(p, q):
    """X shows the state, so the entropy rate is (q H(p) + p H(q)) / (p + q)."""
    of_flip = [-sum(r * math.log(r) for r in (x, 1 - x) if r) for x in (p, q)]
    assert_exact(n2n.entropy_rate(flips(p, q), 10), (q * of_flip[0] + p * of_flip[1]) / (p + q))


def test_golden_mean():
    assert_exact(n2n.entropy_rate(Process.classic("golden_mean"), 20, precision=1e-9), 2 / 3 * math.log(2))


def test_an_observed_chain():
    graph = Graph(nodes=(Node(name="X", num_states=2, observed=True, recurrent=True),))
    process = Process.from_kernels(graph, {"X": [[0.8, 0.2], [0.3, 0.7]]})
    result = n2n.entropy_rate(process, 5)
    assert_exact(result, result.estimate)
    assert result.estimate == pytest.approx(0.544587, abs=1e-6)


def test_mess3():
    widths = []
    for precision in (0.03, 1e-3, 1e-4):
        result = n2n.entropy_rate(Process.classic("mess3", x=0.15, a=0.6), 8, precision=precision)
        assert result.lower_bound - 5e-8 < MESS3 < result.upper_bound + 5e-8  # within the published digits
        assert result.sequences == 0
        widths.append(result.upper_bound - result.lower_bound)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 1e-4


def known_start_entropy(process: Process, length: int) -> float:
    """H(X_L | X_2 .. X_{L-1}, X_1, Z_1), summed over all starts and words on the flattened chain."""
    law = process.initial_law.reshape(process.graph.num_joint_states, -1)
    transitions, emissions = flatten(process)
    total, feedback = 0.0, sees_previous_token(process)
    for state, *word in itertools.product(range(len(law)), *[range(law.shape[1])] * length):
        belief, probability, evidence = np.eye(len(law))[state], law[state, word[0]], 1.0
        for before, token in itertools.pairwise(word):
            belief = (belief @ transitions[before * feedback]) * emissions[before * feedback, :, token]
            evidence = belief.sum()
            probability *= evidence
            if probability == 0:
                break
            belief = belief / evidence
        else:
            total -= probability * np.log(evidence)
    return total


@pytest.mark.parametrize("seed", range(6))
def test_the_bounds_equal_enumeration(seed):
    process = Process(mixing_graph(seed, "stationary"), seed)
    for context in (1, 2, 3):
        slack = entropy_rates._slack(process, context)
        assert slack < 1e-11
        upper = entropy_rates.stationary_entropy(process, context)
        assert upper == pytest.approx(enumerated(process, context + 1)[-1], abs=slack)
        lower = entropy_rates._known_start_entropy(process, entropy_rates._starts(process), context)
        assert lower == pytest.approx(known_start_entropy(process, context + 1), abs=slack)


@pytest.mark.parametrize("seed", range(20))
def test_bounds_never_cross_and_longer_contexts_lie_within(seed, monkeypatch):
    """The precision is out of reach, so the work limit ends the search; the graphs are of all kinds."""
    process, bounds = Process(random_graph(seed), seed), []
    for work in (0, 2**8, 2**11, 2**14):
        monkeypatch.setattr(entropy_rates, "MAX_WORK", work)
        lower, upper, context = entropy_rates._bounds(process.with_initial("stationary"), 1e-15)
        assert lower <= upper
        bounds.append((lower, upper, context))
    lowers, uppers, contexts = zip(*bounds, strict=True)
    assert list(lowers) == sorted(lowers)
    assert list(uppers) == sorted(uppers, reverse=True)
    assert contexts[0] == 0 < contexts[-1]


def test_the_bounds_allow_for_an_iterated_distribution(monkeypatch):
    process = Process(mixing_graph(3, "stationary"), 3)
    exact = entropy_rates._bounds(process, 1e-9)
    monkeypatch.setattr("n2n.process.initial_law.ELIMINATED", 1)
    iterated = entropy_rates._bounds(Process(process.graph, 3), 1e-9)
    assert iterated[0] < exact[0] < exact[1] < iterated[1]
    assert iterated[1] - iterated[0] < exact[1] - exact[0] + 1e-6


@pytest.mark.parametrize("name", ["mess3", "two states"])
def test_the_interval_has_its_nominal_coverage(name, monkeypatch):
    """The 95% interval covers the rate in 95% of 150 repeats, within about four standard errors of that share.

    The z-scores have unit variance.
    """
    if name == "mess3":
        process, rate = Process.classic("mess3", x=0.15, a=0.6), MESS3
    else:
        process, rate = flips(0.2, 0.3), 0.544587
    monkeypatch.setattr(entropy_rates, "MAX_WORK", 0)
    scores = []
    for seed in range(150):
        repeat = Process.from_kernels(process.graph, process.kernels, seed=seed)
        result = n2n.entropy_rate(repeat, 32, precision=0.05)
        assert result.sequences == 256
        scores.append((result.estimate - rate) / result.standard_error)
    coverage = (np.abs(scores) < 1.96).mean()
    assert 0.88 < coverage < 0.995
    assert 0.85 < np.std(scores) < 1.2


def test_start_effect_bounds_the_bias(monkeypatch):
    """A bit flips once in 50 steps, and X shows it wrongly one time in four: after 8 tokens the start still matters."""
    process = chain_seen_through([[0.98, 0.02], [0.02, 0.98]], [[0.75, 0.25], [0.25, 0.75]])
    exact = n2n.entropy_rate(process, 2, precision=1e-3)
    monkeypatch.setattr(entropy_rates, "MAX_WORK", 0)
    result = n2n.entropy_rate(process, 8, precision=5e-4)
    assert result.start_effect > 0.01
    bias = abs(result.estimate - exact.estimate)
    assert bias <= result.start_effect / 2 + 4 * result.standard_error + 5e-4
    longer = n2n.entropy_rate(process, 128, precision=5e-4)
    assert longer.start_effect < 1e-3
    assert longer.estimate == pytest.approx(exact.estimate, abs=5e-4 + 4 * longer.standard_error)


def test_late_positions_are_averaged(monkeypatch):
    """An estimate from a single position has many times the variance."""
    process = Process(Graph.preset("four_chains"))
    monkeypatch.setattr(entropy_rates, "MAX_WORK", 0)
    many = n2n.entropy_rate(process, 64, precision=0.1)
    monkeypatch.setattr(entropy_rates, "MAX_LATE", 1)
    one = n2n.entropy_rate(process, 64, precision=0.1)
    assert one.sequences == many.sequences == 256
    assert one.standard_error > 3 * many.standard_error


def test_a_precision_that_needs_too_many_sequences_is_refused():
    with pytest.raises(ValueError, match=r"precision: 1e-05 nats per token needs about \d+ sequences, more than"):
        n2n.entropy_rate(Process(Graph.preset("four_chains")), 16, precision=1e-5, max_sequences=300)


def mixture_of_flips(*chances: tuple[float, float], law: list[float]) -> Process:
    """A frozen latent chooses one of several chains of two states, which X reveals."""
    nodes = [Node("R", len(law), stickiness=1, initial=law), Node("X", 2, ["R"], observed=True, recurrent=True)]
    rows = [[[1 - p, p] for p, _ in chances], [[q, 1 - q] for _, q in chances]]
    return Process.from_kernels(Graph(nodes=nodes, initial="uniform"), {"R": np.eye(len(law)), "X": rows})


def test_the_rate_of_a_mixture_is_the_mean_of_the_rates():
    """The bounds meet at once, however slowly a sequence would reveal its component."""
    process = mixture_of_flips((0.2, 0.3), (0.3, 0.4), law=[0.25, 0.75])
    result = n2n.entropy_rate(process, 10, precision=1e-9)
    assert_exact(result, result.estimate)
    assert result.estimate == pytest.approx(0.25 * 0.544587 + 0.75 * 0.637499, abs=1e-6)
    close = mixture_of_flips((0.2, 0.3), (0.2, 0.3 + 1e-6), law=[0.5, 0.5])
    assert n2n.entropy_rate(close, 10, precision=1e-9).estimate == pytest.approx(0.544587, abs=1e-6)


def test_losses_tend_to_the_rate_of_the_mixture_from_above():
    """Finite contexts do not reveal the component; the loss of the learner of long sequences tends to the rate."""
    process = mixture_of_flips((0.05, 0.1), (0.9, 0.7), law=[0.4, 0.6]).with_initial("stationary")
    rate = n2n.entropy_rate(process, 10).estimate
    of_contexts = [n2n.markov_entropy(process, k) for k in (1, 2, 4, 8)]
    assert of_contexts == sorted(of_contexts, reverse=True)
    assert of_contexts[0] > of_contexts[-1] > rate
    late = n2n.entropy(process, 60, precision=0.005)
    assert late.by_position[-10:].mean() == pytest.approx(rate, abs=5 * late.standard_error)
    assert late.by_position[0] > rate + 0.1


@pytest.mark.parametrize("seed", range(6))
def test_an_estimate_for_a_mixture_equals_the_mean_of_the_components(seed, monkeypatch):
    """Without bounds, both oracles of the estimate know the frozen latents, so their losses are close."""
    process = freeze(seed, "stationary")
    components, weights = by_hand(process)
    rate = np.dot(weights, [n2n.entropy_rate(part, 30, precision=1e-3).estimate for part in components])
    exact = n2n.entropy_rate(process, 30, precision=1e-3)
    assert exact.lower_bound - 1e-3 < rate < exact.upper_bound + 1e-3
    monkeypatch.setattr(entropy_rates, "MAX_WORK", 0)
    result = n2n.entropy_rate(process, 30, precision=0.01)
    assert result.sequences > 0
    assert result.start_effect < 0.01
    assert abs(result.estimate - rate) < 5 * result.standard_error + 0.5 * result.start_effect + 1e-3
