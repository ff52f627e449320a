"""A dataset on disk: tokens in a ``.npy`` file, and beside it a JSON file that says what they are."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from n2n.data.sidecar import Sidecar, described, differing, plan, without_kernels
from n2n.graph.graph import Graph
from n2n.process.process import Process
from n2n.utils.paths import checked_path

PIECE = 2**24  # bytes read at once


class TokenStore:
    """A finished dataset.

    Args:
        path: the ``.npy`` file, made by ``n2n.data.generate``.

    Attributes:
        path: absolute.
        count: number of sequences.
        length: tokens in each, the fixed first one included.
        vocab_size: number of symbols.
        split: whose sequences these are; sequence i is sequence i of that split.
        sha256: of the whole ``.npy`` file.

    Raises:
        ValueError: a file that is missing or unfinished, or is not what its JSON file says.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = checked_path(path, "data")
        if not self.path.is_file():
            hint = "; it is not finished: run its generation again" if work_folder(self.path).exists() else ""
            raise ValueError(f"data: no dataset at {self.path}{hint}")
        self.about = described(described_by(self.path), Sidecar)
        self.count, self.length = self.about["count"], self.about["length"]
        self.vocab_size, self.split, self.sha256 = (self.about[name] for name in ("vocab_size", "split", "sha256"))
        found, wanted = (self.tokens.shape, str(self.tokens.dtype)), ((self.count, self.length), self.about["dtype"])
        if found != wanted:
            raise ValueError(f"data: {self.path} holds {found}, its JSON file says {wanted}")

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}: {self.count:,} sequences of {self.length} tokens, {self.split})"

    def __len__(self) -> int:
        return self.count

    @cached_property
    def tokens(self) -> np.ndarray:
        """``(count, length)`` in the smallest unsigned type, read from the disk as it is used."""
        return opened(self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, which every process opens for itself."""
        return {name: value for name, value in vars(self).items() if name != "tokens"}

    @property
    def graph(self) -> Graph:
        """The graph that it was drawn from."""
        return Graph(**self.about["graph"])

    def verify(self) -> None:
        """Read everything and compare.

        Raises:
            ValueError: a file that is not the one that was generated.
        """
        found = sha256_of(self.path)
        if found != self.sha256:
            raise ValueError(f"data: {self.path} is damaged: its SHA-256 is {found}, {self.sha256} was generated")

    def check_described(self, process: Process) -> None:
        """Refuse a process of another vocabulary, graph or seed than the JSON file says; no kernel is drawn for it.

        Raises:
            ValueError: one line says which.
        """
        self._refuse_symbols(process)
        self._refuse(differing(self.about, {**without_kernels(process), "kernels": self.about["kernels"]}))

    def check_drawn_from(self, process: Process) -> None:
        """Refuse a process that the tokens were not drawn from.

        Raises:
            ValueError: another graph, seed or kernel; one line says which.
        """
        self._refuse_symbols(process)
        self._refuse(differing(self.about, plan(process, self.split, self.count, self.length)))

    def _refuse_symbols(self, process: Process) -> None:
        if self.vocab_size != process.graph.vocab_size:
            raise ValueError(f"data: {self.path} has {self.vocab_size} symbols, the graph {process.graph.vocab_size}")

    def _refuse(self, differences: str) -> None:
        if differences:
            raise ValueError(f"data: {self.path} was drawn with {differences}")


def opened(path: Path) -> np.ndarray:
    """The array in a ``.npy`` file, read from the disk as it is used.

    Raises:
        ValueError: a file that is damaged, is something else, or has its rows apart (in Fortran's order).
    """
    try:
        tokens = np.lib.format.open_memmap(path, mode="r")  # np.load would open archives and pickles too
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"data: {path} is no whole .npy file of tokens: {error}") from None
    if not tokens.flags.c_contiguous:
        raise ValueError(f"data: {path} is in Fortran's order; sequence by sequence is needed")
    return tokens


def described_by(path: Path) -> Path:
    """The JSON file beside a dataset."""
    return path.with_suffix(".json")


def work_folder(path: Path) -> Path:
    """Where a dataset lies while it is being made."""
    return path.with_name(f".{path.name}.parts")


def sha256_of(path: Path) -> str:
    """Of a whole file, in bounded memory."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            sha.update(piece)
    return sha.hexdigest()
