"""Philox4x32-10, a counter-based random number generator, compiled by numba and in numpy.

Every number is a pure function of (key, counter), so sequences can be drawn in any order, on any thread or machine.
``numpy.random.Philox`` is Philox4x64, and compiled code cannot call it for a single counter.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib

import numpy as np

from n2n.utils.compilation import compiled

_MASK = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_5, _6, _26 = np.uint64(5), np.uint64(6), np.uint64(26)


def derive_key(*parts: object) -> tuple[np.uint64, np.uint64]:
    """Two 32-bit key words that depend on every part and are equal on every machine and version."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest[:4], "little")), np.uint64(int.from_bytes(digest[4:], "little"))


@compiled
def philox(c0, c1, c2, c3, k0, k1):
    """Four 32-bit words for the counter (c0, c1, c2, c3) and the key (k0, k1).

    All are uint64 values of 32 bits. The compiled function takes scalars; ``philox.py_func`` also takes arrays.
    """
    for _ in range(10):
        product_0 = _MULTIPLIER_0 * c0
        product_1 = _MULTIPLIER_1 * c2
        c0, c1 = (product_1 >> _HALF) ^ c1 ^ k0, product_1 & _MASK
        c2, c3 = (product_0 >> _HALF) ^ c3 ^ k1, product_0 & _MASK
        k0 = (k0 + _WEYL_0) & _MASK
        k1 = (k1 + _WEYL_1) & _MASK
    return c0, c1, c2, c3


@compiled
def uniform(high, low):
    """A float64 in [0, 1) with 53 random bits, from two 32-bit words."""
    return (((high >> _5) << _26) | (low >> _6)) * (1.0 / 9007199254740992.0)


@compiled
def fill_uniforms(index, count, c2, c3, k0, k1, words, values):
    """Two uniforms ``values (2, lanes)`` for the counters (index (2, lanes), c2, c3) of the first ``count`` lanes.

    ``words (4, lanes)`` is scratch space; see ``uniforms_of_words``.
    """
    for lane in range(count):
        words[0, lane], words[1, lane] = index[0, lane], index[1, lane]
        words[2, lane], words[3, lane] = c2, c3
    uniforms_of_words(words, count, k0, k1, values)


@compiled
def uniforms_of_words(words, count, k0, k1, values):
    """Two uniforms ``values (2, lanes)`` for the counters ``words (4, lanes)`` of the first ``count`` lanes.

    The numbers equal those of ``philox``, and the words are overwritten. Each round runs over all lanes, which compiles
    to vector instructions.
    """
    for _ in range(10):
        for lane in range(count):
            product_0 = _MULTIPLIER_0 * (words[0, lane] & _MASK)
            product_1 = _MULTIPLIER_1 * (words[2, lane] & _MASK)
            words[0, lane] = (product_1 >> _HALF) ^ words[1, lane] ^ k0
            words[1, lane] = product_1 & _MASK
            words[2, lane] = (product_0 >> _HALF) ^ words[3, lane] ^ k1
            words[3, lane] = product_0 & _MASK
        k0 = (k0 + _WEYL_0) & _MASK
        k1 = (k1 + _WEYL_1) & _MASK
    for lane in range(count):
        values[0, lane] = uniform(words[0, lane], words[1, lane])
        values[1, lane] = uniform(words[2, lane], words[3, lane])
