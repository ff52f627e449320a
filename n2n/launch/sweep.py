"""A sweep's folder: its points, and the jobs that were started for them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import n2n
from n2n import runs
from n2n.launch.points import Point
from n2n.monitor.environment import SNAPSHOT, git_state
from n2n.runs.paths import SWEEP
from n2n.utils.files import read_object, write_json
from n2n.utils.lock import locked
from n2n.utils.strict import short_repr

JOBS = "jobs.json"
CODE, LOGS = "code", "jobs"  # folders next to those of the points
UNFINISHED = ("failed", "preempted", "killed", "cancelled", "missing")  # states that ``resubmit`` starts again
MAX_DIFFERENCES = 5  # listed in an error
_FIELDS = ("notebook", "cluster", "points", "parameters", "environment", "resources")  # of sweep.json
_IGNORED = shutil.ignore_patterns("*.pyc", "*.pyo", ".*")  # compiled code is copied if it lies with its sources


@dataclass(frozen=True)
class Sweep:
    """A view of a sweep's folder, which reads everything from its files.

    Args:
        path: the folder.

    Raises:
        ValueError: if the folder does not exist, or holds no sweep.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path).resolve())  # command lines of its processes contain it
        if not (self.path / SWEEP).is_file():
            others = sorted(file.parent.name for file in self.path.parent.glob(f"*/{SWEEP}"))
            raise ValueError(f"no sweep in {self.path} (sweeps there: {', '.join(others) or 'none'})")

    @cached_property
    def record(self) -> dict[str, Any]:
        """The sweep as submitted: notebook, cluster, points, parameters, environment, resources.

        Raises:
            ValueError: if the file is damaged.
        """
        record = _read_object(self.path / SWEEP)
        missing = [name for name in _FIELDS if name not in record]
        if missing or not isinstance(record["points"], dict):
            raise ValueError(f"{self.path / SWEEP} is damaged: it has no {missing[0] if missing else 'points'}")
        return record

    @property
    def points(self) -> dict[str, Point]:
        """Parameters of each point by the name of its folder, in the order of submission."""
        return self.record["points"]

    @property
    def jobs(self) -> dict[str, str]:
        """The scheduler's identifier of the last job of each point.

        Raises:
            ValueError: if the file is damaged.
        """
        jobs = _read_object(self.path / JOBS) if (self.path / JOBS).exists() else {}
        strange = [job for job in jobs.values() if not isinstance(job, str)]
        if strange:
            raise ValueError(f"{self.path / JOBS} is damaged: saw {short_repr(strange[0])} in the place of a job")
        return jobs

    def record_jobs(self, jobs: dict[str, str]) -> None:
        """Record the jobs of some points."""
        with locked(self.path / ".jobs.lock"):
            write_json(self.path / JOBS, {**self.jobs, **jobs})


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def sweep_path(name: str) -> Path:
    """Return the path of the sweep with this name.

    Raises:
        ValueError: if the name cannot be the name of a folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}", name) or name.endswith(".ipynb"):
        raise ValueError(
            f"name: saw {short_repr(name)}; use at most 200 letters, digits and any of _.+-, "
            "with a letter or digit first"
        )
    return (runs.root() / name).resolve()


def check_folder(folder: Path) -> None:
    """Raise a ``ValueError`` for a path that a batch script cannot contain: Slurm and submitit replace ``%j``."""
    strange = [c for c in str(folder) if c in "%\\" or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    if strange:
        raise ValueError(
            f"folder: saw {short_repr(strange[0])} in {short_repr(str(folder))}, which a batch script cannot "
            "hold; set N2N_RUNS to a folder without %, backslashes and control characters"
        )


def point_differences(saved: dict[str, Point], new: dict[str, Point]) -> str:
    """Return a list, for people, of the differences between two sets of points; empty if they are equal."""
    lines = [f"  - {name}: only there" for name in saved if name not in new]
    lines += [f"  - {name}: new" for name in new if name not in saved]
    changed = [name for name in new if name in saved and new[name] != saved[name]]
    lines += [f"  - {name}: {saved[name]} there, {new[name]} now" for name in changed]
    more = len(lines) - MAX_DIFFERENCES
    return "\n".join([*lines[:MAX_DIFFERENCES], *([f"  .. and {more} more"] if more > 0 else [])])


def take_snapshot(folder: Path, notebook: Path) -> None:
    """Copy n2n and a notebook into a new folder, which appears only when the copy is complete.

    Args:
        folder: the new folder, for ``n2n/``, the notebook and the state of git.
        notebook: path of the notebook.
    """
    source = Path(n2n.__file__).parent
    for unfinished in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(unfinished)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent) as temporary:
        copy = Path(temporary) / folder.name
        shutil.copytree(source, copy / "n2n", ignore=_IGNORED)
        shutil.copy2(notebook, copy / notebook.name)
        write_json(copy / SNAPSHOT, git_state(source))
        os.rename(copy, folder)
