"""Batches by step: the training stream, drawn as it is consumed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from n2n.process import Process, Split

AHEAD = 2  # batches made while the learner works on one


@dataclass(frozen=True)
class Stream:
    """The endless sequence of batches of a process: batch ``step`` holds sequences step * batch_size and on.

    Args:
        process: drawn from.
        batch_size: sequences in a batch.
        length: tokens in a sequence.
        split: whose sequences these are.
    """

    process: Process
    batch_size: int
    length: int
    split: Split = "train"

    def batch(self, step: int) -> np.ndarray:
        """Tokens ``(batch_size, length)`` of one step, int64: a pure function of (stream, step)."""
        start = step * self.batch_size
        sample = self.process.sample(self.batch_size, length=self.length, split=self.split, start=start, latents=False)
        return sample.tokens.astype(np.int64)

    def batches(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The batches of steps ``start`` to ``stop - 1``, made ahead by one thread that ends with the iterator."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="n2n-stream") as maker:
            waiting = deque(maker.submit(self.batch, step) for step in range(start, min(start + AHEAD, stop)))
            for step in range(start, stop):
                tokens = waiting.popleft().result()
                if step + AHEAD < stop:
                    waiting.append(maker.submit(self.batch, step + AHEAD))
                yield tokens
