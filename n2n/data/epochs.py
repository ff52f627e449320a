"""Epochs over a finite dataset, and the order of their sequences."""

from __future__ import annotations

import numpy as np

from n2n.data.store import TokenStore
from n2n.data.stream import Drawn
from n2n.utils.philox import derive_key


class Epochs:
    """The first ``sequences`` of a dataset, repeated in an order that is a pure function of (seed, epoch).

    The first epoch keeps the order of the dataset, whose sequences are independent draws, so a run within one epoch
    equals the online run bit for bit. Each later epoch has its own permutation; only the current one is in memory.

    Args:
        store: the dataset, on disk or drawn into memory.
        sequences: number of sequences in an epoch; None uses all of them.
        length: number of tokens of each sequence to use, from the first; None uses all of them.
        seed: seed of the permutations.

    Raises:
        ValueError: if the dataset has fewer sequences or shorter ones.
    """

    def __init__(
        self, store: TokenStore | Drawn, *, sequences: int | None = None, length: int | None = None, seed: int = 0
    ) -> None:
        self.store, self.seed = store, seed
        self.sequences, self.length = sequences or store.count, length or store.length
        if self.sequences > store.count:
            raise ValueError(f"sequences: saw {self.sequences:,}; {store.path} holds {store.count:,}")
        if self.length > store.length:
            raise ValueError(f"seq_len: saw {self.length}; the sequences of {store.path} have {store.length} tokens")
        self._cached: tuple[int, np.ndarray] | None = None

    def take(self, start: int, count: int) -> np.ndarray:
        """Tokens ``(count, length)`` at positions ``start`` to ``start + count - 1``, epochs one after another."""
        return self.store.tokens[self.indices(start, count), : self.length]

    def indices(self, start: int, count: int) -> np.ndarray:
        """Indices of the sequences at these positions, ``(count,)``: in the dataset, and so within its split."""
        parts = []
        while count > 0:
            epoch, first = divmod(start, self.sequences)
            here = min(count, self.sequences - first)
            parts.append(self._part(epoch, first, here))
            start, count = start + here, count - here
        return np.concatenate(parts)

    def _part(self, epoch: int, first: int, count: int) -> np.ndarray:
        if epoch == 0:
            return np.arange(first, first + count)
        if self._cached is None or self._cached[0] != epoch:
            self._cached = None  # so that memory never contains two permutations
            self._cached = (epoch, self._permutation(epoch))
        return self._cached[1][first : first + count].astype(np.int64)

    def _permutation(self, epoch: int) -> np.ndarray:
        low, high = derive_key("epoch", int(self.seed), epoch)
        order = np.arange(self.sequences, dtype=np.min_scalar_type(self.sequences))
        np.random.Generator(np.random.Philox(key=[low, high])).shuffle(order)
        return order
