"""A dataset on disk: tokens in a ``.npy`` file, and a JSON file next to it that describes them."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from n2n.data.sidecar import Sidecar, plan, plan_differences, plan_without_kernels, read_plan
from n2n.graph.graph import Graph
from n2n.process.process import Process
from n2n.utils.paths import checked_path

PIECE = 2**24  # bytes read at once


class TokenStore:
    """A finished dataset.

    Args:
        path: the ``.npy`` file, made by ``n2n.data.generate``.

    Attributes:
        path: absolute path of the file.
        count: number of sequences.
        length: number of tokens in a sequence, including the first one.
        vocab_size: number of symbols.
        split: split of the sequences; sequence i is sequence i of that split.
        sha256: SHA-256 of the whole ``.npy`` file.

    Raises:
        ValueError: if the file is missing or unfinished, or does not match its JSON file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = checked_path(path, "data")
        if not self.path.is_file():
            hint = "; it is not finished: run its generation again" if work_folder(self.path).exists() else ""
            raise ValueError(f"data: no dataset at {self.path}{hint}")
        self.fields = read_plan(sidecar_path(self.path), Sidecar)
        self.count, self.length = self.fields["count"], self.fields["length"]
        self.vocab_size, self.split, self.sha256 = (self.fields[name] for name in ("vocab_size", "split", "sha256"))
        actual, expected = (
            (self.tokens.shape, str(self.tokens.dtype)),
            ((self.count, self.length), self.fields["dtype"]),
        )
        if actual != expected:
            raise ValueError(f"data: {self.path} holds {actual}; its JSON file says {expected}")

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}: {self.count:,} sequences of {self.length} tokens, {self.split})"

    def __len__(self) -> int:
        return self.count

    @cached_property
    def tokens(self) -> np.ndarray:
        """All tokens, ``(count, length)``, in the smallest unsigned type; read from disk on use."""
        return open_tokens(self.path)

    def __getstate__(self) -> dict[str, Any]:
        """The state without the open file, which each process opens itself."""
        return {name: value for name, value in vars(self).items() if name != "tokens"}

    @property
    def graph(self) -> Graph:
        """The graph of the process that the tokens were drawn from."""
        return Graph(**self.fields["graph"])

    def verify(self) -> None:
        """Read the whole file and compare its SHA-256.

        Raises:
            ValueError: if the file is not the one that was generated.
        """
        actual = sha256_of(self.path)
        if actual != self.sha256:
            raise ValueError(f"data: {self.path} is damaged: its SHA-256 is {actual}, not {self.sha256}")

    def check_described(self, process: Process) -> None:
        """Compare vocabulary, graph and seed of a process with the JSON file, without drawing kernels.

        Raises:
            ValueError: if one of them differs; the message says which.
        """
        self._check_vocabulary(process)
        without_kernels = {**plan_without_kernels(process), "kernels": self.fields["kernels"]}
        self._check_same(plan_differences(self.fields, without_kernels))

    def check_drawn_from(self, process: Process) -> None:
        """Check that the tokens were drawn from a process.

        Raises:
            ValueError: if the graph, the seed or a kernel differs; the message says which.
        """
        self._check_vocabulary(process)
        self._check_same(plan_differences(self.fields, plan(process, self.split, self.count, self.length)))

    def _check_vocabulary(self, process: Process) -> None:
        if self.vocab_size != process.graph.vocab_size:
            symbols = f"{self.vocab_size} symbols; the graph has {process.graph.vocab_size}"
            raise ValueError(f"data: {self.path} has {symbols}")

    def _check_same(self, differences: str) -> None:
        if differences:
            raise ValueError(f"data: {self.path} was drawn with {differences}")


def open_tokens(path: Path) -> np.ndarray:
    """Open the array of tokens in a ``.npy`` file, which is read from disk on use.

    Raises:
        ValueError: if the file is damaged, is not an array, or is in Fortran order.
    """
    try:
        tokens = np.lib.format.open_memmap(path, mode="r")  # np.load would open archives and pickles too
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"data: {path} is not a complete .npy file of tokens: {error}") from None
    if not tokens.flags.c_contiguous:
        raise ValueError(f"data: {path} is in Fortran order; C order is needed")
    return tokens


def sidecar_path(path: Path) -> Path:
    """Return the path of the JSON file that describes a dataset."""
    return path.with_suffix(".json")


def work_folder(path: Path) -> Path:
    """Return the folder of a dataset during generation."""
    return path.with_name(f".{path.name}.parts")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a whole file, which is read in pieces."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            sha.update(piece)
    return sha.hexdigest()
