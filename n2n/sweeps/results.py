"""Results of a sweep, read from its files: every evaluation in one table, and the unfinished runs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from n2n import models, runs
from n2n.models.sizes import BACKWARD, forward_flops
from n2n.runs.folder import RunFolder
from n2n.utils.rows import DamagedFile
from n2n.utils.statistics import t_interval

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
    table = runs.table(folder)
    tasks = _tasks(folder, table.index)
    table = table.assign(task=[tasks.get(run, "") for run in table.index])
    rows = [row for run in table.index for row in _evaluations(RunFolder(folder / run), table.loc[run, "task"])]
    if not rows:
        states = ", ".join(f"{count} {state}" for state, count in table["state"].value_counts().items())
        raise ValueError(f"{folder}: none of its runs was evaluated yet ({states})")
    evaluations = pd.DataFrame(rows, columns=COLUMNS)
    counts = evaluations["run"].value_counts()
    standings = {
        run: _standing(RunFolder(folder / run), table.loc[run], int(counts.get(run, 0))) for run in table.index
    }
    rows = {run: row for run, row in standings.items() if row["state"] != "done" or not row["evaluations"]}
    columns = ["state", "step", "evaluations", "updated_at", "error"]
    unfinished = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("run")
    return SweepResults(folder, table, evaluations, unfinished)


def _tasks(folder: Path, names: pd.Index) -> dict[str, str]:
    """A name for each run's graph, kernels and process seed; different ones have different names."""
    tasks, numbers = {}, {}
    for name in names:
        config = RunFolder(folder / name).read_config()
        if not isinstance(config.get("graph"), dict):
            continue
        seed, title = config.get("process_seed", 0), config["graph"].get("name") or "graph"
        graph = {**config["graph"], "name": ""}
        exact = json.dumps([graph, config.get("tables"), seed], sort_keys=True)
        known = numbers.setdefault((title, seed), {})
        number = known.setdefault(exact, len(known) + 1)
        tasks[name] = f"{title}, process {seed}" + (f" ({number})" if number > 1 else "")
    return tasks


def _evaluations(folder: RunFolder, task: str) -> list[dict[str, Any]]:
    config = folder.read_config()
    try:
        rows = folder.read_evaluations()
    except DamagedFile:  # reported by the table
        return []
    if not rows or not task:
        return []
    state = folder.read_status().get("state", "missing")
    flops, tokens = _flops_per_step(config), config["batch_size"] * config["seq_len"]
    shared = {"run": folder.path.name, "arch": config["arch"], "task": task, "seed": config["seed"], "state": state}
    return [
        {**shared, **_losses(row), "tokens": tokens * row["step"], "flops": flops * row["step"], "last": i == len(rows)}
        for i, row in enumerate(rows, start=1)
    ]


def _losses(row: dict[str, Any]) -> dict[str, Any]:
    names = ("split", "step", "parameters", "excess_loss", "excess_standard_error")
    low, high = t_interval(row["excess_loss"], row["excess_standard_error"], row["sequences"])
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


def _standing(folder: RunFolder, row: pd.Series, evaluations: int) -> dict[str, Any]:
    status, job = folder.read_status(), folder.read_job()
    errors = [row.get("error"), status.get("error"), job.get("error")]
    lines = next((error for error in errors if isinstance(error, str) and error), "").strip().splitlines()
    about = {"step": status.get("step", 0), "updated_at": status.get("updated_at", ""), "evaluations": evaluations}
    return {"state": row["state"], **about, "error": lines[-1][:MAX_ERROR] if lines else ""}
