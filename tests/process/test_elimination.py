"""Laws by elimination against solutions in 1,000 digits, for every entry."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support.time_averages import time_averages

from n2n.process import initial_law
from n2n.process.elimination import Unresolved, long_run_law

properties = settings(deadline=None, max_examples=150, derandomize=True, database=None)


def assert_accurate(rates: np.ndarray) -> None:
    chain = rates + np.diag(np.full(len(rates), np.nan))  # the diagonal must not be read
    law = long_run_law(chain, rates + np.eye(len(rates)) > 0)
    assert law == pytest.approx(time_averages(rates), rel=1e-13, abs=1e-150)
    assert law.sum() == pytest.approx(1.0, abs=1e-14)


@st.composite
def nearly_decomposable(draw) -> np.ndarray:
    """Draw blocks of up to three states, joined by tiny or zero rates; holding probabilities reach 1 - 1e-30."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    block = np.repeat(np.arange(len(sizes)), sizes)
    within, between = st.sampled_from([0.0, 0.0, 1.0, 8.0, 16.0, 30.0]), st.sampled_from([9.0, 16.0, 17.0, 30.0])
    rates = np.zeros((len(block), len(block)))
    for i, j in np.argwhere(~np.eye(len(block), dtype=bool)).tolist():
        if draw(st.integers(0, 2)):
            exponent = draw(within if block[i] == block[j] else between)
            rates[i, j] = draw(st.floats(0.1, 1.0)) * 10.0**-exponent
    return rates / max(1.0, rates.sum(axis=1).max())


@properties
@given(rates=nearly_decomposable())
def test_nearly_decomposable_chains(rates):
    """Examples include transient states, several closed classes and cycles."""
    assert_accurate(rates)


@properties
@given(rates=nearly_decomposable(), data=st.data())
def test_the_law_does_not_depend_on_the_order_of_states(rates, data):
    order = data.draw(st.permutations(range(len(rates))))
    possible = rates + np.eye(len(rates)) > 0
    moved = long_run_law(rates[np.ix_(order, order)], possible[np.ix_(order, order)])
    assert moved == pytest.approx(long_run_law(rates.copy(), possible)[order], rel=1e-13)


@pytest.mark.parametrize(
    "rates",
    [
        [[0, 1e-14], [1e-13, 0]],
        [[0, 1.0], [1.0, 0]],
        [[0, 1e-250], [3e-250, 0]],
        [[0.0]],
        np.zeros((4, 4)),
        # two weakly joined cycles, for which LU and eigenvectors are wrong by 0.5 or more
        [[0, 1, 0, 0], [1, 0, 1e-17, 0], [0, 0, 0, 1], [3e-17, 0, 1, 0]],
        # 0 goes to 1 or 2, and both return: from a uniform start only time averages converge
        [[0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]],
        # a transient state that ends in one of two classes, with odds of 1 to 1e12
        [[0, 1e-20, 1e-8], [0, 0, 0], [0, 0, 0]],
    ],
)
def test_known_chains(rates):
    assert_accurate(np.array(rates, float))


def test_a_law_over_many_magnitudes():
    """In a biased walk, each state is 1e6 times as likely as the one below, over 600 orders of magnitude."""
    states = 101
    up, down = np.diag(np.full(states - 1, 0.9), 1), np.diag(np.full(states - 1, 0.9e-6), -1)
    law = long_run_law(up + down, up + down > 0)
    assert law[1:][-40:] / law[:-1][-40:] == pytest.approx(1e6, rel=1e-12)
    assert law.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("states", [63, 64, 65, 129, 300])
def test_elimination_in_several_blocks(states):
    """Larger chains need several blocks: a step leaves the law unchanged, and no mass leaks between classes."""
    rng = np.random.default_rng(states)
    rates = rng.dirichlet(np.full(states, 0.05), size=states)
    law = long_run_law(rates.copy(), rates > 0)
    assert np.abs(law @ rates - law).sum() < 1e-14
    half = np.kron(np.diag([0.3, 0.7]), rates)  # two copies that no step joins
    assert long_run_law(half.copy(), half > 0) == pytest.approx(np.tile(law / 2, 2), rel=1e-10)


def test_rates_too_small_for_float64_are_refused():
    """A possible step whose probability underflowed to 0 is not treated as impossible."""
    chain, support = np.array([[1.0, 0.0], [1e-10, 1.0]]), np.ones((2, 2), bool)
    assert long_run_law(chain.copy(), support).tolist() == [1.0, 0.0]  # 1 leaves at a rate of 1e-10, and 0 almost never
    with pytest.raises(Unresolved, match=r"leaves at a rate of 0 a step, below 1e-270"):
        long_run_law(chain.T.copy(), support)
    with pytest.raises(Unresolved, match=r"leaves at a rate of 1e-280 a step"):
        long_run_law(np.array([[0.5, 0.5], [1e-280, 1.0]]), support)


def test_the_largest_elimination_is_within_the_budget():
    rates = np.random.default_rng(0).random((512, 512))
    tracemalloc.start()
    rates[:8, 8:] = 0  # so that the search for classes runs
    _ = long_run_law(rates.copy(), rates > 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / rates.size * initial_law.ELIMINATED**2 < initial_law.BUDGET
