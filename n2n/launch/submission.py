"""Submitting a sweep, and looking after it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.launch.clusters import CLUSTERS, Cluster, chosen
from n2n.launch.job import CANCELLED
from n2n.launch.notebooks import Notebook
from n2n.launch.point_states import ENDED, Watcher, counted, states
from n2n.launch.points import Point, point_identity, points_by_name
from n2n.launch.resources import Resources
from n2n.launch.sweep import CODE, UNFINISHED, Sweep, check_folder, folder_of, other_points, take_snapshot
from n2n.runs.folder import RunFolder
from n2n.runs.paths import SWEEP
from n2n.utils.files import making_folder, write_json
from n2n.utils.lock import locked
from n2n.utils.strict import short_repr

LOCK = ".resubmit.lock"  # in a sweep's folder, held by whoever starts its points
PERIOD = 2.0  # seconds between looks while waiting


@dataclass(frozen=True)
class Jobs:
    """A submitted sweep: what its points do, and the means to wait for them, take them back or go on with them."""

    sweep: Sweep

    @property
    def path(self) -> Path:
        """The sweep's folder."""
        return self.sweep.path

    def table(self) -> pd.DataFrame:
        """A row for each point: state, step, excess loss (nats per token), time left, job and log.

        Raises:
            OSError: the cluster does not answer.
        """
        return states(self.sweep, self._cluster)

    def wait(self, seconds: float | None = None, *, watch: bool = False) -> pd.DataFrame:
        """Until no point waits or runs; the table then. To interrupt it leaves the jobs alone.

        Args:
            seconds: at most (None: for ever).
            watch: whether the table is shown meanwhile, live in a notebook, elsewhere as lines.

        Raises:
            TimeoutError: some still wait or run.
            OSError: the cluster does not answer.
        """
        end = None if seconds is None else time.monotonic() + seconds
        watcher = Watcher() if watch else None
        while True:
            table = self.table()
            if watcher:
                watcher.show(table)
            if table["state"].isin(ENDED).all():
                return table
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"{self.path.name} is not finished after {seconds:g} s: {counted(table)}")
            time.sleep(PERIOD)

    def cancel(self) -> pd.DataFrame:
        """Take back what waits or runs; runs save, and do not come back unless they are resubmitted. The table then.

        Raises:
            OSError: the cluster does not answer.
        """
        for point in self.sweep.points:
            if (self.path / point).is_dir():
                (self.path / point / CANCELLED).touch()
        self._cluster.cancel(self.sweep)
        return self.table()

    def resubmit(self) -> list[str]:
        """Start again what failed, was stopped or killed, or never began; runs go on from where they were.

        Returns:
            the points started.

        Raises:
            OSError: the cluster does not answer.
        """
        with locked(self.path / LOCK):
            table = self.table()
            points = [point for point in table.index if table.loc[point, "state"] in UNFINISHED]
            self._start(points)
        return points

    def _start(self, points: Sequence[str]) -> None:
        for point in points:
            (self.path / point).mkdir(exist_ok=True)
            for mark in (RunFolder(self.path / point).stop_path, self.path / point / CANCELLED):
                mark.unlink(missing_ok=True)
        if points:
            self._cluster.start(self.sweep, points)

    @property
    def _cluster(self) -> Cluster:
        return CLUSTERS[self.sweep.about["cluster"]]()


@dataclass(frozen=True)
class Plan:
    """A sweep that was checked whole and is not yet submitted.

    Args:
        name: of its folder under ``n2n.runs.root()``.
        notebook: to execute.
        points: by the names of their folders.
        cluster: where.
        resources: of each job, as the cluster has them.
    """

    name: str
    notebook: Notebook
    points: dict[str, Point]
    cluster: Cluster
    resources: Resources

    @property
    def folder(self) -> Path:
        return folder_of(self.name)

    def submit(self) -> Jobs:
        """Write the sweep's folder and start what is not finished; code that is there already stays."""
        code = self.folder / CODE
        with making_folder(self.folder), locked(self.folder / LOCK):
            if not (self.folder / SWEEP).exists():
                shutil.rmtree(code, ignore_errors=True)  # of an attempt that was cut off
                take_snapshot(code, self.notebook.path)
            self._write()
        jobs = Jobs(Sweep(self.folder))
        jobs.resubmit()
        return jobs

    def _write(self) -> None:
        parameters = {
            name: self.notebook.completed(point, self.folder / name, self.resources.processes)
            for name, point in self.points.items()
        }
        threads = {"OMP_NUM_THREADS": str(self.resources.cpus)} if self.resources.cpus else {}
        about = {"notebook": self.notebook.path.name, "cluster": self.cluster.name, "points": self.points}
        about |= {"parameters": parameters, "environment": threads, "resources": self.resources.model_dump()}
        write_json(self.folder / SWEEP, about)


def plan(
    notebook: str | os.PathLike,
    points: Iterable[Mapping[str, Any]],
    *,
    name: str,
    cluster: str = "auto",
    **resources: Any,
) -> Plan:
    """Check a sweep whole; nothing is written or submitted. Arguments and errors as of ``submit``."""
    folder = folder_of(name)
    check_folder(folder)
    asked = Resources(**resources)
    book, found, where = Notebook(Path(notebook)), points_by_name(points), chosen(cluster)
    fitted = where.fitted(asked)
    refuse_wrong(book, found, fitted)
    _refuse_alike(book, found, fitted)
    if (folder / SWEEP).exists():
        _refuse_other(Sweep(folder), book, found, where)
    elif folder.exists() and any(path.name != CODE and not path.name.startswith(".") for path in folder.iterdir()):
        raise ValueError(f"name: {folder} is there and holds no sweep; choose another name")
    return Plan(name, book, found, where, fitted)


def refuse_wrong(book: Notebook, points: dict[str, Point], resources: Resources) -> None:
    """Raise a ``ValueError`` that says what is wrong with each point, if any is."""
    wrong = {name: said for name, point in points.items() if (said := book.judge(point, resources))}
    if wrong:
        told = "\n".join(f"{name}: {said}" for name, said in wrong.items())
        raise ValueError(f"{len(wrong)} of {len(points)} points are wrong, and nothing was submitted\n{told}")


def _refuse_alike(book: Notebook, points: dict[str, Point], resources: Resources) -> None:
    """Two points may be spelt differently, as 1 and "1" or with a default that is given, and still ask for one run."""
    first: dict[str, str] = {}
    for name, point in points.items():
        other = first.setdefault(point_identity(_meant(book, point, resources)), name)
        if other != name:
            raise ValueError(
                f"points: {short_repr(points[other])} and {short_repr(point)} ask for the same; leave one out"
            )


def _meant(book: Notebook, point: Point, resources: Resources) -> Point:
    """The parameters that the notebook gets, cast as its configuration casts them."""
    given = {**book.defaults, **book.completed(point, None, resources.processes)}
    try:
        return {**given, **book.strict(**given).model_dump(mode="json")} if book.strict else given
    except ValueError:  # for want of a value that the notebook computes
        return given


def _refuse_other(sweep: Sweep, book: Notebook, points: dict[str, Point], where: Cluster) -> None:
    name, differences = sweep.path.name, other_points(sweep.points, points)
    if differences:
        raise ValueError(f"name: the sweep {name!r} exists with other points:\n{differences}\nChoose another name")
    there = {"notebook": sweep.about["notebook"], "cluster": sweep.about["cluster"]}
    here = {"notebook": book.path.name, "cluster": where.name}
    for what, value in here.items():
        if value != there[what]:
            raise ValueError(f"{what}: saw {value!r}; the sweep {name!r} exists with {there[what]!r}")


def submit(
    notebook: str | os.PathLike,
    points: Iterable[Mapping[str, Any]],
    *,
    name: str,
    cluster: str = "auto",
    **resources: Any,
) -> Jobs:
    """Execute a notebook once for each point, as jobs of a cluster.

    >>> points = n2n.launch.grid(arch=["transformer", "mamba"], seed=range(3))
    >>> jobs = n2n.launch.submit("notebooks/train.ipynb", points, name="sweep1", time=60)
    >>> jobs.table()

    Each point gets a folder ``runs/<name>/<point>/`` with the executed notebook and, where it trains, the run.
    Jobs execute a copy of the notebook and of n2n, made now and kept in ``runs/<name>/code/``. A job whose time is up
    saves, is queued again and goes on. Submitting the same again starts what is not finished.

    Args:
        notebook: with a parameters cell.
        points: dictionaries of its parameters, such as ``grid`` makes; a notebook that makes an ``n2n`` configuration
            of its parameters takes all of that configuration's fields. Paths are from here.
        name: of the sweep's folder under ``n2n.runs.root()``.
        cluster: ``"slurm"``, ``"local"`` (this machine, as many jobs at once as its cores bear), ``"debug"`` (in this
            process, one after another), or ``"auto"``: Slurm where it answers, else local.
        **resources: fields of ``n2n.launch.Resources``: time, partition, gpus, cpus, mem, nodes, account, qos,
            constraint, max_parallel, grace.

    Raises:
        ValueError: an unknown cluster, partition or resource, more than there is, no point, wrong points (all of them
            are told), two points that ask for the same, a notebook without a parameters cell, or a name that exists
            with other points. Nothing is written or submitted.
        OSError: the cluster does not answer or refuses; what was queued before is named, and ``cancel`` takes it back.
    """
    return plan(notebook, points, name=name, cluster=cluster, **resources).submit()


def load(name: str) -> Jobs:
    """A sweep that was submitted before.

    Raises:
        ValueError: none of that name.
    """
    return Jobs(Sweep(folder_of(name)))
