"""What a trainer writes into a run's folder, and which folders it may write into."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from n2n import runs
from n2n.config import TrainConfig
from n2n.monitor import checkpoint
from n2n.monitor.files import write_json
from n2n.runs import Run

_WELCOME = ("*.ipynb", ".*", "logs")  # what a folder may hold before its run does


def claim(config: TrainConfig) -> Path:
    """The run's folder, made if need be and holding the configuration.

    Raises:
        ValueError: a folder that holds another configuration, another kind of files or a run that is further than
            ``steps``; nothing in it is touched.
    """
    if not config.run_dir:
        folder = runs.new_folder(f"{config.graph.name or 'graph'}-{config.arch}-s{config.seed}")
    else:
        folder = Path(config.run_dir).expanduser().absolute()
        _refuse_other(folder, config)
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config.model_dump(mode="json"))
    return folder


def _refuse_other(folder: Path, config: TrainConfig) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"run_dir: saw {folder}, a file; a folder is needed")
    if not (folder / "config.json").exists():
        strange = [path.name for path in folder.glob("*") if not any(path.match(p) for p in _WELCOME)]
        if strange:
            raise ValueError(f"run_dir: {folder} holds {strange[0]!r} but no run; name a new or an empty folder")
        return
    differences = Run(folder).config.differences(config)
    if differences:
        told = "".join(f"\n  - {name}: {there!r} there, {here!r} now" for name, (there, here) in differences.items())
        raise ValueError(f"run_dir: {folder} holds a run of another configuration:{told}\nName another folder.")
    done = max(checkpoint.steps(folder / "checkpoints"), default=0)
    if done > config.steps:
        raise ValueError(
            f"steps: saw {config.steps}; the run in {folder} has made {done}, so at least {done} are needed"
        )


def line_logger(folder: Path) -> Callable[[str], None]:
    """A function that adds a line with its time to the run's log."""
    path = folder / "logs" / "rank0.log"
    path.parent.mkdir(exist_ok=True)

    def log(line: str) -> None:
        with open(path, "a") as file:
            file.write(f"{_now()}  {line}\n")

    return log


def write_status(folder: Path, config: TrainConfig, state: str, step: int, error: str | None = None) -> None:
    """Replace ``status.json``."""
    status: dict[str, Any] = {"state": state, "step": step, "steps": config.steps}
    status |= {"host": socket.gethostname(), "pid": os.getpid(), "job_id": os.environ.get("SLURM_JOB_ID")}
    write_json(folder / "status.json", {**status, "updated_at": _now(), "error": error})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
