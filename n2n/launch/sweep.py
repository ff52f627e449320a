"""A sweep's folder: its points, the jobs they were given to, and how each stands."""

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
_KEPT = ("notebook", "cluster", "points", "parameters", "environment", "resources")  # of a sweep, in its file
CODE, LOGS = "code", "jobs"  # folders beside the points' own
UNFINISHED = ("failed", "preempted", "killed", "cancelled", "missing")  # states that ``resubmit`` takes up


_IGNORED = shutil.ignore_patterns("*.pyc", "*.pyo", ".*")  # what numba compiled stays: it would take each job seconds


@dataclass(frozen=True)
class Sweep:
    """A view of a sweep's folder; everything is read from the files.

    Args:
        path: the folder.

    Raises:
        ValueError: a folder that is not there, or holds no sweep.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path).resolve())  # by which its processes are known
        if not (self.path / SWEEP).is_file():
            others = sorted(found.parent.name for found in self.path.parent.glob(f"*/{SWEEP}"))
            raise ValueError(f"no sweep in {self.path} (sweeps there: {', '.join(others) or 'none'})")

    @cached_property
    def about(self) -> dict[str, Any]:
        """As it was submitted: notebook, cluster, resources, points.

        Raises:
            ValueError: the file is damaged.
        """
        found = _object(self.path / SWEEP)
        lacking = [name for name in _KEPT if name not in found]
        if lacking or not isinstance(found["points"], dict):
            raise ValueError(f"{self.path / SWEEP} is damaged: it has no {lacking[0] if lacking else 'points'}")
        return found

    @property
    def points(self) -> dict[str, Point]:
        """Parameters by the name of each point's folder, in the order given."""
        return self.about["points"]

    @property
    def jobs(self) -> dict[str, str]:
        """The job that each point was last given to, by the scheduler's identifier.

        Raises:
            ValueError: the file is damaged.
        """
        found = _object(self.path / JOBS) if (self.path / JOBS).exists() else {}
        strange = [job for job in found.values() if not isinstance(job, str)]
        if strange:
            raise ValueError(f"{self.path / JOBS} is damaged: saw {short_repr(strange[0])} in the place of a job")
        return found

    def note_jobs(self, found: dict[str, str]) -> None:
        """Remember which jobs points were given to."""
        with locked(self.path / ".jobs.lock"):
            write_json(self.path / JOBS, {**self.jobs, **found})


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def folder_of(name: str) -> Path:
    """Where the sweep of a name lies.

    Raises:
        ValueError: a name that is no name of a folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}", name) or name.endswith(".ipynb"):
        raise ValueError(
            f"name: saw {short_repr(name)}; use at most 200 letters, digits and any of _.+-, "
            "with a letter or digit first"
        )
    return (runs.root() / name).resolve()


def check_folder(folder: Path) -> None:
    """Raise a ``ValueError`` for a folder whose path a batch script cannot hold: Slurm and submitit replace ``%j``."""
    strange = [c for c in str(folder) if c in "%\\" or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    if strange:
        raise ValueError(
            f"folder: saw {short_repr(strange[0])} in {short_repr(str(folder))}, which a batch script cannot "
            "hold; set N2N_RUNS to a folder without %, backslashes and control characters"
        )


def other_points(there: dict[str, Point], here: dict[str, Point]) -> str:
    """In what two sets of points differ, for people; empty if in nothing."""
    told = [f"  - {name}: there alone" for name in there if name not in here]
    told += [f"  - {name}: new" for name in here if name not in there]
    told += [
        f"  - {name}: {there[name]} there, {here[name]} now"
        for name in here
        if here[name] != there.get(name, here[name])
    ]
    return "\n".join([*told[:5], *([f"  .. and {len(told) - 5} more"] if len(told) > 5 else [])])


def take_snapshot(folder: Path, notebook: Path) -> None:
    """Copy n2n and a notebook into a folder that is not there yet, made beside and renamed.

    Args:
        folder: of the copy, which will hold ``n2n/``, the notebook and the state of git.
        notebook: the file.
    """
    source = Path(n2n.__file__).parent
    for unfinished in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(unfinished)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent) as part:
        beside = Path(part) / folder.name
        shutil.copytree(source, beside / "n2n", ignore=_IGNORED)
        shutil.copy2(notebook, beside / notebook.name)
        write_json(beside / SNAPSHOT, git_state(source))
        os.rename(beside, folder)
