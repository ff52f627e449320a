"""Compiled rows of the kernels that are redrawn for every sequence.

Each entry is a pure function of (key, index of the kernel set, entry). Without a pool, a sequence's set has the index
of the sequence.
"""

from __future__ import annotations

import math

import numpy as np

from n2n.utils.compilation import compiled
from n2n.utils.philox import philox, uniform

_MASK, _HALF, _TWO = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(2)


@compiled
def log_gamma(alpha, low, high, entry, key_0, key_1):
    """Draw the logarithm of a Gamma(alpha) variable; it is exact for any small alpha.

    A Gamma(alpha + 1) variable is drawn by squeezed rejection and multiplied by U^(1/alpha), in logarithms.
    Source: Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000), sections 2 and 6.
    """
    d = alpha + 1.0 - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    attempt = np.uint64(0)
    while True:
        block = philox(low, high, entry, attempt, key_0, key_1)
        radius = math.sqrt(-2.0 * math.log1p(-uniform(block[0], block[1])))
        normal = radius * math.cos(2.0 * math.pi * uniform(block[2], block[3]))
        block = philox(low, high, entry, attempt + np.uint64(1), key_0, key_1)
        v = (1.0 + c * normal) ** 3
        if v > 0.0:
            bound = 0.5 * normal * normal + d - d * v + d * math.log(v)
            if math.log1p(-uniform(block[0], block[1])) < bound:
                return math.log(d * v) + math.log1p(-uniform(block[2], block[3])) / alpha
        attempt += _TWO


@compiled
def fill_row(row, factors, alpha, stickiness, own, low, high, key_0, key_1):
    """Write the probabilities of a row ``(n,)``: the normalised product of one Dirichlet row from each factor.

    ``factors`` holds the position of each of these rows among all rows of the node's factors. A full kernel has one
    factor.
    """
    for state in range(row.size):
        row[state] = 0.0
        for factor in factors:
            entry = np.uint64(factor * row.size + state)
            row[state] += log_gamma(alpha, low, high, entry, key_0, key_1)
    normalise(row, stickiness, own)


@compiled
def normalise(row, stickiness, own):
    """Convert unnormalised logarithms to probabilities, and move the share ``stickiness`` to the state ``own``."""
    size, largest, total = row.size, row.max(), 0.0
    for state in range(size):
        row[state] = math.exp(row[state] - largest)
        total += row[state]
    for state in range(size):
        row[state] *= (1.0 - stickiness) / total
    if stickiness > 0.0:
        row[own] += stickiness


@compiled
def accumulate(row):
    """Convert probabilities to cumulative ones, which are exactly 1 from the last state of positive probability on."""
    total = 0.0
    for state in range(row.size):
        total += row[state]
        row[state] = total
    for state in range(row.size):
        if row[state] >= total:
            row[state] = 1.0
