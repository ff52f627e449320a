"""Slow, readable twins of the oracle: the textbook forward algorithm on the flattened chain, and brute force.

They share nothing with ``n2n.inference`` but the kernels, and serve tests and benchmarks.
"""

from __future__ import annotations

import itertools

import numpy as np

from n2n.process import Process


def joint_states(process: Process) -> list[dict[str, int]]:
    """Every joint latent state, as {name: state}, the last node changing fastest."""
    latents = process.graph.latents
    ranges = [range(node.num_states) for node in latents]
    return [dict(zip((node.name for node in latents), states, strict=True)) for states in itertools.product(*ranges)]


def transition_probability(process: Process, before: dict[str, int], after: dict[str, int]) -> float:
    """P(z_t = after | z_{t-1} = before): the product over latent nodes of their kernels' entries."""
    entries = [
        process.kernel(node.name)[(before[node.name], *(after[name] for name in node.parents), after[node.name])]
        for node in process.graph.latents
    ]
    return float(np.prod(entries))


def emission_row(process: Process, state: dict[str, int]) -> np.ndarray:
    """P(x_t | z_t = state), ``(V,)``."""
    observed = process.graph.observed
    return process.kernel(observed.name)[tuple(state[name] for name in observed.parents)]


def flatten(process: Process) -> tuple[np.ndarray, np.ndarray]:
    """The process as a hidden Markov model over joint states: transitions ``(S, S)`` and emissions ``(S, V)``."""
    states = joint_states(process)
    transitions = np.array([[transition_probability(process, a, b) for b in states] for a in states])
    return transitions, np.array([emission_row(process, state) for state in states])


def forward_nll(process: Process, tokens: np.ndarray) -> np.ndarray:
    """``-log P(x_t | x_<t)``, ``(batch, T - 1)`` nats, by the forward algorithm in logarithms, all states flat."""
    with np.errstate(divide="ignore"):
        log_transitions, log_emissions = (np.log(table) for table in flatten(process))
    log_alpha = np.full((len(tokens), len(log_transitions)), -np.inf)
    log_alpha[:, 0] = 0.0
    log_likelihood = [np.zeros(len(tokens))]
    for t in range(1, tokens.shape[1]):
        moved = np.logaddexp.reduce(log_alpha[:, :, None] + log_transitions, axis=1)
        log_alpha = moved + log_emissions[:, tokens[:, t]].T
        log_likelihood.append(np.logaddexp.reduce(log_alpha, axis=1))
    return -np.diff(np.stack(log_likelihood, axis=1), axis=1)


def brute_force_likelihood(process: Process, sequence: np.ndarray) -> float:
    """P(x_1 .. x_{T-1} | z_0 = 0) by the sum over every path of joint states; for tiny cases."""
    states = joint_states(process)
    total = 0.0
    for path in itertools.product(states, repeat=len(sequence) - 1):
        probability, before = 1.0, states[0]
        for state, token in zip(path, sequence[1:], strict=True):
            probability *= transition_probability(process, before, state) * emission_row(process, state)[token]
            before = state
        total += probability
    return total
