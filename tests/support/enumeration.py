"""Chains of known entropy, and entropies by enumeration."""

import itertools

import numpy as np
from support.random_graphs import chain_seen_through

from n2n.oracle.reference import flatten, initial_belief
from n2n.process.process import Process


def flips(p: float, q: float, initial: str = "zero") -> Process:
    """A chain of two states, which X reveals; it leaves 0 with probability p and 1 with probability q."""
    return chain_seen_through(np.array([[1 - p, p], [q, 1 - q]]), np.eye(2), initial)


def enumerated(process: Process, length: int) -> np.ndarray:
    """H(X_t | X_<t) for t = 1 .. T - 1, from the sum over all sequences of tokens, on the flattened chain."""
    transitions, emissions = flatten(process)
    vocab_size = process.graph.vocab_size
    starts = [0] if process.graph.initial == "zero" else range(vocab_size)
    law = np.eye(vocab_size)[0] if process.initial_law is None else process.initial_law.reshape(-1, vocab_size).sum(0)
    entropies = np.zeros(length - 1)
    for first, *rest in itertools.product(starts, *[range(vocab_size)] * (length - 1)):
        belief, probability, losses = initial_belief(process, first), law[first], []
        for before, token in itertools.pairwise([first, *rest]):
            x = before if len(transitions) > 1 else 0
            belief = (belief @ transitions[x]) * emissions[x, :, token]
            evidence = belief.sum()
            if evidence == 0:
                break
            probability, belief = probability * evidence, belief / evidence
            losses.append(-np.log(evidence))
        else:
            entropies += probability * np.array(losses)
    return entropies
