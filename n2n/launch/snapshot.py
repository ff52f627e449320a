"""The code that a sweep runs: a copy of n2n and of the notebook, and where in git it stood."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import n2n
from n2n.monitor.environment import SNAPSHOT, git_state
from n2n.utils.files import write_json

_IGNORED = shutil.ignore_patterns("*.pyc", "*.pyo", ".*")  # what numba compiled stays: it would take each job seconds


def take(folder: Path, notebook: Path) -> None:
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
