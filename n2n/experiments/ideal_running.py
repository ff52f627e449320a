"""Fit a design's ideal learners here, several at a time, and store the rows of each at once."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from n2n import runs
from n2n.experiments.calibrated import Key, calibrations, reached
from n2n.experiments.design import Design
from n2n.experiments.ideal import IDEAL_COLUMNS, SEQUENCES, Ideal, ideal_rows, ideals
from n2n.experiments.results import ResultsFile, calibrations_file, results_folder
from n2n.monitor.processes import end_with_parent
from n2n.utils.cpu import THREADS_VARIABLE
from n2n.utils.files import make_folder
from n2n.utils.lock import LockHeld, locked
from n2n.utils.strict import as_integer, as_positive
from n2n.utils.threads import torch_threads

Log = Callable[[str], None]


@dataclass(frozen=True)
class IdealProgress:
    """How far the ideal learners of a design are.

    Attributes:
        done, fits: ideal learners that have rows, and all.
        pending: those that come next.
    """

    done: int
    fits: int
    pending: tuple[Ideal, ...]

    def __str__(self) -> str:
        return f"{self.done} of {self.fits} ideal learners are fitted"


def ideal_file(design: Design, folder: str | os.PathLike | None = None) -> ResultsFile:
    """The results of a design's ideal learners, ``<folder>/<name>.ideal.csv``; see ``IDEAL_COLUMNS``."""
    return ResultsFile(Path(folder or results_folder()) / f"{design.name}.ideal.csv", design, IDEAL_COLUMNS)


def ideal_progress(
    design: Design, folder: str | os.PathLike | None = None, sequences: Sequence[int] = SEQUENCES
) -> IdealProgress:
    """How far the ideal learners of the calibrated processes of a design are; nothing is written.

    Raises:
        ValueError: if the files there belong to another design or version.
    """
    wanted = ideals(design, reached(calibrations_file(design, folder).read()), sequences)
    table = ideal_file(design, folder).read()
    known = {Ideal(*key) for key in table[list(Ideal._fields)].itertuples(index=False, name=None)}
    pending = tuple(ideal for ideal in wanted if ideal not in known)
    return IdealProgress(len(wanted) - len(pending), len(wanted), pending)


def run_ideal(
    design: Design,
    folder: str | os.PathLike | None = None,
    *,
    sequences: Sequence[int] = SEQUENCES,
    limit_minutes: float | None = None,
    parallel: int = 2,
    log: Log = print,
) -> IdealProgress:
    """Fit the ideal learners that a design still needs, on this machine; call it again to resume.

    The rows of each are written at once, so a kill loses at most those at work. Few sequences come first.

    Args:
        design: the design; its processes that are not calibrated yet are calibrated first.
        folder: folder of the results files. None: ``n2n.experiments.results_folder()``.
        sequences: numbers of training sequences.
        limit_minutes: minutes after which the fits at work are given up. None: no limit.
        parallel: fits at a time, each in a process of one thread; 1 fits in this process.
        log: receives a line for each fit.

    Raises:
        ValueError: if another process does the same now, or the files belong to another design or version.
    """
    counts = [as_integer("sequences", count, 1) for count in sequences]
    as_integer("parallel", parallel, 1)
    end = time.time() + 60 * as_positive("limit_minutes", limit_minutes, "minutes") if limit_minutes else None
    place = runs.root() / f"ideal-{design.name}-{design.hash}"
    make_folder(place)
    try:
        with locked(place / ".lock", wait=False):
            _run(design, folder, counts, end, parallel, log)
    except LockHeld:
        raise ValueError(f"another process fits the ideal learners of {design.name} now, in {place}") from None
    shutil.rmtree(place)
    return ideal_progress(design, folder, counts)


def _run(design: Design, folder: Path | None, counts: list[int], end: float | None, parallel: int, log: Log) -> None:
    for name, target, process in calibrations(design, calibrations_file(design, folder)):
        log(f"calibrated {design.factor}={name},target={target:g},process={process}")
        if end and time.time() > end:
            return
    alphas, file = reached(calibrations_file(design, folder).read()), ideal_file(design, folder)
    pending = ideal_progress(design, folder, counts).pending
    for rows in (_alone if parallel == 1 else _together)(design, pending, alphas, end, parallel):
        file.append(rows)
        log(_line(design, rows[0]))


def _alone(
    design: Design, pending: Sequence[Ideal], alphas: Mapping[Key, float], end: float | None, _parallel: int
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each fit, one after another; none begins after the end."""
    for ideal in pending:
        if end and time.time() > end:
            return
        yield ideal_rows(design, ideal, alphas[ideal[:3]])


def _together(
    design: Design, pending: Sequence[Ideal], alphas: Mapping[Key, float], end: float | None, parallel: int
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each fit as it ends; at the end of the time the processes leave what they are at."""
    pool = ProcessPoolExecutor(parallel, get_context("spawn"), _start, (end,))
    with _one_thread(), _closed(pool):
        waiting = [pool.submit(_rows, design, ideal, alphas[ideal[:3]]) for ideal in pending]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BrokenProcessPool:
            if not end or time.time() < end:
                raise


def _rows(design: Design, ideal: Ideal, alpha: float) -> list[dict[str, Any]]:
    with torch_threads(1):
        return ideal_rows(design, ideal, alpha)


def _start(end: float | None) -> None:
    """Let a process end with its parent, or when the time is up."""
    end_with_parent(signal.SIGKILL)
    if end:
        timer = threading.Timer(max(0.0, end - time.time()), os._exit, (0,))
        timer.daemon = True
        timer.start()


@contextmanager
def _closed(pool: ProcessPoolExecutor) -> Iterator[None]:
    try:
        yield
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start within have one thread for each library."""
    before = os.environ.get(THREADS_VARIABLE)
    os.environ[THREADS_VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(THREADS_VARIABLE)
        if before is not None:
            os.environ[THREADS_VARIABLE] = before


def _line(design: Design, row: Mapping[str, Any]) -> str:
    name = f"{design.factor}={row['level']},target={row['target']:g},process={row['process']}"
    name += f",{row['predictor']},start={row['start']},sequences={row['sequences']}"
    if "note" in row:
        return f"{name}: {row['note']}"
    return f"{name}: excess {row['excess']:.4f} ({row['standard_error']:.4f}) nats per token, {row['seconds']:.1f} s"
