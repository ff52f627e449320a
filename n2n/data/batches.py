"""Batches by step: which sequences a process takes at each step, prepared ahead of the learner."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from n2n.data.stream import Source

AHEAD = 2  # batches prepared while the learner works on one


def micro_batch_size(batch_size: int, processes: int, accumulate: int = 1) -> int:
    """Sequences in a micro-batch, which one process learns at a time: ``batch_size / processes / accumulate``.

    Args:
        batch_size: sequences in a step, over all processes.
        processes: number of processes that share a step.
        accumulate: micro-batches that each process makes of its share.

    Raises:
        ValueError: if the batch does not split into equal micro-batches.
    """
    size, rest = divmod(batch_size, processes * accumulate)
    if rest:
        raise ValueError(
            f"batch_size: saw {batch_size}; a multiple of processes ({processes}) times accumulate ({accumulate}) is "
            "needed"
        )
    return size


class Batch(NamedTuple):
    """Sequences that one process learns at a step.

    Attributes:
        tokens: ``(sequences, length)``, int64.
        sequences: ``(sequences,)``, int64, the index of each sequence within its split.
    """

    tokens: np.ndarray
    sequences: np.ndarray


@dataclass(frozen=True)
class Batches:
    """The batches of a run. Step ``s`` has the sequences from position ``s * batch_size`` of a source.

    Each process takes an equal share of a step, in the order of the ranks, so the sequences of a step are the same for
    any number of processes.

    Args:
        source: the sequences.
        batch_size: sequences in a step, over all processes.
        rank: number of this process, from 0.
        processes: number of processes that share a step.

    Raises:
        ValueError: if the processes cannot share a batch equally.
    """

    source: Source
    batch_size: int
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        micro_batch_size(self.batch_size, self.processes)

    def batch(self, step: int) -> Batch:
        """This process's ``batch_size / processes`` sequences of one step.

        They are a pure function of the step and of the arguments of ``Batches``.
        """
        share = self.batch_size // self.processes
        start = step * self.batch_size + self.rank * share
        return Batch(self.source.take(start, share).astype(np.int64), self.source.indices(start, share))

    def ahead(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of steps ``start`` to ``stop - 1``.

        A thread prepares them; it ends with the iterator.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="n2n-batches") as maker:
            waiting = deque(maker.submit(self.batch, step) for step in range(start, min(start + AHEAD, stop)))
            for step in range(start, stop):
                batch = waiting.popleft().result()
                if step + AHEAD < stop:
                    waiting.append(maker.submit(self.batch, step + AHEAD))
                yield batch
