"""The long-run law of a finite Markov chain by state elimination, without any subtraction.

Subtracting a holding probability from 1 loses the small rates that determine the law of a nearly decomposable chain.
The diagonal is therefore never read; the sum of a row's other entries replaces it.
Source: Grassmann, Taksar and Heyman, "Regenerative analysis and steady state distributions for Markov chains",
Operations Research 33 (1985). Here it runs in blocks, whose updates are matrix products.
"""

from __future__ import annotations

import numpy as np

from n2n.utils.compilation import compiled

BLOCK = 64  # states eliminated between two matrix products
MIN_RATE = 1e-270  # below it, a state's rate may consist of products too small for float64
FLUSHED = 1e-300  # smaller entries are slow to multiply and negligible next to MIN_RATE


class Unresolved(ValueError):
    """A law that depends on rates too small for float64."""


def long_run_law(chain: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Return the law ``(n,)`` to which time averages converge when the chain starts in the uniform law.

    Each closed class has its own stationary law, accurate to a few roundings in every entry. Its weight is the
    probability that the chain ends there.

    Args:
        chain: ``(n, n)``, the probability of each step; it is overwritten. The diagonal is not read: the probability of
            staying is what the other entries of the row leave.
        support: ``(n, n)``, booleans: whether each step is possible. The entry of a possible step may underflow to 0 in
            ``chain``.

    Raises:
        Unresolved: if a state leaves at a rate below 1e-270 a step, which float64 products do not resolve.
    """
    chain[chain < FLUSHED] = 0.0
    closed, transient = _classes(support)
    weights = _weights(chain, closed, transient)
    law = np.zeros(len(chain))
    for members, weight in zip(closed, weights, strict=True):
        whole = len(members) == len(chain)
        law[members] = weight * _stationary(chain if whole else chain[np.ix_(members, members)])
    return law


def _classes(support: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the states of each closed class, and the states that belong to no closed class."""
    if support.all():
        return [np.arange(len(support))], np.empty(0, np.int64)
    from scipy.sparse import csr_array  # slow to import, and most chains do not need it
    from scipy.sparse.csgraph import connected_components

    count, label = connected_components(csr_array(support), connection="strong")
    leaves = [(label[row] != own).any() for row, own in zip(support, label, strict=True)]
    is_open = np.bincount(label, leaves, minlength=count) > 0
    order = np.argsort(label, kind="stable")
    classes = np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])
    closed = [members for members, leads_out in zip(classes, is_open, strict=True) if not leads_out]
    return closed, np.flatnonzero(is_open[label])


def _weights(chain: np.ndarray, closed: list[np.ndarray], transient: np.ndarray) -> np.ndarray:
    """Return the probability of ending in each closed class, starting from the uniform law."""
    mass = np.array([*(len(members) for members in closed), *np.ones(len(transient))]) / len(chain)
    classes = len(closed)
    if len(transient) == 0 or classes == 1:
        return mass[:classes] / mass[:classes].sum()
    rates = np.zeros((len(mass), len(mass)))  # each closed class becomes one absorbing state
    for k, members in enumerate(closed):
        rates[classes:, k] = chain[np.ix_(transient, members)].sum(axis=1)
    rates[classes:, classes:] = chain[np.ix_(transient, transient)]
    _eliminate(rates, classes)
    for state in range(len(mass) - 1, classes - 1, -1):
        row = rates[state, :state]
        mass[:state] += mass[state] * (row / row.sum())
    return mass[:classes] / mass[:classes].sum()


def _stationary(rates: np.ndarray) -> np.ndarray:
    """Return the stationary law of a chain with one class; ``rates`` is overwritten."""
    _eliminate(rates, 1)
    law = np.zeros(len(rates))
    law[0] = 1.0
    for state in range(1, len(rates)):
        law[state] = law[:state] @ rates[:state, state]
        if law[state] > 2.0**64:  # a power of two keeps every digit
            law = np.ldexp(law, -np.frexp(law[state])[1])
    return law / law.sum()


def _eliminate(rates: np.ndarray, kept: int) -> None:
    """Eliminate states from a chain, the last one first, until ``kept`` states are left.

    Afterwards a state's row, left of the diagonal, holds its rates to the earlier states once all later states are
    eliminated. Its column, above the diagonal, holds the rates into it, divided by the sum of that row.
    """
    last = len(rates)
    while last > kept:
        first = max(kept, last - BLOCK)
        min_rate = _eliminate_block(rates, first, last)
        if min_rate < MIN_RATE:
            raise Unresolved(f"a state leaves at a rate of {min_rate:.2g} a step, below {MIN_RATE:g}")
        rates[:first, :first] += rates[:first, first:last] @ rates[first:last, :first]
        last = first


@compiled
def _eliminate_block(rates, first, last):
    """Eliminate the states ``first`` to ``last - 1``, without updating the rates among the states before ``first``.

    Return the smallest rate at which one of these states leaves for the states before it.
    """
    min_rate = np.inf
    for state in range(last - 1, first - 1, -1):
        leaving = 0.0
        for j in range(state):
            leaving += rates[state, j]
        min_rate = min(min_rate, leaving)
        if leaving < MIN_RATE:
            return min_rate
        for i in range(state):
            rates[i, state] /= leaving
        for i in range(state):
            share = rates[i, state]
            if share > 0.0:
                for j in range(0 if i >= first else first, state):
                    rates[i, j] += share * rates[state, j]
    return min_rate
