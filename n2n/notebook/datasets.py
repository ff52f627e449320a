"""Datasets for all splits of a process, as ``notebooks/dataset.ipynb`` generates them."""

from __future__ import annotations

import pandas as pd

from n2n.data.generation import generate_part
from n2n.data.store import TokenStore
from n2n.notebook.process_notebook_configs import DatasetConfig
from n2n.process.process import Process
from n2n.process.splits import SPLITS


def generate_splits(config: DatasetConfig) -> dict[str, TokenStore | None]:
    """Generate the datasets, or this process's part of them.

    Returns:
        the datasets by split; None for one that other processes have not finished yet.

    Raises:
        ValueError, OSError: as ``n2n.data.generate``.
    """
    process = Process(config.graph, config.process_seed)
    counts = {split: getattr(config, split) for split in SPLITS}
    return {
        split: generate_part(
            process, config.path(split), count, config.seq_len, split=split, part=config.part, parts=config.parts
        )
        for split, count in counts.items()
        if count
    }


def table(stores: dict[str, TokenStore | None]) -> pd.DataFrame:
    """Return a row for each split: sequences, tokens, size and first digits of the hash; blank if unfinished."""
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
