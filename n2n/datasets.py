"""Datasets of all splits of a process, as ``notebooks/dataset.ipynb`` makes them."""

from __future__ import annotations

import pathlib
from typing import Annotated, ClassVar

import pandas as pd
from pydantic import Field, field_validator, model_validator

from n2n import runs
from n2n.data.generation import generate_part
from n2n.data.store import TokenStore
from n2n.graph.by_name import GraphOrPreset
from n2n.process.process import SPLITS, Process
from n2n.utils.configuration import Asked
from n2n.utils.paths import FolderText, folder_name, usable
from n2n.utils.strict import Count, NonNegativeInt, Seed


class DatasetConfig(Asked):
    """A dataset for each split of a process.

    Args:
        graph: a ``Graph``, or the name of a preset.
        process_seed: names the kernels and the sequences.
        seq_len: tokens in a sequence, the fixed first one included.
        train, valid, test: sequences of each split; 0 makes none.
        folder: of the files ``train.npy``, ``valid.npy`` and ``test.npy``, from the working directory; empty:
            ``data-<graph>-p<process_seed>`` under ``n2n.runs.root()``.
        part: which share of the work this is, from 0, such as a Slurm array task's.
        parts: number of shares.

    Raises:
        ValueError: one line for each wrong field: the value seen, what is allowed, the nearest name.
    """

    positional: ClassVar[tuple[str, ...]] = ("graph",)

    graph: GraphOrPreset
    process_seed: Seed = 0
    seq_len: Annotated[Count, Field(ge=2, le=2**20)] = 64
    train: NonNegativeInt = 100_000
    valid: NonNegativeInt = 1_000
    test: NonNegativeInt = 1_000
    folder: FolderText = ""
    part: NonNegativeInt = 0
    parts: Count = 1

    @field_validator("folder")
    @classmethod
    def _there(cls, folder: str) -> str:
        if folder:
            usable(folder, "folder")
        return folder

    @model_validator(mode="after")
    def _a_part_of_them(self) -> DatasetConfig:
        if self.part >= self.parts:
            raise ValueError(f"part: saw {self.part}; a whole number from 0 to {self.parts - 1} is needed")
        return self

    def path(self, split: str) -> pathlib.Path:
        """Of a split's file."""
        name = f"data-{folder_name(self.graph.name or 'graph')}-p{self.process_seed}"
        folder = usable(self.folder, "folder") if self.folder else runs.root() / name
        return folder.absolute() / f"{split}.npy"


def generate_splits(config: DatasetConfig) -> dict[str, TokenStore | None]:
    """Make the datasets, or this part of them; those that are finished, by split, None where others are at work.

    Raises:
        ValueError, OSError: as ``n2n.data.generate``.
    """
    process, share = Process(config.graph, config.process_seed), {"part": config.part, "parts": config.parts}
    asked = {split: getattr(config, split) for split in SPLITS if getattr(config, split)}
    return {
        split: generate_part(process, config.path(split), count, config.seq_len, split=split, **share)
        for split, count in asked.items()
    }


def table(stores: dict[str, TokenStore | None]) -> pd.DataFrame:
    """A row for each split: sequences, tokens, size and the beginning of the hash; blank where it is unfinished."""
    rows = [
        {
            "split": split,
            "sequences": store.count,
            "tokens": store.count * store.length,
            "MB": store.path.stat().st_size / 1e6,
            "SHA-256": store.sha256[:12],
        }
        if store
        else {"split": split}
        for split, store in stores.items()
    ]
    return pd.DataFrame(rows).set_index("split")
