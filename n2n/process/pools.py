"""The set of kernels that each sequence takes from a pool."""

from __future__ import annotations

import numpy as np

from n2n.utils.philox import philox

_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def sets_of_pool(pool: int, sequences: np.ndarray, key) -> np.ndarray:
    """Return the index of each sequence's set, ``(count,)`` int64, uniform on 0 to ``pool - 1`` within 2^-32.

    Args:
        pool: number of sets, at most 2^32.
        sequences: ``(count,)``, indices of sequences in a split.
        key: two words for Philox, which depend on the process and the split.
    """
    index = sequences.astype(np.uint64)
    high, low, _, _ = philox.py_func(index & _MASK, index >> _HALF, np.uint64(0), np.uint64(0), *key)
    return ((high << _HALF | low) % np.uint64(pool)).astype(np.int64)
