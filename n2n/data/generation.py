"""Datasets made block by block: by several processes at once, and after a kill from where they were."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from n2n.data.sidecar import Plan, described, differing, is_description, plan
from n2n.data.store import TokenStore, described_by, opened, sha256_of, work_folder
from n2n.process.process import SPLITS, Process, Split
from n2n.utils.files import making_folder, write_atomic, write_json
from n2n.utils.lock import locked
from n2n.utils.paths import checked_path
from n2n.utils.progress import Progress
from n2n.utils.strict import as_integer, short_repr, unknown

BLOCK = 2**22  # tokens written at once


def generate(
    process: Process, path: str | os.PathLike, sequences: int, length: int, *, split: Split = "train"
) -> TokenStore:
    """Draw a dataset into a file, or finish one that was begun; a finished one is verified and left as it is.

    Sequence i of the file is sequence i of the split, the one that an online run sees. Blocks of sequences are written
    and flushed one after another, so a kill costs no more than one; nothing is at ``path`` before everything is.

    Args:
        process: drawn from.
        path: of the ``.npy`` file; a ``.json`` file beside it will say what it holds.
        sequences: how many.
        length: tokens in each, the fixed first one included.
        split: whose sequences.

    Raises:
        ValueError: a number out of range, a path that does not end in ``.npy``, a dataset of something else or a
            damaged one at that path.
        OSError: if the disk has no room; raised before anything is written if the system reports it.
    """
    return generate_part(process, path, sequences, length, split=split) or TokenStore(path)


def generate_part(
    process: Process,
    path: str | os.PathLike,
    sequences: int,
    length: int,
    *,
    split: Split = "train",
    part: int = 0,
    parts: int = 1,
) -> TokenStore | None:
    """One of several processes' share of ``generate``, such as a Slurm array task's; whoever is last finishes it.

    Args:
        process, path, sequences, length, split: as in ``generate``, the same for all.
        part: which share this is, from 0.
        parts: number of shares.

    Returns:
        The dataset if it is finished, else None.

    Raises:
        ValueError, OSError: as ``generate``.
    """
    if not isinstance(process, Process):
        raise ValueError(f"process: saw {short_repr(process)}; a Process is needed, such as n2n.Process(graph)")
    if split not in SPLITS:
        raise ValueError(unknown("split", split, SPLITS))
    parts, part = as_integer("parts", parts, 1), as_integer("part", part, 0, parts - 1)
    sequences, length = as_integer("sequences", sequences, 1), as_integer("length", length, 2)
    path = checked_path(path, "path")
    if path.suffix != ".npy":
        raise ValueError(f"path: saw {short_repr(path.name)}; a name that ends in .npy is needed")
    checked_path(work_folder(path), "path")  # whose name is longer
    making = _Making(process, path, sequences, length, split)
    if path.exists():
        return making.finished()
    try:
        making.begin()
        making.write([b for b in range(part, making.blocks, parts) if not making.marker(b).exists()])
        return making.finish()
    except FileNotFoundError:
        if not path.exists():
            raise
        return making.finished()  # another process finished it meanwhile and cleaned up


@dataclass(frozen=True)
class _Making:
    """A dataset in the making: its tokens, and a marker with the hash of each block that is on the disk."""

    process: Process
    path: Path
    sequences: int
    length: int
    split: Split

    @cached_property
    def plan(self) -> dict:
        return plan(self.process, self.split, self.sequences, self.length)

    @property
    def rows(self) -> int:
        """Sequences in a block."""
        return max(1, BLOCK // self.length)

    @property
    def blocks(self) -> int:
        return math.ceil(self.sequences / self.rows)

    @property
    def work(self) -> Path:
        return work_folder(self.path)

    @property
    def tokens(self) -> Path:
        return self.work / "tokens.npy"

    def marker(self, block: int) -> Path:
        return self.work / f"{block:08d}.sha256"

    def finished(self) -> TokenStore:
        store = TokenStore(self.path)
        self._refuse_other(store.about, self.path)
        store.verify()
        return store

    def begin(self) -> None:
        """Make the file in its full size, unless another process did."""
        self.process.sample(1, length=self.length, split=self.split, latents=False)  # refuses what can be refused
        begun = self.work / "plan.json"
        if begun.exists():
            self._refuse_other(described(begun, Plan), self.work)
            return
        self._refuse_foreign_sidecar()
        with making_folder(self.path.parent):
            bytes_needed = self.sequences * self.length * np.dtype(self.plan["dtype"]).itemsize
            free = shutil.disk_usage(self.path.parent).free
            if bytes_needed > free:
                wanted, left = bytes_needed / 2**30, free / 2**30
                raise OSError(f"{self.path} takes {wanted:,.1f} GiB, of which {left:,.1f} are free")
            with making_folder(self.work), locked(self.work / "lock"):
                if not begun.exists():
                    shape = (self.sequences, self.length)
                    np.lib.format.open_memmap(self.tokens, "w+", self.plan["dtype"], shape)
                    write_json(begun, self.plan)

    def _refuse_foreign_sidecar(self) -> None:
        """What lies at the place of the description, and describes no dataset, is somebody's file."""
        beside = described_by(self.path)
        if os.path.lexists(beside) and not is_description(beside):
            raise ValueError(f"path: {beside}, which would describe the dataset, is there and is no description of one")

    def _refuse_other(self, there: dict, where: Path) -> None:
        differences = differing(there, self.plan)
        if differences:
            raise ValueError(f"path: {where} holds a dataset of {differences}. Name another path, or delete it")

    def write(self, missing: Iterable[int]) -> None:
        """Draw blocks, write them in their places, and mark each when it is on the disk."""
        missing = list(missing)
        if not missing:
            return
        start = opened(self.tokens).offset
        with open(self.tokens, "r+b") as file, Progress(0, len(missing), unit="block") as shown:
            for done, block in enumerate(missing, start=1):
                self._write_block(file, start, block)
                shown.update(done, {})

    def _write_block(self, file, start: int, block: int) -> None:
        first = block * self.rows
        count = min(self.rows, self.sequences - first)
        drawn = self.process.sample(count, length=self.length, split=self.split, start=first, latents=False)
        data = np.ascontiguousarray(drawn.tokens, dtype=self.plan["dtype"]).tobytes()
        file.seek(start + first * self.length * np.dtype(self.plan["dtype"]).itemsize)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        sha = hashlib.sha256(data).hexdigest()
        write_atomic(self.marker(block), lambda marker: marker.write(sha.encode()))

    def finish(self) -> TokenStore | None:
        """Verify every block and put the dataset in its place, if no block is missing."""
        with locked(self.work / "lock"):
            if not self.path.exists() and all(self.marker(block).exists() for block in range(self.blocks)):
                self._redraw_damaged()
                # Described first: that the tokens are there says that all is.
                write_json(described_by(self.path), {**self.plan, "sha256": sha256_of(self.tokens)})
                os.replace(self.tokens, self.path)
        if not self.path.exists():
            return None
        shutil.rmtree(self.work, ignore_errors=True)
        return TokenStore(self.path)

    def _redraw_damaged(self) -> None:
        tokens = opened(self.tokens)
        for block in range(self.blocks):
            data = np.ascontiguousarray(tokens[block * self.rows : (block + 1) * self.rows])
            if hashlib.sha256(data).hexdigest().encode() != self.marker(block).read_bytes():
                self.write([block])
