"""Compiled rows of the kernels that are redrawn for every sequence.

Each entry is a pure function of (key, index of the kernel set, entry). Without a pool, a sequence's set has the index
of the sequence.
"""

from __future__ import annotations

import math

import numpy as np

from n2n.utils.compilation import compiled
from n2n.utils.philox import philox, uniform, uniforms_of_words

_MASK, _HALF, _TWO = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(2)
_LANES = 64  # entries whose random numbers are made at once
_SQUEEZE = 0.0331  # of Marsaglia and Tsang: accepts most variables without a logarithm


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
            value = uniform(block[0], block[1])
            if value > _SQUEEZE * (normal * normal) ** 2 or math.log1p(-value) < _log_ratio(normal, v, d):
                return math.log(d * v) + math.log1p(-uniform(block[2], block[3])) / alpha
        attempt += _TWO


@compiled
def _log_ratio(normal, v, d):
    return 0.5 * normal * normal + d - d * v + d * math.log(v)


@compiled
def fill_logarithms(rows, alpha, index, key_0, key_1):
    """Write ``log_gamma`` of each entry of contiguous rows; the random numbers of several entries are made at once."""
    low, high, flat = index & _MASK, index >> _HALF, rows.reshape(rows.size)
    d = alpha + 1.0 - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    words, values = np.empty((4, _LANES), np.uint64), np.empty((4, _LANES))
    for first in range(0, flat.size, _LANES):
        count = min(_LANES, flat.size - first)
        for attempt in range(2):
            for lane in range(count):
                words[0, lane], words[1, lane] = low, high
                words[2, lane], words[3, lane] = np.uint64(first + lane), np.uint64(attempt)
            uniforms_of_words(words, count, key_0, key_1, values[2 * attempt : 2 * attempt + 2])
        for lane in range(count):
            normal = math.sqrt(-2.0 * math.log1p(-values[0, lane])) * math.cos(2.0 * math.pi * values[1, lane])
            v = (1.0 + c * normal) ** 3
            if v > 0.0 and values[2, lane] > _SQUEEZE * (normal * normal) ** 2:  # a test that implies that of log_gamma
                flat[first + lane] = math.log(d * v) + math.log1p(-values[3, lane]) / alpha
            else:
                flat[first + lane] = log_gamma(alpha, low, high, np.uint64(first + lane), key_0, key_1)


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
