"""The environment of a run: packages, machine and commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from n2n.utils.files import read_json

SNAPSHOT = "snapshot.json"  # next to a copy of n2n: the state of git when the copy was made
_PACKAGES = ("n2n", "numpy", "numba", "networkx", "pydantic", "pandas", "plotly", "papermill", "mamba-ssm")


def describe_environment(source: Path) -> dict[str, Any]:
    """Versions, hardware, and ``git_state(source)``."""
    import torch  # here, because whoever only needs the state of git starts without it

    return {
        "python": platform.python_version(),
        "packages": {"torch": torch.__version__, **{name: _version(name) for name in _PACKAGES}},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        **git_state(source),
    }


def git_state(source: Path) -> dict[str, Any]:
    """Commit, diff and untracked files of the checkout that contains a package.

    The values are None outside of a checkout. For a copy that a sweep made, they describe the checkout it was copied
    from.
    """
    if (source.parent / SNAPSHOT).is_file():
        return read_json(source.parent / SNAPSHOT)
    untracked = _git(source, "ls-files", "--others", "--exclude-standard", "--full-name", ":/")
    return {
        "git_commit": _git(source, "rev-parse", "HEAD"),
        "git_diff": _git(source, "diff", "HEAD"),
        "git_untracked": None if untracked is None else untracked.splitlines(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(source: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=source, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.decode(errors="replace").strip() if result.returncode == 0 else None
