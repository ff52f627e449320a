"""Beliefs by sums over all paths, and the smallest budget of a computation."""

from collections.abc import Callable

import numpy as np
import pytest

from n2n.oracle.reference import every_path, joint_states
from n2n.process.process import Process


def joint_beliefs(process: Process, sequence: np.ndarray) -> np.ndarray:
    """P(joint state at t | all tokens), ``(T, S)``, from the sum over all paths."""
    paths, probability = every_path(process, sequence)
    weights, states = probability / probability.sum(), process.graph.num_joint_states
    return np.array([np.bincount(column, weights, minlength=states) for column in paths.T])


def marginals(process: Process, joint: np.ndarray) -> dict[str, np.ndarray]:
    """The marginal distribution of each latent, ``(T, n)``, of distributions over joint states, ``(T, S)``."""
    states = joint_states(process)
    return {
        node.name: np.array([np.bincount([s[node.name] for s in states], row, node.num_states) for row in joint])
        for node in process.graph.latents
    }


def min_budget(compute: Callable, process: Process, tokens: np.ndarray) -> int:
    """The number of bytes that the error message needs if the budget holds only the largest kernel."""
    kernels = 8 * max(map(process.graph.kernel_size, process.graph.nodes))
    with pytest.raises(ValueError, match="shorter sequences") as error:
        compute(process, tokens, memory_budget=kernels)
    return int(str(error.value).split(" need ")[1].split()[0])
