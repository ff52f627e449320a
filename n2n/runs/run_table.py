"""A table of many runs, with their configurations and results."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.runs.folder import CONFIG, RunFolder
from n2n.runs.paths import SWEEP, sweep_folder
from n2n.utils.files import read_object
from n2n.utils.rows import DamagedFile

RESULTS = (
    "split",
    "parameters",
    "cross_entropy",
    "oracle_nll",
    "excess_loss",
    "excess_standard_error",
    "bigram",
    "unigram",
)


def table(name: str | os.PathLike) -> pd.DataFrame:
    """All runs of a sweep, or of any folder of runs, with their configurations and results.

    Args:
        name: name of the sweep under ``root()``, or the path of a folder of runs.

    Returns:
        one row for each run, indexed by its folder's name. ``state`` is that of ``Run.status``; a point without a run
        has the state of its job, else ``"missing"``; the state is ``"damaged"`` if ``config.json`` holds no
        configuration. ``step`` is the saved step. The fields of the configuration follow as they were written; a point
        without a run has those that the sweep sets. Then come the results of the last evaluation: losses in nats per
        token with their standard error, and the number of parameters. ``error`` names a damaged file.

    Raises:
        ValueError: if there is no such folder, if it holds no runs, or if its ``sweep.json`` is damaged.
    """
    folder = sweep_folder(name)
    points = _points(folder / SWEEP)
    runs = sorted((path.parent.name for path in folder.glob(f"*/{CONFIG}")), key=_natural_order)
    names = [*points, *(run for run in runs if run not in points)]
    rows = {name: _row(RunFolder(folder / name), points.get(name, {})) for name in names}
    if not rows:
        raise ValueError(f"{folder} holds no runs")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def _points(path: Path) -> dict[str, dict[str, Any]]:
    """The points of a sweep; empty for a folder of runs that were not submitted together."""
    try:
        return read_object(path)["points"] if path.exists() else {}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _natural_order(name: str) -> list[tuple[int, str]]:
    """A sorting key by which ``dim=8`` comes before ``dim=16``."""
    return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _row(folder: RunFolder, point: dict[str, Any]) -> dict[str, Any]:
    status = folder.read_status()
    state = status.get("state") or folder.read_job().get("state") or "missing"
    if not folder.config_path.exists():
        return {"state": state, **point}
    config = folder.read_config()
    if not isinstance(config.get("graph"), dict):
        return {"state": "damaged", **point, "error": f"{folder.config_path} is no configuration of a run"}
    config["graph"] = config["graph"].get("name") or "graph"
    row = {"state": state, "step": status.get("step"), **config}
    try:
        evaluation = (folder.read_evaluations() or [{}])[-1]
    except DamagedFile as error:
        return {**row, "error": str(error)}
    return {**row, **{name: evaluation[name] for name in RESULTS if name in evaluation}}
