"""Sequences that are drawn when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from n2n.process.process import Process
from n2n.process.splits import Split


class Source(Protocol):
    """Sequences in the order of training."""

    length: int

    def take(self, start: int, count: int) -> np.ndarray:
        """The tokens ``(count, length)`` at positions ``start`` to ``start + count - 1`` of that order."""
        ...

    def indices(self, start: int, count: int) -> np.ndarray:
        """The index of each of these sequences within its split, ``(count,)``, int64."""
        ...


@dataclass(frozen=True)
class Stream:
    """The endless sequences of a process, each used once.

    Args:
        process: process to draw from.
        length: number of tokens in a sequence.
        split: split to draw from.
    """

    process: Process
    length: int
    split: Split = "train"

    def take(self, start: int, count: int) -> np.ndarray:
        """Sequences ``start`` to ``start + count - 1``, ``(count, length)``, in the smallest unsigned type."""
        return self.process.sample(count, length=self.length, split=self.split, start=start, latents=False).tokens

    def indices(self, start: int, count: int) -> np.ndarray:
        """Indices of these sequences within the split, ``(count,)``: their positions."""
        return np.arange(start, start + count)


@dataclass(frozen=True)
class Drawn:
    """The first training sequences of a process, in memory: a finite dataset without a file.

    Args:
        process: process to draw from.
        count: number of sequences.
        length: number of tokens in a sequence.
    """

    process: Process
    count: int
    length: int

    @cached_property
    def tokens(self) -> np.ndarray:
        """``(count, length)``, in the smallest unsigned type; drawn when they are first read."""
        return self.process.sample(self.count, length=self.length, latents=False).tokens
