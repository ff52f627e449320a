"""The M-step: the most probable kernel given expected counts, in the basis of the softmax.

The prior of a row is Dirichlet(alpha). A density has its maximum elsewhere in another basis. On the simplex it is
at counts + alpha - 1, which does not exist for small counts and alpha < 1. In the basis of the softmax it is at
counts + alpha, which always exists and is the predictive distribution of the next draw. So the objective of a fit is
the log likelihood plus alpha times the sum of the logarithms of all probabilities that have a Dirichlet prior.

Source: MacKay, "Choice of basis for Laplace approximation", Machine Learning 33 (1998).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from n2n.graph.graph import Graph
from n2n.graph.node import Node

PRODUCT_STEPS = 25  # of L-BFGS in one update of a product kernel, which may stop short of the maximum
DRAWS = 1e4  # draws from each row of a given product kernel, in expectation, from which its factors are found


@dataclass(frozen=True, eq=False)
class Rows:
    """What is fitted of a node's kernel: the logarithms of all rows that have a Dirichlet prior.

    Attributes:
        node: the node.
        logs: one array ``(own previous state, parents.., new state)``; for a product kernel of several variables, an
            array ``(states of the variable, new states)`` for each of them.
    """

    node: Node
    logs: tuple[np.ndarray, ...]

    @property
    def drawn(self) -> np.ndarray:
        """The kernel before stickiness."""
        if len(self.logs) == 1:
            return np.exp(self.logs[0])
        return softmax(_spread_sum(self.logs), axis=-1)

    @property
    def kernel(self) -> np.ndarray:
        """The kernel, with the axes of ``process.kernel``; its rows sum to 1."""
        stickiness = self.node.stickiness
        return stickiness * _staying(self.node, self.drawn) + (1 - stickiness) * self.drawn

    @property
    def log_prior(self) -> float:
        """Logarithm of the prior density in the basis of the softmax, up to a constant, nats."""
        return self.node.alpha * float(sum(log.sum() for log in self.logs))

    def update(self, counts: np.ndarray) -> Rows:
        """The rows after an update by expected ``counts``, which have the axes of the kernel.

        Full kernels get the maximum in closed form, under the constraint of the node's mode. Product kernels get a
        few steps of L-BFGS towards the maximum of a concave function, which makes the whole a generalised EM.
        """
        if self.node.stickiness:
            stayed = self.node.stickiness * _staying(self.node, counts)
            drawn = (1 - self.node.stickiness) * self.drawn
            counts = counts * np.divide(drawn, stayed + drawn, out=np.zeros_like(drawn), where=stayed + drawn > 0)
        if len(self.logs) > 1:
            return replace(self, logs=_updated_factors(self.logs, counts, self.node.alpha))
        weights = counts + self.node.alpha
        if self.node.mode != "default":
            weights = _with_largest_at_home(weights, self.node.mode)
        return replace(self, logs=(np.log(weights / weights.sum(axis=-1, keepdims=True)),))


def check_fitted(graph: Graph) -> None:
    """Raise a ``ValueError`` that names a node whose kernel cannot be fitted, if there is one."""
    for node in graph.nodes:
        if node.frozen:
            raise ValueError(
                f"{node.name}: is frozen (stickiness 1); fits do not support frozen latents. Fit each component alone, "
                "on a graph without the latent"
            )
        if node.mode != "default" and _is_product(graph, node):
            raise ValueError(
                f"{node.name}: saw mode {node.mode!r} with a product kernel of {len(graph.sizes_seen(node))} "
                "variables; after this mode the kernel is no longer a product, and fits support it only for full "
                "kernels"
            )


def rows_of(graph: Graph, node: Node, kernel: np.ndarray) -> Rows:
    """The rows of a given kernel; a product kernel's factors are those of the nearest product."""
    drawn = (kernel - node.stickiness * _staying(node, kernel)).clip(min=0) / (1 - node.stickiness)
    drawn /= drawn.sum(axis=-1, keepdims=True)
    if not _is_product(graph, node):
        with np.errstate(divide="ignore"):
            return Rows(node, (np.log(drawn),))
    uniform = tuple(np.full((size, node.num_states), -np.log(node.num_states)) for size in graph.sizes_seen(node))
    return Rows(node, _updated_factors(uniform, DRAWS * drawn, node.alpha, steps=1000))


def _is_product(graph: Graph, node: Node) -> bool:
    return node.kernel == "product" and len(graph.sizes_seen(node)) > 1


def _staying(node: Node, kernel: np.ndarray) -> np.ndarray:
    """1 where the new state is the node's previous one, with axes that broadcast over the kernel's; else 0."""
    if not node.sees_itself:
        return np.zeros(node.num_states)
    return np.eye(node.num_states).reshape(node.num_states, *[1] * (kernel.ndim - 2), node.num_states)


def _spread_sum(logs: tuple[np.ndarray, ...]) -> np.ndarray:
    total = np.zeros(())
    for axis, log in enumerate(logs):
        total = total + np.expand_dims(log, [other for other in range(len(logs)) if other != axis])
    return total


def _updated_factors(
    logs: tuple[np.ndarray, ...], counts: np.ndarray, alpha: float, steps: int = PRODUCT_STEPS
) -> tuple[np.ndarray, ...]:
    """Increase ``sum(counts * log kernel) + alpha * sum(logs)`` over the factors, from the given ones."""
    shapes, totals = [log.shape for log in logs], counts.sum(axis=-1, keepdims=True)
    states = counts.shape[-1]

    def split(flat: np.ndarray) -> tuple[np.ndarray, ...]:
        parts = np.split(flat, np.cumsum([prod(shape) for shape in shapes])[:-1])
        return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        factors = split(flat)
        log_kernel, normed = log_softmax(_spread_sum(factors), axis=-1), [log_softmax(log, axis=-1) for log in factors]
        value = (counts * log_kernel).sum() + alpha * sum(log.sum() for log in normed)
        surplus, gradients = counts - totals * np.exp(log_kernel), []
        for axis, log in enumerate(normed):
            others = tuple(other for other in range(len(factors)) if other != axis)
            gradients.append(surplus.sum(axis=others) + alpha * (1 - states * np.exp(log)))
        return -value, -np.concatenate([gradient.ravel() for gradient in gradients])

    start = np.concatenate([log.ravel() for log in logs])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 20})
    best = found.x if found.fun <= loss(start)[0] else start
    return tuple(log_softmax(log, axis=-1) for log in split(best))


def _with_largest_at_home(weights: np.ndarray, mode: str) -> np.ndarray:
    """Weights whose normalised rows maximise ``sum(weights * log p)`` if the entry at home must be a largest one.

    Home is the diagonal for "slow", and state 0 for "dead": there the mode has put each row's largest probability. If
    others weigh more, home and the heaviest of them share the mean of their weights.
    """
    rows = weights.reshape(-1, weights.shape[-1])
    index = np.arange(len(rows))
    home = index // (len(rows) // weights.shape[0]) if mode == "slow" else np.zeros_like(index)
    others = rows.copy()
    others[index, home] = -np.inf
    order = np.argsort(-others, axis=-1, kind="stable")
    heaviest = np.take_along_axis(others, order, axis=-1)  # home comes last
    shared = rows[index, home][:, None] + np.cumsum(np.pad(heaviest[:, :-1], ((0, 0), (1, 0))), axis=-1)
    shared /= np.arange(1, rows.shape[-1] + 1)
    count = (shared >= heaviest).argmax(axis=-1)  # number of others that share
    raised = np.where(np.arange(rows.shape[-1]) < count[:, None], shared[index, count][:, None], heaviest)
    results = np.empty_like(rows)
    np.put_along_axis(results, order, raised, axis=-1)
    results[index, home] = shared[index, count]
    return results.reshape(weights.shape)
