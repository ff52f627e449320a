"""Submitting and managing sweeps."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.launch.clusters import CLUSTERS, Cluster, cluster_by_name
from n2n.launch.job import CANCELLED
from n2n.launch.notebooks import Notebook
from n2n.launch.point_states import ENDED, Watcher, point_states
from n2n.launch.points import Point, point_identity, points_by_name
from n2n.launch.resources import Resources
from n2n.launch.sweep import CODE, UNFINISHED, Sweep, check_folder, point_differences, sweep_path, take_snapshot
from n2n.runs.folder import RunFolder
from n2n.runs.paths import SWEEP
from n2n.runs.run_table import count_states
from n2n.utils.files import making_folder, write_json
from n2n.utils.lock import locked
from n2n.utils.strict import short_repr

LOCK = ".resubmit.lock"  # held by the process that starts a sweep's points
PERIOD = 2.0  # seconds between tables while waiting


@dataclass(frozen=True)
class Jobs:
    """A submitted sweep: its table of points, and methods to wait for them, cancel and resubmit them."""

    sweep: Sweep

    @property
    def path(self) -> Path:
        """The sweep's folder."""
        return self.sweep.path

    def table(self) -> pd.DataFrame:
        """Return a row for each point: state, step, excess loss (nats per token), time left, job and log.

        Raises:
            OSError: the cluster does not answer.
        """
        return point_states(self.sweep, self._cluster)

    def wait(self, seconds: float | None = None, *, watch: bool = False) -> pd.DataFrame:
        """Wait until no point waits or runs, and return the table. Interrupting the wait does not affect the jobs.

        Args:
            seconds: maximum time to wait (None: no limit).
            watch: whether to show the table while waiting: live in a notebook, as lines elsewhere.

        Raises:
            TimeoutError: if points still wait or run after ``seconds``.
            OSError: if the cluster does not answer.
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
                raise TimeoutError(
                    f"{self.path.name} is not finished after {seconds:g} s: {count_states(table['state'])}"
                )
            time.sleep(PERIOD)

    def cancel(self) -> pd.DataFrame:
        """Cancel all waiting and running points, and return the table. Runs save; ``resubmit`` starts them again.

        Raises:
            OSError: if the cluster does not answer.
        """
        for point in self.sweep.points:
            if (self.path / point).is_dir():
                (self.path / point / CANCELLED).touch()
        self._cluster.cancel(self.sweep)
        return self.table()

    def resubmit(self) -> list[str]:
        """Start the points again that failed, were stopped or killed, or never began. Runs resume where they were.

        Returns:
            names of the points that were started.

        Raises:
            OSError: if the cluster does not answer.
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
        return CLUSTERS[self.sweep.record["cluster"]]()


@dataclass(frozen=True)
class Plan:
    """A sweep that passed all checks and is not submitted yet.

    Args:
        name: name of its folder under ``n2n.runs.root()``.
        notebook: notebook to execute.
        points: points by the names of their folders.
        cluster: place where the jobs run.
        resources: resources of each job, resolved by the cluster.
    """

    name: str
    notebook: Notebook
    points: dict[str, Point]
    cluster: Cluster
    resources: Resources

    @property
    def folder(self) -> Path:
        return sweep_path(self.name)

    def submit(self) -> Jobs:
        """Write the sweep's folder and start its unfinished points; an existing copy of the code is kept."""
        code = self.folder / CODE
        with making_folder(self.folder), locked(self.folder / LOCK):
            if not (self.folder / SWEEP).exists():
                shutil.rmtree(code, ignore_errors=True)  # left by an interrupted submission
                take_snapshot(code, self.notebook.path)
            self._write()
        jobs = Jobs(Sweep(self.folder))
        jobs.resubmit()
        return jobs

    def _write(self) -> None:
        parameters = {
            name: self.notebook.complete(point, self.folder / name, self.resources.processes)
            for name, point in self.points.items()
        }
        threads = {"OMP_NUM_THREADS": str(self.resources.cpus)} if self.resources.cpus else {}
        record = {
            "notebook": self.notebook.path.name,
            "cluster": self.cluster.name,
            "points": self.points,
            "parameters": parameters,
            "environment": threads,
            "resources": self.resources.model_dump(),
        }
        write_json(self.folder / SWEEP, record)


def plan(
    notebook: str | os.PathLike,
    points: Iterable[Mapping[str, Any]],
    *,
    name: str,
    cluster: str = "auto",
    **resources: Any,
) -> Plan:
    """Check a sweep without writing or submitting anything. Arguments and errors are those of ``submit``."""
    folder = sweep_path(name)
    check_folder(folder)
    requested = Resources(**resources)
    book, by_name, place = Notebook(Path(notebook)), points_by_name(points), cluster_by_name(cluster)
    resolved = place.resolve(requested)
    check_points(book, by_name, resolved)
    _check_distinct(book, by_name, resolved)
    if (folder / SWEEP).exists():
        _check_unchanged(Sweep(folder), book, by_name, place)
    elif folder.exists() and any(path.name != CODE and not path.name.startswith(".") for path in folder.iterdir()):
        raise ValueError(f"name: {folder} exists and holds no sweep; choose another name")
    return Plan(name, book, by_name, place, resolved)


def check_points(book: Notebook, points: dict[str, Point], resources: Resources) -> None:
    """Raise a ``ValueError`` that lists the error of each wrong point, if there is any."""
    errors = {name: error for name, point in points.items() if (error := book.point_error(point, resources))}
    if errors:
        lines = "\n".join(f"{name}: {error}" for name, error in errors.items())
        raise ValueError(f"{len(errors)} of {len(points)} points are wrong, and nothing was submitted\n{lines}")


def _check_distinct(book: Notebook, points: dict[str, Point], resources: Resources) -> None:
    """Check that no two points mean the same run; 1 and "1" may be equal, and a parameter may equal its default."""
    first: dict[str, str] = {}
    for name, point in points.items():
        other = first.setdefault(point_identity(_effective_parameters(book, point, resources)), name)
        if other != name:
            raise ValueError(
                f"points: {short_repr(points[other])} and {short_repr(point)} mean the same run; leave one out"
            )


def _effective_parameters(book: Notebook, point: Point, resources: Resources) -> Point:
    """Return the notebook's parameters, cast by its configuration."""
    parameters = {**book.defaults, **book.complete(point, None, resources.processes)}
    if book.config_class is None:
        return parameters
    try:
        return {**parameters, **book.config_class(**parameters).model_dump(mode="json")}
    except ValueError:  # a parameter that the notebook computes is missing
        return parameters


def _check_unchanged(sweep: Sweep, book: Notebook, points: dict[str, Point], cluster: Cluster) -> None:
    """Check that a sweep of this name, if submitted again, has the same points, notebook and cluster."""
    name, differences = sweep.path.name, point_differences(sweep.points, points)
    if differences:
        raise ValueError(f"name: the sweep {name!r} exists with other points:\n{differences}\nChoose another name")
    for field, value in {"notebook": book.path.name, "cluster": cluster.name}.items():
        if value != sweep.record[field]:
            raise ValueError(f"{field}: saw {value!r}; the sweep {name!r} exists with {sweep.record[field]!r}")


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

    Each point has a folder ``runs/<name>/<point>/`` with the executed notebook and, if it trains, the run. Jobs execute
    a copy of the notebook and of n2n, which is made now and kept in ``runs/<name>/code/``. A job whose time is up
    saves, is queued again and resumes. Submitting the same sweep again starts its unfinished points.

    Args:
        notebook: notebook with a parameters cell.
        points: dictionaries of its parameters, such as ``grid`` returns. If the notebook makes an ``n2n`` configuration
            of its parameters, points may set all fields of that configuration. Relative paths start at the working
            directory.
        name: name of the sweep's folder under ``n2n.runs.root()``.
        cluster: ``"slurm"``; ``"local"`` (this machine, as many jobs at once as there are cores and GPUs for them);
            ``"debug"`` (this process, one job after another); or ``"auto"``, which is Slurm if available, else local.
        **resources: fields of ``n2n.launch.Resources``: time, partition, gpus, cpus, mem, nodes, account, qos,
            constraint, max_parallel, grace.

    Raises:
        ValueError: an unknown cluster, partition or resource; more resources than available; no point, wrong points
            (the message lists all of them), or two points that mean the same run; a notebook without a parameters
            cell; or the name of a sweep with other points. Nothing is written or submitted.
        OSError: if the cluster does not answer or refuses. The message lists the jobs that were queued before, which
            ``cancel`` cancels.
    """
    return plan(notebook, points, name=name, cluster=cluster, **resources).submit()


def load(name: str) -> Jobs:
    """Return a sweep that was submitted before.

    Raises:
        ValueError: if there is no such sweep.
    """
    return Jobs(Sweep(sweep_path(name)))
