"""A table of many runs, with their configurations and results."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.runs.folder import CONFIG, excess_interval
from n2n.runs.paths import SWEEP, sweep_folder
from n2n.runs.point import PointReader
from n2n.utils.files import read_object

RESULTS = (
    "split",
    "parameters",
    "cross_entropy",
    "oracle_nll",
    "excess_loss",
    "excess_standard_error",
    "in_context_nll",
    "in_context_excess_loss",
    "in_context_excess_standard_error",
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
        token with their standard error, ``low`` to ``high``, the 95% interval of the excess loss over held-out
        sequences, and the number of parameters. Runs in context have the same of the oracle that learns the kernels,
        in columns that begin with ``in_context_``. ``error`` names a damaged file.

    Raises:
        ValueError: if there is no such folder, if it holds no runs, or if its ``sweep.json`` is damaged.
    """
    return point_table(read_points(sweep_folder(name)))


def read_points(folder: Path) -> dict[str, PointReader]:
    """Readers of all points of a sweep, and of all other runs in its folder, by the names of their folders.

    Raises:
        ValueError: if the folder holds no runs, or if its ``sweep.json`` is damaged.
    """
    points = _parameters(folder / SWEEP)
    runs = sorted((path.parent.name for path in folder.glob(f"*/{CONFIG}")), key=_natural_order)
    names = [*points, *(run for run in runs if run not in points)]
    if not names:
        raise ValueError(f"{folder} holds no runs")
    return {name: PointReader(folder / name, points.get(name)) for name in names}


def point_table(points: Mapping[str, PointReader]) -> pd.DataFrame:
    """One row for each point; see ``table``."""
    rows = {name: _row(point) for name, point in points.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def count_states(states: pd.Series) -> str:
    """The number of runs in each state as text, such as ``"2 done, 1 running"``."""
    return ", ".join(f"{count} {state}" for state, count in states.value_counts().items())


def _parameters(path: Path) -> dict[str, dict[str, Any]]:
    """Parameters of each point of a sweep; empty for a folder of runs that were not submitted together."""
    try:
        return read_object(path)["points"] if path.exists() else {}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _natural_order(name: str) -> list[tuple[int, str]]:
    """A sorting key by which ``dim=8`` comes before ``dim=16``."""
    return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _row(point: PointReader) -> dict[str, Any]:
    if not point.folder.config_path.exists():
        return {"state": point.state, **point.parameters}
    if not point.run_config:
        return {"state": "damaged", **point.parameters, "error": point.damage}
    graph = point.run_config["graph"].get("name") or "graph"
    row = {"state": point.state, "step": point.status.get("step"), **point.run_config, "graph": graph}
    evaluation = (point.evaluations or [{}])[-1]
    row |= {name: evaluation[name] for name in RESULTS if name in evaluation}
    if {"excess_loss", "excess_standard_error", "sequences"} <= evaluation.keys():
        row["low"], row["high"] = excess_interval(evaluation)
    if "in_context_excess_loss" in evaluation:
        row["in_context_low"], row["in_context_high"] = excess_interval(evaluation, "in_context_")
    return {**row, "error": point.damage} if point.damage else row
