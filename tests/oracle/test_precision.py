"""The number of particles that a precision takes."""

import warnings

import numpy as np
import pytest
from support.context_graphs import latent, observed

import n2n
from n2n.graph.graph import Graph
from n2n.oracle.learned import precision
from n2n.process.process import Process

PROCESS = Process(Graph(nodes=[latent("Z", alpha=0.3), observed("Z", alpha=0.3)], initial="uniform"))
TOKENS = PROCESS.sample(12, length=20).tokens


def test_particles_are_added_until_the_precision_is_reached():
    exact = n2n.in_context_nll(PROCESS, TOKENS)
    assert exact.exact
    assert (exact.mean_loss.mean, exact.mean_loss.standard_error) == (pytest.approx(exact.nll.mean().item()), 0)
    assert exact.particles is None
    counts = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for wanted in (0.01, 0.001, 0.0003):
            found = n2n.in_context_nll(PROCESS, TOKENS, hypotheses=0, particles=4, precision=wanted)
            assert found.mean_loss.standard_error <= wanted
            counts.append(found.particles)
    assert counts[0] < counts[1] < counts[2]
    assert all(np.log2(count).is_integer() for count in counts)


def test_intervals_cover_the_exact_mean_although_the_error_decides_when_to_stop():
    exact, covered = n2n.in_context_nll(PROCESS, TOKENS).mean_loss.mean, []
    for seed in range(100):
        options = {"hypotheses": 0, "particles": 4, "seed": seed}
        low, high = n2n.in_context_nll(PROCESS, TOKENS, precision=0.001, **options).mean_loss[2:]
        covered.append(low <= exact <= high)
    assert np.mean(covered) > 0.88


def test_a_precision_that_is_already_reached_changes_nothing():
    once = n2n.in_context_nll(PROCESS, TOKENS, hypotheses=0, particles=64)
    again = n2n.in_context_nll(PROCESS, TOKENS, hypotheses=0, particles=64, precision=1.0)
    assert (once.nll == again.nll).all()
    assert again.particles == 64


@pytest.mark.parametrize("limits", [{"max_particles": 100}, {"memory_budget": 25_000}])
def test_a_precision_that_is_missed_is_said(limits):
    options = {"hypotheses": 0, "particles": 8, "precision": 1e-6, **limits}
    with pytest.warns(RuntimeWarning, match="precision: 64 particles give a standard error of .* not 1e-06") as seen:
        found = n2n.in_context_nll(PROCESS, TOKENS, **options)
    assert seen[0].filename == __file__
    assert found.particles == 64
    assert found.mean_loss.standard_error > 1e-6


def test_rounds_have_their_own_random_numbers():
    seeds = {precision._seed_of(seed, particles) for seed in (0, 1) for particles in (64, 128)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": 0}, "precision: saw 0; a positive number of nats per token is needed"),
        ({"precision": -0.1}, "precision: saw -0.1"),
        ({"max_particles": 0}, "max_particles: saw 0; a whole number from 1 to 1048576"),
        ({"hypotheses": -1}, "hypotheses: saw -1; a whole number from 0"),
    ],
)
def test_bad_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        n2n.in_context_nll(PROCESS, TOKENS, **arguments)
