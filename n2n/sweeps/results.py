"""What a sweep found, from its files: every evaluation in one frame, and the runs that are missing from it."""

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

MAX_ERROR = 200  # characters of an error's last line
MODEL_FIELDS = ("arch", "dim", "layers", "heads", "model_options")
COLUMNS = [
    *("run", "arch", "task", "seed", "state", "split", "step", "tokens", "parameters"),
    *("flops", "excess_loss", "excess_standard_error", "last"),
]


@dataclass(frozen=True, eq=False)
class SweepResults:
    """A sweep's runs, read from its folder alone.

    Attributes:
        path: the folder.
        table: a row for each run, from ``n2n.runs.table``, and its ``task``, empty where it wrote no configuration.
        evaluations: a row for each held-out evaluation, oldest first: ``run``, ``arch``, ``task`` (graph and process
            seed), ``seed``, ``state``, ``split``, ``step``; ``tokens`` seen in training until then, the fixed first
            ones and repetitions of a dataset included; ``parameters``, all of them; ``flops`` of training until then
            (nan where the model cannot be built from its configuration any more); ``excess_loss`` and its
            ``excess_standard_error`` over held-out sequences, nats per token; ``last``, whether it is its run's last.
        unfinished: a row for each run that is not done or was never evaluated: ``state``, ``step``, ``evaluations``,
            ``updated_at``, and the last line of its ``error``.
    """

    path: Path
    table: pd.DataFrame
    evaluations: pd.DataFrame
    unfinished: pd.DataFrame

    @property
    def states(self) -> dict[str, int]:
        """How many runs are in each state."""
        return self.table["state"].value_counts().to_dict()


def read_folder(name: str | os.PathLike) -> SweepResults:
    """Read a sweep, or any folder of runs, whatever became of them.

    Training a token is taken for three forward passes, by convention. The matrix products and convolutions of one are
    counted by torch's counter in the model as built, in its plain torch path whatever kernels it was trained with, over
    the sequence that a step runs on. Attention counts as a full square; norms, gates and scans of gated recurrences do
    not count (see ``n2n.models.describe``). Kaplan et al.'s 6 * parameters * tokens ("Scaling laws for neural language
    models", arXiv:2001.08361, section 2.1) takes three passes too, and for one of them every parameter for a
    multiplication and an addition a token, without the products of attention.

    Args:
        name: of the sweep under ``n2n.runs.root()``, or the path of a folder whose folders are runs.

    Raises:
        ValueError: no such folder, one without runs, or one in which nothing was evaluated yet.
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
    told = {run: _standing(RunFolder(folder / run), table.loc[run], int(counts.get(run, 0))) for run in table.index}
    kept = {run: row for run, row in told.items() if row["state"] != "done" or not row["evaluations"]}
    columns = ["state", "step", "evaluations", "updated_at", "error"]
    unfinished = pd.DataFrame.from_dict(kept, orient="index", columns=columns).rename_axis("run")
    return SweepResults(folder, table, evaluations, unfinished)


def _tasks(folder: Path, names: pd.Index) -> dict[str, str]:
    """A name for each run's graph, kernels and process seed; two that differ have two names."""
    found, numbers = {}, {}
    for name in names:
        config = RunFolder(folder / name).read_config()
        if not isinstance(config.get("graph"), dict):
            continue
        seed, title = config.get("process_seed", 0), config["graph"].get("name") or "graph"
        graph = {**config["graph"], "name": ""}
        exact = json.dumps([graph, config.get("tables"), seed], sort_keys=True)
        known = numbers.setdefault((title, seed), {})
        number = known.setdefault(exact, len(known) + 1)
        found[name] = f"{title}, process {seed}" + (f" ({number})" if number > 1 else "")
    return found


def _evaluations(folder: RunFolder, task: str) -> list[dict[str, Any]]:
    config = folder.read_config()
    try:
        rows = folder.read_evaluations()
    except DamagedFile:  # which the table tells
        return []
    if not rows or not task:
        return []
    state = folder.read_status().get("state", "missing")
    flops, tokens = _flops_per_step(config), config["batch_size"] * config["seq_len"]
    shared = {"run": folder.path.name, "arch": config["arch"], "task": task, "seed": config["seed"], "state": state}
    named = ("split", "step", "parameters", "excess_loss", "excess_standard_error")
    return [
        {**shared, **{name: row[name] for name in named}, "tokens": tokens * row["step"], "flops": flops * row["step"]}
        | {"last": i == len(rows)}
        for i, row in enumerate(rows, start=1)
    ]


def _flops_per_step(config: dict[str, Any]) -> float:
    vocab_size = next(node["num_states"] for node in config["graph"]["nodes"] if node["observed"])
    fields_of_model = json.dumps({name: config[name] for name in MODEL_FIELDS}, sort_keys=True)
    forward = _forward(fields_of_model, vocab_size, config["seq_len"] - 1)  # the last token is a target alone
    return (1 + BACKWARD) * forward * config["batch_size"]


@cache
def _forward(fields_of_model: str, vocab_size: int, length: int) -> float:
    """Operations of one forward pass over a sequence, or nan for a model that this code cannot build."""
    given = json.loads(fields_of_model)
    arch, options = given.pop("arch"), given.pop("model_options")
    try:
        model = models.build(arch, vocab_size=vocab_size, **{**given, "kernels": "torch", **options})
    except ValueError:
        return float("nan")
    return float(forward_flops(model.eval(), length)["Global"])


def _standing(folder: RunFolder, row: pd.Series, evaluations: int) -> dict[str, Any]:
    status, job = folder.read_status(), folder.read_job()
    told = [row.get("error"), status.get("error"), job.get("error")]
    lines = next((error for error in told if isinstance(error, str) and error), "").strip().splitlines()
    about = {"step": status.get("step", 0), "updated_at": status.get("updated_at", ""), "evaluations": evaluations}
    return {"state": row["state"], **about, "error": lines[-1][:MAX_ERROR] if lines else ""}
