"""Updates of kernels against closed forms and general optimisers."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from n2n.difficulty.kernel_updates import rows_of
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


def graph_of(**fields) -> Graph:
    """Three latents, of which the last sees the others."""
    nodes = [Node(name=name, num_states=size) for name, size in (("A", 2), ("B", 4))]
    last = Node(name="C", num_states=3, parents=("A", "B"), **fields)
    return Graph(nodes=(*nodes, last, Node(name="X", num_states=2, parents=("C",), observed=True)))


def rows_and_counts(seed: int = 0, **fields):
    """Rows of C in a drawn process, and random counts with some zeros."""
    graph, rng = graph_of(**fields), np.random.default_rng(seed)
    rows = rows_of(graph, graph["C"], Process(graph, seed).kernel("C"))
    return rows, rng.gamma(0.5, 4.0, (3, 2, 4, 3)) * (rng.random((3, 2, 4, 3)) < 0.7)


def objective(rows, counts: np.ndarray) -> float:
    return float((counts * np.log(rows.kernel)).sum() + rows.log_prior)


def test_full_rows_become_counts_plus_alpha():
    rows, counts = rows_and_counts(alpha=0.3)
    expected = (counts + 0.3) / (counts.sum(-1, keepdims=True) + 0.9)
    assert rows.update(counts).kernel == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("mode", ["slow", "dead"])
def test_modes_keep_the_largest_entry_at_home(mode):
    """The optimum under the constraint, against a general optimiser."""
    rows, counts = rows_and_counts(mode=mode, alpha=0.3)
    kernel = rows.update(counts).kernel
    for own, a, b in np.ndindex(3, 2, 4):
        home, weights = own if mode == "slow" else 0, counts[own, a, b] + 0.3
        constraints = [{"type": "ineq", "fun": lambda z, home=home, j=j: z[home] - z[j]} for j in range(3)]
        found = minimize(
            lambda z, weights=weights: -weights @ log_softmax(z), np.zeros(3), method="SLSQP", constraints=constraints
        )
        assert kernel[own, a, b] == pytest.approx(softmax(found.x), abs=2e-3)
        best = weights @ np.log(kernel[own, a, b])
        assert best >= -found.fun - 1e-6
        assert kernel[own, a, b, home] >= kernel[own, a, b].max() - 1e-15


def test_product_factors_are_a_stationary_point():
    rows, counts = rows_and_counts(kernel="product", alpha=0.3)
    before = objective(rows, counts)
    for _ in range(20):
        rows = rows.update(counts)
    assert objective(rows, counts) > before
    step = 1e-4
    for i, log in enumerate(rows.logs):
        for place in np.ndindex(log.shape):
            moved = [
                objective(type(rows)(rows.node, _nudged(rows.logs, i, place, change)), counts)
                for change in (-step, step)
            ]
            assert (moved[1] - moved[0]) / (2 * step) == pytest.approx(0.0, abs=2e-2)


def _nudged(logs: tuple[np.ndarray, ...], i: int, place: tuple[int, ...], change: float) -> tuple[np.ndarray, ...]:
    log = logs[i].copy()
    log[place] += change
    return (*logs[:i], log_softmax(log, axis=-1), *logs[i + 1 :])


@pytest.mark.parametrize("kernel", ["full", "product"])
def test_sticky_updates_climb_to_a_stationary_point(kernel):
    rows, counts = rows_and_counts(kernel=kernel, stickiness=0.6, alpha=0.5)
    values = [objective(rows, counts)]
    for _ in range(300):
        rows = rows.update(counts)
        values.append(objective(rows, counts))
    assert min(np.diff(values)) > -1e-9
    assert (np.diagonal(rows.kernel, axis1=0, axis2=3) >= 0.6).all()
    rng = np.random.default_rng(0)
    for _ in range(20):
        logs = tuple(log_softmax(log + 1e-3 * rng.normal(size=log.shape), axis=-1) for log in rows.logs)
        assert objective(type(rows)(rows.node, logs), counts) < values[-1] + 1e-3


@pytest.mark.parametrize("fields", [{}, {"kernel": "product"}, {"stickiness": 0.5}, {"mode": "slow"}])
@pytest.mark.parametrize("alpha", [0.5, 1e-3])
def test_rows_of_a_kernel_give_that_kernel(fields, alpha):
    graph = graph_of(alpha=alpha, **fields)
    kernel = Process(graph, 3).kernel("C")
    assert rows_of(graph, graph["C"], kernel).kernel == pytest.approx(kernel, abs=2e-3)


def test_no_counts_and_tiny_alpha_do_not_underflow():
    rows, counts = rows_and_counts(alpha=1e-9)
    updated = rows.update(1e9 * counts)
    assert updated.kernel.min() > 0
    assert np.isfinite(updated.log_prior)
    assert rows.update(0 * counts).kernel == pytest.approx(1 / 3)
