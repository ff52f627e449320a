"""Classic processes of computational mechanics, as tables P(symbol, next state | state).

These processes emit on edges. A latent over the pairs (next state, symbol) that occur turns each into an n2n process.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from n2n.utils.arrays import ROUNDING
from n2n.utils.strict import short_repr, unknown

Labelled = np.ndarray  # (symbols, states, next states)


def golden_mean() -> Labelled:
    """No two 0s in a row. Source: Crutchfield and Feldman, Chaos 13 (2003) 25."""
    return np.array([[[0.0, 0.5], [0.0, 0.0]], [[0.5, 0.0], [1.0, 0.0]]])


def even() -> Labelled:
    """Runs of 1s have even length. Source: as ``golden_mean``."""
    return np.array([[[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.5], [1.0, 0.0]]])


def z1r() -> Labelled:
    """0, then 1, then a random bit, over and over. Source: Shai et al., arXiv:2405.15943."""
    table = np.zeros((2, 3, 3))
    table[0, 0, 1] = table[1, 1, 2] = 1.0
    table[:, 2, 0] = 0.5
    return table


def rrxor() -> Labelled:
    """Two random bits, then their exclusive or. Source: Riechers and Crutchfield, Chaos 28 (2018) 033115."""
    start, saw_0, saw_1, then_0, then_1 = range(5)
    table = np.zeros((2, 5, 5))
    table[0, start, saw_0] = table[1, start, saw_1] = 0.5
    table[0, saw_0, then_0] = table[1, saw_0, then_1] = 0.5
    table[0, saw_1, then_1] = table[1, saw_1, then_0] = 0.5
    table[0, then_0, start] = table[1, then_1, start] = 1.0
    return table


def mess3(x: float = 0.05, a: float = 0.85) -> Labelled:
    """Three hidden states with noisy symbols. Source: Marzen and Crutchfield, J. Stat. Phys. 169 (2017).

    The parameters, unless given, are those of Shai et al., arXiv:2405.15943.
    P(symbol o, next j | i) = (a if j = o, else (1 - a) / 2) * (1 - 2x if j = i, else x).
    """
    if not (0 <= x <= 0.5 and 0 <= a <= 1):
        raise ValueError(f"mess3: saw x = {short_repr(x)} and a = {short_repr(a)}; x lies in 0 to 0.5, a in 0 to 1")
    emission = np.where(np.eye(3) == 1, a, (1 - a) / 2)  # (symbol, next)
    transition = np.where(np.eye(3) == 1, 1 - 2 * x, x)  # (state, next)
    return emission[:, None, :] * transition


CLASSICS: dict[str, Callable[..., Labelled]] = {f.__name__: f for f in (golden_mean, even, z1r, rrxor, mess3)}


def classic_tables(name: str, **parameters: float) -> tuple[np.ndarray, np.ndarray]:
    """Transitions and emissions of a latent over pairs: ``(pairs, pairs)`` and ``(pairs, symbols)``.

    Raises:
        ValueError: an unknown name, or parameters that the process does not take.
    """
    labelled = _labelled(name, parameters)
    symbols, after = _pairs(labelled)
    transitions = labelled[symbols, :, after].T[after]  # from the pair's state, to every pair
    return transitions, np.eye(len(labelled))[symbols]


def own_states(name: str, transitions: np.ndarray, emissions: np.ndarray) -> np.ndarray | None:
    """The classic process's own state in each pair, ``(pairs,)``: the state that an edge leads to.

    A belief over the latent, summed over the pairs of each state, is the belief over the process's states.

    Returns:
        None if these are not the tables of the classic process of that name, with any parameters.
    """
    if name not in CLASSICS:
        return None
    parameters = _mess3_parameters(transitions) if name == "mess3" else {}
    tables = classic_tables(name, **parameters)
    for table, classic in zip((transitions, emissions), tables, strict=True):
        if table.shape != classic.shape or not np.allclose(table, classic, rtol=0, atol=ROUNDING):
            return None
    return _pairs(_labelled(name, parameters))[1]


def _mess3_parameters(transitions: np.ndarray) -> dict[str, float]:
    """``x`` and ``a`` of mess3's transitions over 9 pairs; empty for another shape (a of 0 or 1 leaves fewer pairs)."""
    if transitions.shape != (9, 9):
        return {}
    pairs = transitions.reshape(3, 3, 3, 3)  # (symbol, state, next symbol, next state)
    x, a = pairs[0, 0, :, 1].sum(), pairs[0, :, 0, 0].sum()  # the second is a times a column sum of moves, which is 1
    return {"x": min(x, 0.5), "a": min(a, 1.0)}  # rounding may exceed the bounds


def _labelled(name: str, parameters: dict[str, float]) -> Labelled:
    if name not in list(CLASSICS):
        raise ValueError(unknown("classic process", name, CLASSICS))
    try:
        return CLASSICS[name](**parameters)
    except TypeError as error:
        raise ValueError(f"{name}: saw parameters {short_repr(parameters)}; {error}") from None


def _pairs(labelled: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """The symbol and the next state of each pair that some state can go to."""
    return np.nonzero(labelled.sum(axis=1))
