"""Run a design here: calibrate its processes, train its runs, and store each finished run's rows at once."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from n2n import runs
from n2n.experiments.calibrated import Key, calibrations, missing_calibrations, reached, unreached
from n2n.experiments.design import Design
from n2n.experiments.points import Point, point_name, train_config
from n2n.experiments.rates import finished_points, pending_points, tuning_points
from n2n.experiments.results import calibrations_file, runs_file
from n2n.experiments.rows import run_rows, sweep_rows
from n2n.experiments.workers import Workers
from n2n.runs.folder import RunFolder
from n2n.utils.files import make_folder, write_json
from n2n.utils.lock import LockHeld, locked
from n2n.utils.strict import as_integer, as_positive

PERIOD = 0.2  # seconds between looks at the runs
Log = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a design is.

    Attributes:
        done, diverged: runs with rows, and those of them whose losses became infinite.
        runs: runs of the design, as far as is known: processes that are not calibrated yet count as reachable.
        pending: the runs that come next. While rates are being compared, these are all of that comparison.
        uncalibrated: number of processes to calibrate.
        unreached: processes that cannot reach their target, each with the reason.
    """

    done: int
    diverged: int
    runs: int
    pending: tuple[Point, ...]
    uncalibrated: int
    unreached: pd.DataFrame

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.runs} runs are done"]
        parts += [f"{self.diverged} of them diverged"] if self.diverged else []
        parts += [f"{self.uncalibrated} processes are to be calibrated"] if self.uncalibrated else []
        parts += [f"{len(self.unreached)} processes cannot reach their target"] if len(self.unreached) else []
        return "; ".join(parts)


def progress(design: Design, folder: str | os.PathLike | None = None) -> Progress:
    """How far a design is, from its results in a folder (None: ``results_folder()``); nothing is written.

    Raises:
        ValueError: if the files there belong to another design or version.
    """
    processes, table = calibrations_file(design, folder).read(), runs_file(design, folder).read()
    alphas, missing = reached(processes), missing_calibrations(design, processes)
    hoped = {**alphas, **dict.fromkeys(missing, 1.0)}
    tuned = set(tuning_points(design, hoped))
    others = [cell for cell in design.cells if (cell.level, cell.target, cell.process) in hoped]
    others = [cell for cell in others if cell not in {point.cell for point in tuned}]
    done = finished_points(table)
    diverged = len(finished_points(table[table["state"] == "diverged"]))
    pending = tuple(pending_points(design, alphas, table)) if not missing else ()
    count = len(tuned) + len(others)
    return Progress(len(done), diverged, count, pending, len(missing), unreached(processes))


def run(
    design: Design,
    folder: str | os.PathLike | None = None,
    *,
    limit_minutes: float | None = None,
    parallel: int = 2,
    keep: bool = False,
    log: Log = print,
) -> Progress:
    """Run what a design still needs, on this machine; call it again to resume.

    A finished run's rows are written at once. A kill loses at most the runs at work, which resume from their last
    checkpoint. Runs lie in a folder of the design under ``n2n.runs.root()`` and are deleted when their rows are stored.

    Args:
        design: the design.
        folder: folder of the results files. None: ``n2n.experiments.results_folder()``.
        limit_minutes: minutes after which runs at work save and leave. None: no limit.
        parallel: runs at a time; each has one thread.
        keep: whether to keep the folders of finished runs.
        log: receives a line for each finished run.

    Raises:
        ValueError: if another process runs this design, or the files belong to another design or version.
        RuntimeError: if a run failed for another reason than its losses; the message names the log.
    """
    as_integer("parallel", parallel, 1)
    end = time.monotonic() + 60 * as_positive("limit_minutes", limit_minutes, "minutes") if limit_minutes else None
    place = runs.root() / f"experiment-{design.name}-{design.hash}"
    make_folder(place)
    try:
        with locked(place / ".lock", wait=False):
            _run(design, folder, place, end, parallel, keep, log)
    except LockHeld:
        raise ValueError(f"another process runs the design {design.name} now, in {place}") from None
    if not keep and not any(path.is_dir() for path in place.iterdir()):
        shutil.rmtree(place)
    return progress(design, folder)


def _run(design: Design, folder: Path | None, place: Path, end: float | None, parallel: int, keep: bool, log: Log):
    for name, target, process in calibrations(design, calibrations_file(design, folder)):
        log(f"calibrated {design.factor}={name},target={target:g},process={process}")
        if end and time.monotonic() > end:
            return
    file, alphas = runs_file(design, folder), reached(calibrations_file(design, folder).read())
    while points := pending_points(design, alphas, file.read()):
        waiting = {point: _prepared(design, point, alphas, place) for point in points}
        with Workers(parallel, place / "workers.log") as workers:
            workers.add(list(waiting.values()))
            busy = True
            while busy and not (end and time.monotonic() > end):
                busy = workers.poll()
                _store(design, waiting, alphas, folder, keep, log)
                time.sleep(PERIOD if busy else 0)
        _store(design, waiting, alphas, folder, keep, log)
        if end and time.monotonic() > end:
            return
        if waiting:
            first = next(iter(waiting.values()))
            raise RuntimeError(f"{len(waiting)} runs failed, such as {first.name}; see {place / 'workers.log'}")


def _prepared(design: Design, point: Point, alphas: Mapping[Key, float], place: Path) -> Path:
    """The folder of a run with its configuration; a folder that is there already is resumed."""
    folder = RunFolder(place / point_name(design, point))
    if not folder.holds_run:
        make_folder(folder.path)
        write_json(folder.config_path, train_config(design, point, alphas[point.cell[:3]]).model_dump(mode="json"))
    return folder.path


def _store(
    design: Design, waiting: dict[Point, Path], alphas: Mapping[Key, float], folder: Path | None, keep: bool, log: Log
) -> None:
    """Write the rows of the runs that have ended and remove these from ``waiting``."""
    for point, path in list(waiting.items()):
        rows = run_rows(design, point, alphas[point.cell[:3]], RunFolder(path))
        if not rows:
            continue
        runs_file(design, folder).append(rows)
        del waiting[point]
        if not keep:
            shutil.rmtree(path)
        log(_line(design, point, rows[-1]))


def _line(design: Design, point: Point, row: Mapping[str, object]) -> str:
    name = point_name(design, point)
    if row["state"] == "diverged":
        return f"{name}: diverged at step {row['step']}"
    return f"{name}: excess {row['excess']:.4f} ({row['standard_error']:.4f}) nats per token, {row['split']}"


def collect(design: Design, sweep: str | os.PathLike, folder: str | os.PathLike | None = None) -> int:
    """Store the rows of the runs that a sweep of ``n2n.launch`` has finished, and return their number.

    The points of the sweep come from ``sweep_points``.

    Raises:
        ValueError: no such sweep, or files of another design or version.
    """
    file, alphas = runs_file(design, folder), reached(calibrations_file(design, folder).read())
    pending = {point: alphas[point.cell[:3]] for point in pending_points(design, alphas, file.read())}
    stored = 0
    for _, rows in sweep_rows(design, pending, sweep):
        file.append(rows)
        stored += 1
    return stored


def sweep_points(design: Design, folder: str | os.PathLike | None = None) -> list[dict]:
    """Parameters of ``notebooks/train.ipynb`` for the runs that come next, for ``n2n.launch.submit``.

    Processes that are not calibrated yet are calibrated first. When the sweep has ended, ``collect`` stores its rows;
    if rates were compared, the next call gives the other runs.
    """
    file = calibrations_file(design, folder)
    for _ in calibrations(design, file):
        pass
    alphas = reached(file.read())
    points = pending_points(design, alphas, runs_file(design, folder).read())
    configs = [train_config(design, point, alphas[point.cell[:3]]) for point in points]
    return [config.model_dump(mode="json", exclude_defaults=True) for config in configs]
