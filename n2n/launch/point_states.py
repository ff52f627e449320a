"""The states of a sweep's points, from the files of jobs and runs and from the cluster."""

from __future__ import annotations

import os
from math import nan
from typing import Any

import pandas as pd

from n2n.launch.clusters import WAITING, Cluster, Live
from n2n.launch.sweep import LOGS, UNFINISHED, Sweep
from n2n.runs.point import PointReader
from n2n.runs.run_table import count_states
from n2n.utils.files import tail
from n2n.utils.progress import in_watched_notebook, print_line

ENDED = ("done", *UNFINISHED)
COLUMNS = ["state", "step", "steps", "excess_loss", "time_left", "limit", "job", "log", "error"]
MAX_ERROR = 100  # characters of an error in the table
TAIL = 2**16  # bytes of a log that are searched for its last line
FOREVER = 10**9  # seconds; a longer time left is not shown


def point_states(sweep: Sweep, cluster: Cluster) -> pd.DataFrame:
    """Return a row for each point.

    Returns:
        the columns are

        * ``state``: ``queued``, ``running``, ``done``, ``failed`` (its notebook failed), ``preempted`` (it saved and
          stopped on a signal), ``killed`` (its job ended without a last message), ``cancelled`` (its job ended before
          it began), or ``missing`` (never submitted);
        * ``step``, ``steps``: updates made, and the number to make;
        * ``excess_loss``: nats per token, of the last evaluation, or else of the last logged batch;
        * ``time_left``: time until the end of the run at its present speed;
        * ``limit``: time until the job's limit, if Slurm says;
        * ``job``, ``log``: identifier of the job and path of its log;
        * ``error``: a damaged file, or the last line of the error of a failed or killed job.

        Values that a damaged file does not provide are blank.

    Raises:
        OSError: if the cluster does not answer.
    """
    live, jobs = cluster.live(sweep), sweep.jobs  # before the files: a job that is gone by now has written its last
    rows = {point: _whole_row(sweep, point, jobs.get(point), live.get(point)) for point in sweep.points}
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).rename_axis("point")


def _whole_row(sweep: Sweep, point: str, job: str | None, live: Live | None) -> dict[str, Any]:
    """Return a point's row with every column, whatever its files contain."""
    blank = {**dict.fromkeys(COLUMNS, ""), "excess_loss": nan, "limit": live.left if live else "", "job": job or ""}
    try:
        return blank | _row(sweep, point, job, live)
    except Exception as error:  # one point must not hide the others
        state = _state(None, job, live, began=True)
        return blank | {"state": state, "error": _last_line(f"{type(error).__name__}: {error}")}


def _row(sweep: Sweep, name: str, job: str | None, live: Live | None) -> dict[str, Any]:
    point, log = PointReader(sweep.path / name), sweep.path / LOGS / f"{job}_0_log.out"
    is_own = point.job.get("job_id") in (job, None) or point.job.get("state") == "done"
    reported = point.job.get("state") if is_own else None
    state = _state(str(reported) if reported else None, job, live, log.exists())
    columns = _progress(point, running=state == "running")
    error = point.damage
    if not error and state in ("failed", "killed"):
        error = point.job.get("error") if reported else tail(log.with_suffix(".err"), TAIL)
    return {
        "state": state,
        **{column: value for column, value in columns.items() if value is not None},
        "log": os.path.relpath(log) if log.exists() else "",
        "error": _last_line(error),
    }


def _progress(point: PointReader, running: bool) -> dict[str, Any]:
    """Return steps, loss and time left; None for a value that the files do not provide."""
    folder = point.folder
    columns = {name: point.number(folder.status_path, point.status, name) for name in ("step", "steps")}
    columns["excess_loss"] = _excess_loss(point)
    if running:
        logged = point.number(folder.metrics_path, point.last_metrics, "step")
        if logged is not None:  # the run has made more steps than it has saved
            columns |= {"step": logged + 1, "time_left": _time_left(point, logged)}
    return columns


def _excess_loss(point: PointReader) -> float | None:
    if point.last_evaluation is None:
        return None
    if point.last_evaluation:
        return point.number(point.folder.evaluations_path, point.last_evaluation, "excess_loss")
    return point.number(point.folder.metrics_path, point.last_metrics, "excess_loss")


def _time_left(point: PointReader, step: float) -> str | None:
    """Return the time until the end of a run as H:MM:SS, from the speed of its last logged steps."""
    folder = point.folder
    speed = point.number(folder.metrics_path, point.last_metrics, "tokens_per_second")
    sizes = [point.number(folder.config_path, point.config, name) for name in ("steps", "batch_size", "seq_len")]
    if not speed or speed < 0 or not all(sizes):
        return None
    steps, batch_size, seq_len = sizes
    try:
        seconds = (steps - step - 1) * batch_size * seq_len / speed
    except OverflowError:
        return None
    if not 0 <= seconds < FOREVER:
        return None
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def _state(reported: str | None, job: str | None, live: Live | None, began: bool) -> str:
    """Return the state of a point.

    Args:
        reported: last state that the job wrote.
        job: identifier of the job.
        live: the job as the cluster sees it; None if it neither waits nor runs.
        began: whether the job left a log.
    """
    if reported == "done":
        return "done"
    if live is not None:
        return "running" if live.running else "queued"
    if job is None or job == WAITING:
        return "missing"
    if reported is None:
        return "killed" if began else "cancelled"
    return {"failed": "failed", "preempted": "preempted", "requeued": "preempted"}.get(reported, "killed")


def _last_line(error: Any) -> str:
    """Return the last line of an error, with the characters escaped that would control a terminal."""
    lines = str(error or "").strip().splitlines()
    text = lines[-1][:MAX_ERROR] if lines else ""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Watcher:
    """Shows a sweep's table, and updates it while it changes."""

    def __init__(self) -> None:
        self._handle: Any = None  # display handle of the table in the notebook
        self._last_counts = ""

    def show(self, table: pd.DataFrame) -> None:
        """Show a table of ``point_states``."""
        if in_watched_notebook():
            self._draw(table)
        elif (counts := count_states(table["state"])) != self._last_counts:
            self._last_counts = counts
            print_line(counts)

    def _draw(self, table: pd.DataFrame) -> None:
        from IPython.display import display

        # Names and errors are shown literally: neither as HTML nor, between dollar signs, as mathematics.
        styled = table.style.format({"excess_loss": "{:.4f}"}, na_rep="", escape="html").format_index(escape="html")
        styled = styled.set_table_attributes('class="mathjax_ignore tex2jax_ignore"')
        if self._handle is None:
            self._handle = display(styled, display_id=True)
        else:
            self._handle.update(styled)
