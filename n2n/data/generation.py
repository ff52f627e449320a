"""Generate datasets block by block: several processes may share the work, and an interrupted one is resumed."""

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

from n2n.data.sidecar import Plan, is_sidecar, plan, plan_differences, read_plan
from n2n.data.store import TokenStore, open_tokens, sha256_of, sidecar_path, work_folder
from n2n.process.process import Process
from n2n.process.splits import Split, check_split
from n2n.utils.files import making_folder, write_atomic, write_json
from n2n.utils.lock import locked
from n2n.utils.paths import checked_path
from n2n.utils.progress import Progress
from n2n.utils.strict import as_integer, short_repr

BLOCK = 2**22  # largest number of tokens written at once


def generate(
    process: Process, path: str | os.PathLike, sequences: int, length: int, *, split: Split = "train"
) -> TokenStore:
    """Generate a dataset in a file.

    An unfinished dataset at ``path`` is completed. A finished one is verified and left unchanged.

    Sequence i of the file is sequence i of the split, the same sequence that an online run uses. Blocks of sequences
    are written and flushed one after another, so an interruption costs at most one block. The file appears at ``path``
    only when it is complete.

    Args:
        process: process to draw from.
        path: path of the ``.npy`` file; a ``.json`` file next to it describes the dataset.
        sequences: number of sequences.
        length: number of tokens in a sequence, including the fixed first one.
        split: split to draw from.

    Returns:
        The finished dataset.

    Raises:
        ValueError: if a number is out of range, the path does not end in ``.npy``, or the path holds a different or a
            damaged dataset.
        OSError: if the disk is too small; raised before anything is written if the system reports the free space.
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
    """Generate one part of a dataset, such as that of one Slurm array task; the last process to end completes the file.

    Args:
        process, path, sequences, length, split: as in ``generate``; the same for all parts.
        part: index of this part, from 0.
        parts: number of parts.

    Returns:
        The dataset if it is finished, else None.

    Raises:
        ValueError, OSError: as ``generate``.
    """
    if not isinstance(process, Process):
        raise ValueError(f"process: saw {short_repr(process)}; a Process is needed, such as n2n.Process(graph)")
    check_split(split)
    parts, part = as_integer("parts", parts, 1), as_integer("part", part, 0, parts - 1)
    sequences, length = as_integer("sequences", sequences, 1), as_integer("length", length, 2)
    path = checked_path(path, "path")
    if path.suffix != ".npy":
        raise ValueError(f"path: saw {short_repr(path.name)}; a name that ends in .npy is needed")
    checked_path(work_folder(path), "path")  # its name is longer
    unfinished = _Unfinished(process, path, sequences, length, split)
    if path.exists():
        return unfinished.verified()
    try:
        unfinished.prepare()
        unfinished.write([b for b in range(part, unfinished.blocks, parts) if not unfinished.marker(b).exists()])
        return unfinished.finish()
    except FileNotFoundError:
        if not path.exists():
            raise
        return unfinished.verified()  # another process has finished it and removed the work folder


@dataclass(frozen=True)
class _Unfinished:
    """A dataset during generation: its tokens, and for each block on the disk a marker file with the block's hash."""

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

    def verified(self) -> TokenStore:
        """Open the dataset at ``path``, and check that it is the requested one and undamaged."""
        store = TokenStore(self.path)
        self._check_plan(store.fields, self.path)
        store.verify()
        return store

    def prepare(self) -> None:
        """Create the file in its full size, unless another process has created it."""
        self.process.sample(1, length=self.length, split=self.split, latents=False)  # raises if it is impossible
        plan_file = self.work / "plan.json"
        if plan_file.exists():
            self._check_plan(read_plan(plan_file, Plan), self.work)
            return
        self._check_sidecar()
        with making_folder(self.path.parent):
            bytes_needed = self.sequences * self.length * np.dtype(self.plan["dtype"]).itemsize
            free = shutil.disk_usage(self.path.parent).free
            if bytes_needed > free:
                raise OSError(f"{self.path} needs {bytes_needed / 2**30:,.1f} GiB; {free / 2**30:,.1f} GiB are free")
            with making_folder(self.work), locked(self.work / "lock"):
                if not plan_file.exists():
                    shape = (self.sequences, self.length)
                    np.lib.format.open_memmap(self.tokens, "w+", self.plan["dtype"], shape)
                    write_json(plan_file, self.plan)

    def _check_sidecar(self) -> None:
        """Check that the sidecar would not overwrite a file of another kind."""
        sidecar = sidecar_path(self.path)
        if os.path.lexists(sidecar) and not is_sidecar(sidecar):
            raise ValueError(f"path: {sidecar} would be overwritten and does not describe a dataset; use another path")

    def _check_plan(self, existing: dict, folder: Path) -> None:
        differences = plan_differences(existing, self.plan)
        if differences:
            raise ValueError(f"path: {folder} holds a dataset with {differences}. Use another path, or delete it")

    def write(self, missing: Iterable[int]) -> None:
        """Draw blocks, write them at their positions, and mark each one when it is on the disk."""
        missing = list(missing)
        if not missing:
            return
        start = open_tokens(self.tokens).offset
        with open(self.tokens, "r+b") as file, Progress(0, len(missing), unit="block") as progress:
            for done, block in enumerate(missing, start=1):
                self._write_block(file, start, block)
                progress.update(done, {})

    def _write_block(self, file, start: int, block: int) -> None:
        first = block * self.rows
        count = min(self.rows, self.sequences - first)
        sample = self.process.sample(count, length=self.length, split=self.split, start=first, latents=False)
        data = np.ascontiguousarray(sample.tokens, dtype=self.plan["dtype"]).tobytes()
        file.seek(start + first * self.length * np.dtype(self.plan["dtype"]).itemsize)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        sha = hashlib.sha256(data).hexdigest()
        write_atomic(self.marker(block), lambda marker: marker.write(sha.encode()))

    def finish(self) -> TokenStore | None:
        """If no block is missing, verify all blocks and move the dataset to ``path``."""
        with locked(self.work / "lock"):
            if not self.path.exists() and all(self.marker(block).exists() for block in range(self.blocks)):
                self._redraw_damaged()
                # The sidecar comes first, because the tokens at ``path`` show that the dataset is complete.
                write_json(sidecar_path(self.path), {**self.plan, "sha256": sha256_of(self.tokens)})
                os.replace(self.tokens, self.path)
        if not self.path.exists():
            return None
        shutil.rmtree(self.work, ignore_errors=True)
        return TokenStore(self.path)

    def _redraw_damaged(self) -> None:
        tokens = open_tokens(self.tokens)
        for block in range(self.blocks):
            data = np.ascontiguousarray(tokens[block * self.rows : (block + 1) * self.rows])
            if hashlib.sha256(data).hexdigest().encode() != self.marker(block).read_bytes():
                self.write([block])
