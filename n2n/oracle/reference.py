"""Slow, readable reference implementations of the oracle: textbook algorithms on the flattened chain, and brute force.

They share only the kernels with ``n2n.oracle.filtering``. Tests and benchmarks use them.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from math import exp, lgamma

import numpy as np
import torch
from torch import Tensor

from n2n.graph.node import Node
from n2n.process.process import Process


def joint_states(process: Process) -> list[dict[str, int]]:
    """All joint latent states, each as ``{name: state}``; the last node changes fastest."""
    latents = process.graph.latents
    ranges = [range(node.num_states) for node in latents]
    return [dict(zip((node.name for node in latents), states, strict=True)) for states in itertools.product(*ranges)]


def transition_probability(
    process: Process, before: dict[str, int], after: dict[str, int | np.ndarray], x_before: int
) -> float | np.ndarray:
    """P(z_t = after | z_{t-1} = before, x_{t-1}): the product of the latent nodes' kernel entries.

    ``after`` is one joint state, or S joint states with an array ``(S,)`` for each node.
    """
    seen = {**after, process.graph.observed.name: x_before}
    entries = [
        process.kernel(node.name)[(before[node.name], *(seen[name] for name in node.parents), after[node.name])]
        for node in process.graph.latents
    ]
    return np.prod(entries, axis=0)


def emission_row(process: Process, state: dict[str, int], x_before: int) -> np.ndarray:
    """P(x_t | z_t = state, x_{t-1}), ``(V,)``."""
    observed = process.graph.observed
    own = (x_before,) if observed.recurrent else ()
    return process.kernel(observed.name)[(*own, *(state[name] for name in observed.parents))]


def sees_previous_token(process: Process) -> bool:
    """Whether the distribution of any node depends on ``x_{t-1}``."""
    observed = process.graph.observed
    return observed.recurrent or any(observed.name in node.parents for node in process.graph.latents)


def flatten(process: Process) -> tuple[np.ndarray, np.ndarray]:
    """The process over joint states, as transitions ``(R, S, S)`` and emissions ``(R, S, V)``.

    The first axis is the previous token, so R is V. If no node sees the previous token, R is 1 and the process is a
    hidden Markov model.
    """
    states = joint_states(process)
    tokens = range(process.graph.vocab_size if sees_previous_token(process) else 1)
    after = {name: np.array([state[name] for state in states]) for name in states[0]}
    rows = [[transition_probability(process, before, after, x) for before in states] for x in tokens]
    transitions = np.reshape(rows, (len(tokens), len(states), len(states)))
    return transitions, np.array([[emission_row(process, state, x) for state in states] for x in tokens])


def first_law(process: Process) -> np.ndarray:
    """P(x_0, z_0), ``(V, S)``; the stationary law solves the balance equations of the dense chain over (x, z)."""
    states, vocab_size = len(joint_states(process)), process.graph.vocab_size
    if process.graph.initial == "zero":
        return np.eye(1, vocab_size * states).reshape(vocab_size, states)
    if process.graph.initial == "uniform":
        shown = [_first_row(process, state) for state in joint_states(process)]
        return np.transpose(shown) * latent_start(process)
    transitions, emissions = flatten(process)
    # chain[x, z, x', z']; tables without an axis for x are the same for every x
    chain = np.einsum("xzw,xwv->xzvw", transitions, emissions)
    chain = np.broadcast_to(chain, (vocab_size, *chain.shape[1:])).reshape(vocab_size * states, -1)
    frozen = [node.name for node in process.graph.frozen_latents]
    keys = [tuple(state[name] for name in frozen) for state in joint_states(process)]
    masses = [[float(key == kept) for _ in range(vocab_size) for key in keys] for kept in sorted(set(keys))]
    shares = [latent_start(process)[[key == kept for key in keys]].sum() for kept in sorted(set(keys))]
    balance = np.vstack([chain.T - np.eye(len(chain)), masses])
    right = np.concatenate([np.zeros(len(chain)), shares])
    return np.linalg.lstsq(balance, right, rcond=None)[0].reshape(vocab_size, states)


def latent_start(process: Process) -> np.ndarray:
    """P(z_0) of independent latents, ``(S,)``, each uniform unless it has an initial law of its own."""
    laws = [node.initial or [1 / node.num_states] * node.num_states for node in process.graph.latents]
    return np.array([np.prod(entries) for entries in itertools.product(*laws)])


def _first_row(process: Process, state: dict[str, int]) -> np.ndarray:
    """P(x_0 | z_0 = state) with a uniform start, ``(V,)``."""
    observed = process.graph.observed
    if observed.recurrent or observed.redrawn:
        return np.full(observed.num_states, 1.0 / observed.num_states)
    return emission_row(process, state, 0)


def initial_belief(process: Process, x_first: int) -> np.ndarray:
    """P(z_0 | x_0), ``(S,)``."""
    law = first_law(process)[x_first]
    return law / law.sum()


def forward_nll(process: Process, tokens: np.ndarray) -> np.ndarray:
    """``-log P(x_t | x_<t)``, ``(batch, T - 1)``, nats: the forward algorithm in logarithms over flat joint states."""
    with np.errstate(divide="ignore"):
        log_transitions, log_emissions = (np.log(table) for table in flatten(process))
        log_alpha = np.log([initial_belief(process, first) for first in tokens[:, 0]])
    log_likelihood = [np.zeros(len(tokens))]
    for t in range(1, tokens.shape[1]):
        previous = tokens[:, t - 1] if len(log_transitions) > 1 else np.zeros(len(tokens), int)
        moved = np.logaddexp.reduce(log_alpha[:, :, None] + log_transitions[previous], axis=1)
        log_alpha = moved + log_emissions[previous, :, tokens[:, t]]
        log_likelihood.append(np.logaddexp.reduce(log_alpha, axis=1))
    return -np.diff(np.stack(log_likelihood, axis=1), axis=1)


def brute_force_likelihood(process: Process, sequence: np.ndarray) -> float:
    """P(x_1 .. x_{T-1} | x_0) as a sum over all paths of joint states; for tiny cases."""
    states = joint_states(process)
    start = initial_belief(process, sequence[0])
    total = 0.0
    for first, *path in itertools.product(range(len(states)), *[states] * (len(sequence) - 1)):
        probability, before = start[first], states[first]
        for state, x_before, token in zip(path, sequence[:-1], sequence[1:], strict=True):
            probability *= transition_probability(process, before, state, x_before)
            probability *= emission_row(process, state, x_before)[token]
            before = state
        total += probability
    return total


def every_path(process: Process, sequence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All paths of joint states, ``(S ** T, T)``, and the joint probability of each and the tokens; for tiny cases."""
    law, (transitions, emissions) = first_law(process), flatten(process)
    paths = np.array(list(itertools.product(range(law.shape[1]), repeat=len(sequence))))
    probability = law[sequence[0], paths[:, 0]]
    for t in range(1, len(sequence)):
        previous = sequence[t - 1] if len(transitions) > 1 else 0
        probability = probability * transitions[previous, paths[:, t - 1], paths[:, t]]
        probability = probability * emissions[previous, paths[:, t], sequence[t]]
    return paths, probability


def forward_backward(process: Process, sequence: np.ndarray) -> np.ndarray:
    """P(z_t | all tokens), ``(T, S)``, by the textbook algorithm in logarithms over flat joint states."""
    log_start, log_steps = _in_logarithms(process, sequence)
    log_alpha, log_beta = [log_start], [np.zeros(len(log_start))]
    for step in log_steps:
        log_alpha.append(np.logaddexp.reduce(log_alpha[-1][:, None] + step, axis=0))
    for step in reversed(log_steps):
        log_beta.append(np.logaddexp.reduce(step + log_beta[-1], axis=1))
    log_gamma = np.array(log_alpha) + np.array(log_beta[::-1])
    return np.exp(log_gamma - np.logaddexp.reduce(log_gamma, axis=1, keepdims=True))


def viterbi(process: Process, sequence: np.ndarray) -> float:
    """Joint log probability of the tokens and the most probable path, nats, over flat joint states."""
    best, log_steps = _in_logarithms(process, sequence)
    for step in log_steps:
        best = (best[:, None] + step).max(axis=0)
    return float(best.max())


def _in_logarithms(process: Process, sequence: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """log P(z_0, x_0), ``(S,)``, and log P(z_t, x_t | z_{t-1}, x_{t-1}), ``(S, S)``, for each t from 1 on."""
    with np.errstate(divide="ignore"):
        log_law = np.log(np.maximum(first_law(process), 0.0))  # rounding can make a zero slightly negative
        log_transitions, log_emissions = (np.log(table) for table in flatten(process))
    steps = []
    for previous, token in itertools.pairwise(sequence):
        seen = previous if len(log_transitions) > 1 else 0
        steps.append(log_transitions[seen] + log_emissions[seen, :, token])
    return log_law[sequence[0]], steps


def textbook_nll(log_transitions: Tensor, log_emissions: Tensor, tokens: Tensor) -> Tensor:
    """``-log P(x_t | x_<t)``, ``(batch, T - 1)``, nats: the batched forward algorithm as textbooks present it.

    It applies log-sum-exp over ``log_transitions (S, S)`` and adds ``log_emissions (S, V)``, from a start in state 0
    and in the dtype of the tables. Benchmarks compare the speed of ``filter`` with it.
    """
    log_alpha = torch.full((len(tokens), len(log_transitions)), -torch.inf, dtype=log_transitions.dtype)
    log_alpha = log_alpha.to(log_transitions.device)
    log_alpha[:, 0] = 0.0
    log_likelihood = [torch.zeros_like(log_alpha[:, 0])]
    for t in range(1, tokens.shape[1]):
        moved = torch.logsumexp(log_alpha[:, :, None] + log_transitions, dim=1)
        log_alpha = moved + log_emissions[:, tokens[:, t]].T
        log_likelihood.append(torch.logsumexp(log_alpha, dim=1))
    return -torch.stack(log_likelihood, 1).diff(dim=1)


def brute_force_in_context(process: Process, sequence: np.ndarray) -> float:
    """P(x_1 .. x_{T-1} | x_0) with unknown kernels of context nodes, as a sum over all paths; for tiny cases.

    Given a path, each kernel is integrated out in closed form. The function supports the starts "zero" and "uniform".
    """
    states, x = joint_states(process), process.graph.observed.name
    start = initial_belief(process, sequence[0])
    if _draws_first_token(process):  # the first token then counts as a draw from a row
        start = latent_start(process) / first_law(process)[sequence[0]].sum()
    total = 0.0
    for first, *path in itertools.product(range(len(states)), *[states] * (len(sequence) - 1)):
        history = [{**state, x: int(token)} for state, token in zip((states[first], *path), sequence, strict=True)]
        total += start[first] * np.prod([path_probability(process, node, history) for node in process.graph.nodes])
    return total


def in_context_by_hypotheses(process: Process, sequence: np.ndarray) -> list[dict]:
    """P(hypothesis and x_1 .. x_t | x_0) for t = 0 .. T - 1, by hypothesis: a joint state and the counts of all draws.

    Paths with equal counts are merged. The counts are a set of pairs ((node, values that it saw, new value), number).
    """
    states, x = joint_states(process), process.graph.observed
    start = dict.fromkeys(range(len(states)), frozenset())
    if _draws_first_token(process) and x.redrawn:
        cells = [(x.name, tuple(state[name] for name in x.parents), int(sequence[0])) for state in states]
        start = {index: frozenset([(cell, 1)]) for index, cell in enumerate(cells)}
    belief = initial_belief(process, sequence[0])
    history = [{(index, counts): belief[index] for index, counts in start.items() if belief[index] > 0}]
    for x_before, token in itertools.pairwise(sequence.tolist()):
        weights: dict = defaultdict(float)
        for ((before, counts), weight), (after, state) in itertools.product(history[-1].items(), enumerate(states)):
            was, now, counted = {**states[before], x.name: x_before}, {**state, x.name: token}, Counter(dict(counts))
            for chosen in itertools.product(
                *(_moves(process, node, was, now, counted) for node in process.graph.nodes)
            ):
                grown = counted + Counter(cell for _, cell in chosen if cell)
                weights[after, frozenset(grown.items())] += weight * np.prod([probability for probability, _ in chosen])
        history.append({key: weight for key, weight in weights.items() if weight > 0})
    return history


def _moves(process: Process, node: Node, was: dict[str, int], now: dict[str, int], counts: Counter) -> list[tuple]:
    """The ways to a node's new value: their probabilities given the counts, and the cells that they count, or None."""
    own = (was[node.name],) if node.sees_itself else ()
    x, new = process.graph.observed.name, now[node.name]
    seen = (*own, *((was if name == x else now)[name] for name in node.parents))
    if not node.redrawn:
        return [(process.kernel(node.name)[(*seen, new)], None)]
    total = sum(counts[node.name, seen, value] for value in range(node.num_states)) + node.num_states * node.alpha
    drawn = (1 - node.stickiness) * (counts[node.name, seen, new] + node.alpha) / total
    stays = [(node.stickiness, None)] if node.stickiness and own == (new,) else []
    return [(drawn, (node.name, seen, new)), *stays]


def _draws_first_token(process: Process) -> bool:
    return process.graph.initial == "uniform" and not process.graph.observed.recurrent


def path_probability(process: Process, node: Node, history: list[dict[str, int]]) -> float:
    """P(values of a node at t >= 1 | values that it saw), for a history of every node's value at each time.

    If X's kernel also draws x_0, then x_0 is one of X's values.
    """
    x = process.graph.observed.name
    moves = []  # (values that the node saw, in the order of the kernel's axes; new value)
    if node.observed and _draws_first_token(process):
        moves.append((tuple(history[0][name] for name in node.parents), history[0][x]))
    for before, after in itertools.pairwise(history):
        own = (before[node.name],) if node.sees_itself else ()
        moves.append(((*own, *((before if name == x else after)[name] for name in node.parents)), after[node.name]))
    if not node.redrawn:
        return float(np.prod([process.kernel(node.name)[(*seen, new)] for seen, new in moves]))
    options = []  # for each move: (probability, whether the value was drawn from the row)
    for seen, new in moves:
        stays = [(node.stickiness, False)] if node.stickiness and new == seen[0] else []
        options.append([(1 - node.stickiness, True), *stays])
    total = 0.0
    for chosen in itertools.product(*options):
        drawn = [move for move, (_, was_drawn) in zip(moves, chosen, strict=True) if was_drawn]
        total += np.prod([probability for probability, _ in chosen]) * dirichlet_probability(node, drawn)
    return total


def dirichlet_probability(node: Node, draws: list[tuple[tuple[int, ...], int]]) -> float:
    """Probability of draws (row, value) in this order if each row is unknown and has a Dirichlet(alpha) prior."""
    counts = defaultdict(Counter)
    for row, value in draws:
        counts[row][value] += 1
    log_probability = 0.0
    for seen in counts.values():
        log_probability += lgamma(node.num_states * node.alpha) - lgamma(node.num_states * node.alpha + seen.total())
        log_probability += sum(lgamma(node.alpha + count) - lgamma(node.alpha) for count in seen.values())
    return exp(log_probability)
