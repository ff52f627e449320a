"""Results of a sweep, read from its files: every evaluation in one table, and the unfinished runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from n2n import models, runs
from n2n.models.sizes import BACKWARD, forward_flops
from n2n.runs.folder import excess_interval
from n2n.runs.point import PointReader
from n2n.runs.run_table import count_states, point_table, read_points

MAX_ERROR = 200  # characters of an error's last line
MODEL_FIELDS = ("arch", "dim", "layers", "heads", "model_options")
COLUMNS = [
    *("run", "arch", "task", "seed", "state", "split", "step", "tokens", "parameters"),
    *("flops", "excess_loss", "excess_standard_error", "low", "high", "last"),
]


@dataclass(frozen=True, eq=False)
class SweepResults:
    """A sweep's runs, read from its folder.

    Attributes:
        path: the folder.
        table: a row for each run, from ``n2n.runs.table``, and its ``task``, empty if it wrote no configuration.
        evaluations: a row for each held-out evaluation, oldest first: ``run``, ``arch``, ``task`` (graph and process
            seed), ``seed``, ``state``, ``split``, ``step``; ``tokens`` of training until then, including first tokens
            and repetitions of a dataset; ``parameters``, all of them; ``flops`` of training until then (nan if the
            model cannot be built any more); ``excess_loss``, its ``excess_standard_error`` and the ends ``low`` and
            ``high`` of its 95% interval over held-out sequences (``t_interval``), nats per token; ``last``, whether it
            is the run's last evaluation.
        unfinished: a row for each run that is not done or has no evaluation: ``state``, ``step``, ``evaluations``,
            ``updated_at``, and the last line of its ``error``.
    """

    path: Path
    table: pd.DataFrame
    evaluations: pd.DataFrame
    unfinished: pd.DataFrame

    @property
    def states(self) -> dict[str, int]:
        """Number of runs in each state."""
        return self.table["state"].value_counts().to_dict()


def read_folder(name: str | os.PathLike) -> SweepResults:
    """Read a sweep, or any folder of runs, finished or not.

    By convention, training on a token costs three forward passes. torch's counter counts the matrix products and
    convolutions of one forward pass over the sequence of a step, in the plain torch path of the model, whatever kernels
    it was trained with. Attention counts as a full square; norms, gates and scans of gated recurrences do not count
    (see ``n2n.models.describe``). Kaplan et al.'s 6 * parameters * tokens ("Scaling laws for neural language models",
    arXiv:2001.08361, section 2.1) also uses three passes, with one multiplication and one addition per parameter and
    token in each, and without the products of attention.

    Args:
        name: name of a sweep under ``n2n.runs.root()``, or path of a folder whose subfolders are runs.

    Raises:
        ValueError: no such folder, one without runs, or one without an evaluation.
    """
    folder = runs.sweep_folder(name).absolute()
    points = read_points(folder)
    tasks = _tasks(points)
    table = point_table(points).assign(task=list(tasks.values()))
    rows = {name: _evaluations(point, tasks[name]) for name, point in points.items()}
    if not any(rows.values()):
        states = count_states(table["state"])
        for name, point in points.items():
            if point.damage:
                raise ValueError(f"{folder}: none of its evaluations can be read ({states}); {name}: {point.damage}")
        raise ValueError(f"{folder}: none of its runs was evaluated yet ({states})")
    evaluations = pd.DataFrame([row for point_rows in rows.values() for row in point_rows], columns=COLUMNS)
    summaries = {name: _summary(point, table.loc[name, "state"], len(rows[name])) for name, point in points.items()}
    unfinished = {name: row for name, row in summaries.items() if row["state"] != "done" or not row["evaluations"]}
    columns = ["state", "step", "evaluations", "updated_at", "error"]
    frame = pd.DataFrame.from_dict(unfinished, orient="index", columns=columns).rename_axis("run")
    return SweepResults(folder, table, evaluations, frame)


def _tasks(points: Mapping[str, PointReader]) -> dict[str, str]:
    """Names of the points' tasks: graph, kernels and process seed. Different tasks have different names."""
    tasks, numbers = {}, {}
    for name, point in points.items():
        config = point.run_config
        if not config:
            tasks[name] = ""
            continue
        seed, title = config.get("process_seed", 0), config["graph"].get("name") or "graph"
        graph = {**config["graph"], "name": ""}
        identity = json.dumps([graph, config.get("tables"), seed], sort_keys=True)
        same_title = numbers.setdefault((title, seed), {})
        number = same_title.setdefault(identity, len(same_title) + 1)
        tasks[name] = f"{title}, process {seed}" + (f" ({number})" if number > 1 else "")
    return tasks


def _evaluations(point: PointReader, task: str) -> list[dict[str, Any]]:
    """Rows of ``SweepResults.evaluations``; none if a file is damaged, which the table reports."""
    config, rows = point.run_config, point.evaluations
    if not config or not rows:
        return []
    flops, tokens = _flops_per_step(config), config["batch_size"] * config["seq_len"]
    shared = {"run": point.folder.path.name, "arch": config["arch"], "task": task, "seed": config["seed"]}
    shared["state"] = point.state
    return [
        {**shared, **_losses(row), "tokens": tokens * row["step"], "flops": flops * row["step"], "last": i == len(rows)}
        for i, row in enumerate(rows, start=1)
    ]


def _losses(row: dict[str, Any]) -> dict[str, Any]:
    names = ("split", "step", "parameters", "excess_loss", "excess_standard_error")
    low, high = excess_interval(row)
    return {**{name: row[name] for name in names}, "low": low, "high": high}


def _flops_per_step(config: dict[str, Any]) -> float:
    vocab_size = next(node["num_states"] for node in config["graph"]["nodes"] if node["observed"])
    fields_of_model = json.dumps({name: config[name] for name in MODEL_FIELDS}, sort_keys=True)
    forward = _forward(fields_of_model, vocab_size, config["seq_len"] - 1)  # the last token is only a target
    return (1 + BACKWARD) * forward * config["batch_size"]


@cache
def _forward(fields_of_model: str, vocab_size: int, length: int) -> float:
    """Operations of one forward pass over a sequence; nan if the model cannot be built any more."""
    fields = json.loads(fields_of_model)
    arch, options = fields.pop("arch"), fields.pop("model_options")
    try:
        model = models.build(arch, vocab_size=vocab_size, **{**fields, "kernels": "torch", **options})
    except ValueError:
        return float("nan")
    return float(forward_flops(model.eval(), length)["Global"])


def _summary(point: PointReader, state: str, evaluations: int) -> dict[str, Any]:
    lines = point.error.strip().splitlines()
    return {
        "state": state,
        "step": point.status.get("step", 0),
        "updated_at": point.status.get("updated_at", ""),
        "evaluations": evaluations,
        "error": lines[-1][:MAX_ERROR] if lines else "",
    }
