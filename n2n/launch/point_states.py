"""How the points of a sweep stand: what jobs and runs wrote, and what the cluster says of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.launch.clusters import WAITING, Cluster, Live
from n2n.launch.sweep import LOGS, UNFINISHED, Sweep
from n2n.runs.folder import RunFolder
from n2n.utils.files import read_object, tail
from n2n.utils.progress import in_watched_notebook, print_line
from n2n.utils.rows import last_row
from n2n.utils.strict import short_repr

ENDED = ("done", *UNFINISHED)
COLUMNS = ["state", "step", "steps", "excess_loss", "time_left", "limit", "job", "log", "error"]
MAX_ERROR = 100  # characters that are shown of one
TAIL = 2**16  # bytes of a log in which its last line is looked for
FOREVER = 10**9  # seconds that are not shown as a time left


def states(sweep: Sweep, cluster: Cluster) -> pd.DataFrame:
    """A row for each point.

    Returns:
        state: ``queued``, ``running``, ``done``, ``failed`` (its notebook did), ``preempted`` (told to stop, saved),
        ``killed`` (gone without a word), ``cancelled`` (gone before it began), ``missing`` (never submitted); the steps
        made and to make; the excess loss, nats per token, of the last evaluation or else of the last logged batch; the
        time left until the end at the present speed, and until its job's time is up, where Slurm says; the job's
        identifier and its log; of one that failed or was killed the last line of its error.
        In a row whose files are damaged ``error`` says which, and what they do not tell is blank.

    Raises:
        OSError: the cluster does not answer.
    """
    live, jobs = cluster.live(sweep), sweep.jobs  # before the files: who is gone now has written what it will
    rows = {point: _whole(sweep, point, jobs.get(point), live.get(point)) for point in sweep.points}
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).rename_axis("point")


def _whole(sweep: Sweep, point: str, job: str | None, live: Live | None) -> dict[str, Any]:
    """A point's row with every column; a point whose files are damaged has one that says so."""
    blank = {**dict.fromkeys(COLUMNS, ""), "excess_loss": float("nan"), "limit": live.left if live else ""}
    try:
        return blank | {"job": job or ""} | _row(sweep, point, job, live)
    except Exception as error:  # whatever a file holds, the other points have their rows
        state = _state(None, job, live, began=True)
        return blank | {"state": state, "job": job or "", "error": _last_line(f"{type(error).__name__}: {error}")}


def _row(sweep: Sweep, point: str, job: str | None, live: Live | None) -> dict[str, Any]:
    folder, log = RunFolder(sweep.path / point), sweep.path / LOGS / f"{job}_0_log.out"
    last, damage = _attempted(_object, folder.job_path)
    heard = last.get("state") if last.get("job_id") in (job, None) or last.get("state") == "done" else None
    state = _state(str(heard) if heard else None, job, live, log.exists())
    read = [_attempted(part, folder) for part in (_status, _loss, *((_made, _time_left) if state == "running" else ()))]
    damage = [said for _, said in [(last, damage), *read] if said]
    said = damage[0] if damage else ""
    if not damage and state in ("failed", "killed"):
        said = _last_line(last.get("error") if heard else tail(log.with_suffix(".err"), TAIL))
    found = {name: value for part, _ in read for name, value in part.items()}
    return {"state": state, **found, "log": os.path.relpath(log) if log.exists() else "", "error": said}


def _attempted(read: Callable[[Any], dict[str, Any]], source: RunFolder | Path) -> tuple[dict[str, Any], str]:
    """What a function reads, or nothing and the sentence that says what is damaged."""
    try:
        return read(source), ""
    except (OSError, ValueError, OverflowError) as error:
        return {}, _last_line(f"damaged: {error}")


def _status(folder: RunFolder) -> dict[str, Any]:
    """The step that a run has saved, and its steps."""
    path = folder.status_path
    status = _object(path)
    return {name: _number(status, name, path.name) for name in ("step", "steps")}


def _loss(folder: RunFolder) -> dict[str, Any]:
    for path in (folder.evaluations_path, folder.metrics_path):
        if row := _last(path):
            return {"excess_loss": _number(row, "excess_loss", path.name, float("nan"))}
    return {}


def _made(folder: RunFolder) -> dict[str, Any]:
    """The steps that a run which goes on has made; more than it has saved."""
    path = folder.metrics_path
    row = _last(path)
    return {"step": _number(row, "step", path.name, 0) + 1} if row else {}


def _object(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty if there is no file."""
    return _checked(path, lambda: read_object(path) if path.exists() else {})


def _last(path: Path) -> dict[str, Any]:
    """The last row of a file; empty if there is none."""
    return _checked(path, lambda: last_row(path) or {})


def _checked(path: Path, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is read from a file.

    Raises:
        ValueError: what ``read`` raises; the message begins with the file's name.
    """
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"{path.name}: {str(error).removeprefix(f'{path}, ')}") from None


def _number(given: dict[str, Any], name: str, file: str, without: Any = "") -> Any:
    found = given.get(name, without)
    if name in given and (isinstance(found, bool) or not isinstance(found, int | float)):
        raise ValueError(f"{file}: {name}: saw {short_repr(found)}; a number is needed")
    return found


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


def _last_line(error: Any) -> str:
    """The last line of an error, without what would steer a terminal."""
    lines = str(error or "").strip().splitlines()
    text = lines[-1][:MAX_ERROR] if lines else ""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _time_left(folder: RunFolder) -> dict[str, Any]:
    """As H:MM:SS, from the speed of the last logged steps; empty where the files do not tell."""
    rows, config_path = folder.metrics_path, folder.config_path
    row, config = _last(rows), _object(config_path)
    step, speed = (_number(row, name, rows.name, 0) for name in ("step", "tokens_per_second"))
    numbers = [_number(config, name, config_path.name, 0) for name in ("steps", "batch_size", "seq_len")]
    if not speed > 0 or not all(numbers):
        return {}
    steps, batch_size, seq_len = numbers
    seconds = (steps - step - 1) * batch_size * seq_len / speed
    if not 0 <= seconds < FOREVER:
        return {}
    return {"time_left": f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"}


def counted(table: pd.DataFrame) -> str:
    """How many points are in each state, such as ``"2 done, 1 running"``."""
    return ", ".join(f"{count} {state}" for state, count in table["state"].value_counts().items())


class Watcher:
    """Shows the tables that it is given, one after another."""

    def __init__(self) -> None:
        self._handle: Any = None  # of the place in the notebook that shows the table
        self._said = ""

    def show(self, table: pd.DataFrame) -> None:
        """Show a table of ``n2n.launch.point_states``."""
        if in_watched_notebook():
            self._draw(table)
        elif counted(table) != self._said:
            self._said = counted(table)
            print_line(self._said)

    def _draw(self, table: pd.DataFrame) -> None:
        from IPython.display import display

        # A name or an error is not markup, and its dollar signs are not mathematics.
        shown = table.style.format({"excess_loss": "{:.4f}"}, na_rep="", escape="html").format_index(escape="html")
        shown = shown.set_table_attributes('class="mathjax_ignore tex2jax_ignore"')
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)
