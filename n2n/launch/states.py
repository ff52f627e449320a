"""How the points of a sweep stand: what jobs and runs wrote, and what the cluster says of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.launch.clusters import WAITING, Cluster, Live
from n2n.launch.job import told
from n2n.launch.sweep import LOGS, UNFINISHED, Sweep
from n2n.monitor.files import last_row, read_object

ENDED = ("done", *UNFINISHED)
COLUMNS = ["state", "step", "steps", "excess_loss", "time_left", "limit", "job", "log", "error"]
LONGEST_ERROR = 100  # characters that are shown of one


def states(sweep: Sweep, cluster: Cluster) -> pd.DataFrame:
    """A row for each point.

    Returns:
        state: ``queued``, ``running``, ``done``, ``failed`` (its notebook did), ``preempted`` (told to stop, saved),
        ``killed`` (gone without a word), ``cancelled`` (gone before it began), ``missing`` (never submitted); the steps
        made and to make; the excess loss, nats per token, of the last evaluation or else of the last logged batch; the
        time left until the end at the present speed, and until its job's time is up, where Slurm says; the job's
        identifier and its log; of one that failed or was killed the last line of its error.

    Raises:
        OSError: the cluster does not answer.
    """
    live, jobs = cluster.live(sweep), sweep.jobs  # before the files: who is gone now has written what it will
    rows = {point: _row(sweep, point, jobs.get(point), live.get(point)) for point in sweep.points}
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).rename_axis("point")


def _row(sweep: Sweep, point: str, job: str | None, live: Live | None) -> dict[str, Any]:
    folder = sweep.path / point
    last, run = told(folder), read_object(folder / "status.json")
    heard = last.get("state") if last.get("job_id") in (job, None) or last.get("state") == "done" else None
    log = sweep.path / LOGS / f"{job}_0_log.out"
    state = _state(heard, job, live, log.exists())
    error = last.get("error") if heard else _text(log.with_suffix(".err"))
    row = last_row(folder / "metrics.jsonl") or {}
    return {
        "state": state,
        "step": row["step"] + 1 if state == "running" and row else run.get("step", ""),
        "steps": run.get("steps", ""),
        "excess_loss": (last_row(folder / "evals.jsonl") or row).get("excess_loss", float("nan")),
        "time_left": _time_left(folder, row) if state == "running" and row else "",
        "limit": live.left if live else "",
        "job": job or "",
        "log": os.path.relpath(log) if log.exists() else "",
        "error": _last_line(error) if state in ("failed", "killed") else "",
    }


def _state(heard: str | None, job: str | None, live: Live | None, began: bool) -> str:
    """From what the job itself said, which job that is, whether it is there, and whether it left a log."""
    if heard == "done":
        return "done"
    if live is not None:
        return "running" if live.running else "queued"
    if job is None or job == WAITING:
        return "missing"
    if heard is None:
        return "killed" if began else "cancelled"
    return {"failed": "failed", "preempted": "preempted", "requeued": "preempted"}.get(heard, "killed")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _last_line(error: str | None) -> str:
    lines = (error or "").strip().splitlines()
    return lines[-1][:LONGEST_ERROR] if lines else ""


def _time_left(folder: Path, row: dict[str, Any]) -> str:
    """As H:MM:SS, from the speed of the last logged steps."""
    config = read_object(folder / "config.json")
    if not {"steps", "batch_size", "seq_len"} <= config.keys():
        return ""
    tokens = (config["steps"] - row["step"] - 1) * config["batch_size"] * config["seq_len"]
    seconds = round(tokens / row["tokens_per_second"])
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
