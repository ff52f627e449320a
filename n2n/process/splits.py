"""The splits of a process: each has its own sequences."""

from __future__ import annotations

from typing import Literal

from n2n.utils.strict import unknown_name_message

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def check_split(split: str) -> None:
    """Raise a ``ValueError`` if there is no such split."""
    if split not in SPLITS:
        raise ValueError(unknown_name_message("split", split, SPLITS))
