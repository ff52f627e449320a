"""A table of many runs, with their configurations and results."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.monitor.status import read_status
from n2n.runs.paths import SWEEP, sweep_folder
from n2n.utils.files import read_object, read_object_or_empty
from n2n.utils.rows import DamagedFile, read_rows

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
    """Every run of a sweep, or of any folder of runs, with its configuration and its results.

    Args:
        name: of the sweep under ``root()``, or the path of a folder whose folders are runs.

    Returns:
        a row for each folder, by its name: its ``state``, as ``Run.status`` has it (of a point without a run its job's,
        else ``"missing"``; ``"damaged"`` where ``config.json`` holds no configuration), the step saved, all fields of
        its configuration as it was written (of a point without a run those that the sweep gives), and of its last
        evaluation the losses in nats per token with their standard error, and the model's parameters. Where a file is
        damaged, ``error`` names it.

    Raises:
        ValueError: no such folder, one without runs, or one whose ``sweep.json`` is damaged.
    """
    folder = sweep_folder(name)
    points = _points(folder / SWEEP)
    found = sorted((path.parent.name for path in folder.glob("*/config.json")), key=_counted)
    rows = {
        name: _row(folder / name, points.get(name, {})) for name in [*points, *(n for n in found if n not in points)]
    }
    if not rows:
        raise ValueError(f"{folder} holds no runs")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def _points(path: Path) -> dict[str, dict[str, Any]]:
    """The points of a sweep; empty for a folder of runs that were not submitted together."""
    try:
        return read_object(path)["points"] if path.exists() else {}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _counted(name: str) -> list[tuple[int, str]]:
    """A key by which ``dim=8`` comes before ``dim=16``."""
    return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _row(folder: Path, point: dict[str, Any]) -> dict[str, Any]:
    status, path = read_status(folder), folder / "config.json"
    state = status.get("state") or read_object_or_empty(folder / "job.json").get("state") or "missing"
    if not path.exists():
        return {"state": state, **point}
    config = read_object_or_empty(path)
    if not isinstance(config.get("graph"), dict):
        return {"state": "damaged", **point, "error": f"{path} is no configuration of a run"}
    config["graph"] = config["graph"].get("name") or "graph"
    row = {"state": state, "step": status.get("step"), **config}
    try:
        evaluation = (read_rows(folder / "evals.jsonl") or [{}])[-1]
    except DamagedFile as error:
        return {**row, "error": str(error)}
    return {**row, **{name: evaluation[name] for name in RESULTS if name in evaluation}}
