"""A dataset on disk: tokens in a ``.npy`` file, and beside it a JSON file that says what they are."""

from __future__ import annotations

import hashlib
import math
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from n2n.graph import Graph
from n2n.monitor.files import read_json
from n2n.paths import usable
from n2n.process import Process

FORMAT = 1
LONG = ("graph", "kernels")  # of a plan, too long to be told
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
        self.path = usable(path, "data")
        if not self.path.is_file():
            hint = "; it is not finished: run its generation again" if work_folder(self.path).exists() else ""
            raise ValueError(f"data: no dataset at {self.path}{hint}")
        self.about = self._described()
        self.count, self.length = self.about["count"], self.about["length"]
        self.vocab_size, self.split, self.sha256 = (self.about[name] for name in ("vocab_size", "split", "sha256"))
        found, wanted = (self.tokens.shape, str(self.tokens.dtype)), ((self.count, self.length), self.about["dtype"])
        if found != wanted:
            raise ValueError(f"data: {self.path} holds {found}, its JSON file says {wanted}")

    def _described(self) -> dict[str, Any]:
        beside = described_by(self.path)
        try:
            about = read_json(beside)
            if about["format"] != FORMAT:
                raise ValueError(f"format: saw {about['format']!r}, {FORMAT} is read here")
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"data: {beside} does not describe a dataset ({type(error).__name__}: {error}); "
                "n2n.data.generate writes it beside the tokens"
            ) from None
        return about

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}: {self.count:,} sequences of {self.length} tokens, {self.split})"

    def __len__(self) -> int:
        return self.count

    @cached_property
    def tokens(self) -> np.ndarray:
        """``(count, length)`` in the smallest unsigned type, read from the disk as it is used."""
        try:
            return np.load(self.path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise ValueError(f"data: {self.path} is no whole .npy file: {error}") from None

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

    def check_drawn_from(self, process: Process) -> None:
        """Refuse a process that the tokens were not drawn from.

        Raises:
            ValueError: another graph, seed or kernel; one line says which.
        """
        if self.vocab_size != process.graph.vocab_size:
            raise ValueError(f"data: {self.path} has {self.vocab_size} symbols, the graph {process.graph.vocab_size}")
        differences = differing(self.about, plan(process, self.split, self.count, self.length))
        if differences:
            raise ValueError(f"data: {self.path} was drawn with {differences}")


def differing(there: dict[str, Any], here: dict[str, Any]) -> str:
    """In what two plans differ, for people; empty if in nothing."""
    told = [f"{k} {there.get(k)!r}, not {here[k]!r}" for k in here if k not in LONG and here[k] != there.get(k)]
    if here["graph"] != there.get("graph"):
        return "; ".join(["another graph", *told])
    if not same_kernels(here["kernels"], there.get("kernels", {})):
        told = told or ["other kernels"]
    return "; ".join(told)


def plan(process: Process, split: str, count: int, length: int) -> dict[str, Any]:
    """What decides the tokens of a dataset, and their type."""
    graph = process.graph.model_dump(mode="json")
    del graph["name"]  # a title
    shape = {"split": split, "count": count, "length": length, "vocab_size": process.graph.vocab_size}
    dtype = str(np.min_scalar_type(process.graph.vocab_size - 1))
    return {
        "format": FORMAT,
        "graph": graph,
        "kernels": process.checksums,
        "seed": int(process.seed),
        "dtype": dtype,
        **shape,
    }


def same_kernels(here: dict[str, float], there: dict[str, float]) -> bool:
    """Whether checksums are those of the same kernels, to the rounding of two machines."""
    return here.keys() == there.keys() and all(math.isclose(here[k], there[k], rel_tol=1e-9) for k in here)


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
