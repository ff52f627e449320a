"""Classic processes of computational mechanics, as tables P(symbol, next state | state).

These processes emit symbols on edges. Each becomes an n2n process with one latent, whose states are the pairs (next
state, symbol) that occur.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from n2n.utils.arrays import ROUNDING
from n2n.utils.strict import short_repr, unknown_name_message

Labelled = np.ndarray  # (symbols, states, next states)


def golden_mean() -> Labelled:
    """No two 0s in a row. Source: Crutchfield and Feldman, Chaos 13 (2003) 25."""
    return np.array([[[0.0, 0.5], [0.0, 0.0]], [[0.5, 0.0], [1.0, 0.0]]])


def even() -> Labelled:
    """Runs of 1s have even length. The source is that of ``golden_mean``."""
    return np.array([[[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.5], [1.0, 0.0]]])


def z1r() -> Labelled:
    """0, then 1, then a random bit, repeated. Source: Shai et al., arXiv:2405.15943."""
    table = np.zeros((2, 3, 3))
    table[0, 0, 1] = table[1, 1, 2] = 1.0
    table[:, 2, 0] = 0.5
    return table


def rrxor() -> Labelled:
    """Two random bits, then their exclusive or, repeated. Source: Riechers and Crutchfield, Chaos 28 (2018) 033115."""
    start, saw_0, saw_1, then_0, then_1 = range(5)
    table = np.zeros((2, 5, 5))
    table[0, start, saw_0] = table[1, start, saw_1] = 0.5
    table[0, saw_0, then_0] = table[1, saw_0, then_1] = 0.5
    table[0, saw_1, then_1] = table[1, saw_1, then_0] = 0.5
    table[0, then_0, start] = table[1, then_1, start] = 1.0
    return table


def mess3(x: float = 0.05, a: float = 0.85) -> Labelled:
    """Three hidden states with noisy symbols. Source: Marzen and Crutchfield, J. Stat. Phys. 169 (2017).

    The defaults are those of Shai et al., arXiv:2405.15943.
    P(symbol o, next j | i) = (a if j = o, else (1 - a) / 2) * (1 - 2x if j = i, else x).
    """
    if not (0 <= x <= 0.5 and 0 <= a <= 1):
        raise ValueError(f"mess3: saw x = {short_repr(x)} and a = {short_repr(a)}; x must be in [0, 0.5], a in [0, 1]")
    emission = np.where(np.eye(3) == 1, a, (1 - a) / 2)  # (symbol, next)
    transition = np.where(np.eye(3) == 1, 1 - 2 * x, x)  # (state, next)
    return emission[:, None, :] * transition


CLASSICS: dict[str, Callable[..., Labelled]] = {f.__name__: f for f in (golden_mean, even, z1r, rrxor, mess3)}


def classic_tables(name: str, **parameters: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the transitions ``(pairs, pairs)`` and emissions ``(pairs, symbols)`` of the latent over pairs.

    Raises:
        ValueError: if the name is unknown, or the process does not accept the parameters.
    """
    labelled = _labelled(name, parameters)
    symbols, after = _pairs(labelled)
    transitions = labelled[symbols, :, after].T[after]  # from the state of a pair to every pair
    return transitions, np.eye(len(labelled))[symbols]


def own_states(name: str, tables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the state of the classic process that each pair contains, ``{"Z": (pairs,)}``: the state an edge leads to.

    Summing a belief over the latent within each state gives the belief over the states of the process.

    Returns:
        The states; empty if no parameters give the classic process ``name`` these tables.
    """
    if name not in CLASSICS or tables.keys() != {"Z", "X"}:
        return {}
    parameters = _mess3_parameters(tables["Z"]) if name == "mess3" else {}
    for table, classic in zip((tables["Z"], tables["X"]), classic_tables(name, **parameters), strict=True):
        if table.shape != classic.shape or not np.allclose(table, classic, rtol=0, atol=ROUNDING):
            return {}
    return {"Z": _pairs(_labelled(name, parameters))[1]}


def _mess3_parameters(transitions: np.ndarray) -> dict[str, float]:
    """Recover ``x`` and ``a`` from mess3's transitions over 9 pairs.

    The result is empty for other shapes: fewer pairs occur if ``a`` is 0 or 1.
    """
    if transitions.shape != (9, 9):
        return {}
    pairs = transitions.reshape(3, 3, 3, 3)  # (symbol, state, next symbol, next state)
    x, a = pairs[0, 0, :, 1].sum(), pairs[0, :, 0, 0].sum()  # the second is a times a column sum, which is 1
    return {"x": min(x, 0.5), "a": min(a, 1.0)}  # rounding may exceed the bounds


def _labelled(name: str, parameters: dict[str, float]) -> Labelled:
    if name not in list(CLASSICS):
        raise ValueError(unknown_name_message("classic process", name, CLASSICS))
    try:
        return CLASSICS[name](**parameters)
    except TypeError as error:
        raise ValueError(f"{name}: saw parameters {short_repr(parameters)}; {error}") from None


def _pairs(labelled: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Return the symbol and the next state of each pair that some state can produce."""
    return np.nonzero(labelled.sum(axis=1))
