"""Batches by step: which sequences a rank takes at a step, made ahead of the learner."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from n2n.data.stream import Source

AHEAD = 2  # batches made while the learner works on one


@dataclass(frozen=True)
class Batches:
    """Step ``s`` holds positions ``s * batch_size`` and on of a source, and rank ``r`` takes the r-th equal part.

    So the sequences of a step are the same on any number of ranks.

    Args:
        source: where the sequences are.
        batch_size: sequences in a step, over all ranks.
        rank: whose part this is.
        ranks: how many there are.

    Raises:
        ValueError: a batch that the ranks do not divide.
    """

    source: Source
    batch_size: int
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.ranks:
            raise ValueError(f"batch_size: saw {self.batch_size}, which {self.ranks} processes do not divide")

    def batch(self, step: int) -> np.ndarray:
        """This rank's tokens ``(batch_size / ranks, length)`` of one step, int64: a pure function of the arguments."""
        own = self.batch_size // self.ranks
        return self.source.take(step * self.batch_size + self.rank * own, own).astype(np.int64)

    def ahead(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The batches of steps ``start`` to ``stop - 1``, made ahead by one thread that ends with the iterator."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="n2n-batches") as maker:
            waiting = deque(maker.submit(self.batch, step) for step in range(start, min(start + AHEAD, stop)))
            for step in range(start, stop):
                tokens = waiting.popleft().result()
                if step + AHEAD < stop:
                    waiting.append(maker.submit(self.batch, step + AHEAD))
                yield tokens
