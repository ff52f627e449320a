"""Paths of runs and sweeps."""

from __future__ import annotations

import os
import time
from pathlib import Path

from n2n.utils.paths import checked_path, folder_name

MAX_LABEL = 120  # characters of the label in a new folder's name
SWEEP = "sweep.json"  # in a sweep's folder: what was submitted


def root() -> Path:
    """The folder of new runs: ``$N2N_RUNS`` if set, else ``runs/`` of the checkout, else ``runs/`` here.

    Raises:
        ValueError: if ``$N2N_RUNS`` is not a path on this machine.
    """
    variable = os.environ.get("N2N_RUNS")
    if variable:
        return checked_path(variable, "N2N_RUNS")
    checkout = Path(__file__).parents[2]
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / "runs"


def new_folder(label: str) -> Path:
    """Make and return an empty folder under ``root()``, named after the time and a label."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{folder_name(label, MAX_LABEL)}"
    root().mkdir(parents=True, exist_ok=True)
    for suffix in ["", *(f"-{n}" for n in range(2, 1000))]:
        try:
            (folder := root() / (stem + suffix)).mkdir()
        except FileExistsError:
            continue
        return folder
    raise OSError(f"no free name for {stem} under {root()}")


def sweep_folder(name: str | os.PathLike) -> Path:
    """The folder of a sweep, by its name under ``root()`` or by its path.

    Raises:
        ValueError: if there is no such folder.
    """
    path = checked_path(name, "sweep")
    folder = path if path.is_dir() else root() / name
    if not folder.is_dir():
        raise ValueError(f"no sweep {os.fspath(name)!r}: there is no folder {folder}")
    return folder
