"""Datasets of all splits of a process, as ``notebooks/dataset.ipynb`` makes them."""

from __future__ import annotations

import pandas as pd

from n2n.data.generation import generate_part
from n2n.data.store import TokenStore
from n2n.notebook.process_configs import DatasetConfig
from n2n.process.process import SPLITS, Process


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
