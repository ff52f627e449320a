"""Rows of the results from the folder of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from n2n import runs
from n2n.experiments.design import Design
from n2n.experiments.points import Point, train_config
from n2n.runs.folder import TRAINING_LOCK, RunFolder
from n2n.utils.lock import is_locked

DIVERGED = "FloatingPointError"  # what the trainer raises if a loss is no longer finite
DIGITS = 7  # decimals of nats per token
_LOSSES = {"excess": "excess_loss", "standard_error": "excess_standard_error", "oracle": "oracle_nll"}
_LOSSES |= {"unigram": "unigram", "bigram": "bigram"}


def run_rows(design: Design, point: Point, alpha: float, folder: RunFolder) -> list[dict[str, Any]]:
    """The rows of a run: one for each evaluation, or a single one without losses if it diverged.

    Args:
        design: the design.
        point: the run's point.
        alpha: the concentration of its process.
        folder: its folder.

    Returns:
        No rows if the run is not at its end, or if it failed for another reason than its losses.
    """
    status = folder.read_status()
    shared = {"factor": design.factor, **point.columns, "alpha": alpha, "state": status.get("state", "missing")}
    if shared["state"] == "failed" and DIVERGED in str(status.get("error")):
        return [{**shared, "state": "diverged", "step": status["step"]}]
    if shared["state"] != "done" or is_locked(folder.path / TRAINING_LOCK):
        return []
    shared["seconds"] = _seconds(folder)
    return [{**shared, **_evaluated(row)} for row in folder.read_evaluations()]


def _evaluated(row: Mapping[str, Any]) -> dict[str, Any]:
    losses = {name: round(row[field], DIGITS) for name, field in _LOSSES.items()}
    return {**losses, "parameters": row["parameters"], "split": row["split"], "step": row["step"]}


def _seconds(folder: RunFolder) -> float:
    """Seconds from the start of training to the last evaluation; of the last piece if the run was resumed."""
    began, ended = folder.environment_path.stat().st_mtime, folder.evaluations_path.stat().st_mtime
    return round(max(0.0, ended - began), 2)


def sweep_rows(
    design: Design, alphas: Mapping[Point, float], sweep: str | os.PathLike
) -> Iterator[tuple[Point, list[dict[str, Any]]]]:
    """The rows of the points of a design that a sweep of ``n2n.launch`` has finished.

    Runs belong to a point if their configurations are the same; other runs of the sweep are ignored.

    Args:
        design: the design.
        alphas: the concentration of each point that is looked for.
        sweep: name of the sweep, or its folder.

    Yields:
        a point and its rows.
    """
    by_identity = {train_config(design, point, alpha).identity: point for point, alpha in alphas.items()}
    for path in sorted(runs.sweep_folder(sweep).glob("*/config.json")):
        point = by_identity.get(_identity(path.parent))
        if point and (rows := run_rows(design, point, alphas[point], RunFolder(path.parent))):
            yield point, rows


def _identity(folder: Path) -> str | None:
    try:
        return runs.Run(folder).config.identity
    except ValueError:  # a damaged configuration is of no point
        return None
