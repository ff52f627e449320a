"""What a trainer writes into a run's folder, and which folders it may write into."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from n2n import runs
from n2n.config.train_config import TrainConfig
from n2n.monitor import checkpoint
from n2n.monitor.environment import describe_environment
from n2n.monitor.metrics import rows_missing
from n2n.monitor.status import ANSWERS, STATUS, TRAINS, machine
from n2n.monitor.stop import STOP_FILE
from n2n.runs.run import Run
from n2n.training.ranks import Ranks
from n2n.utils.files import make_folder, read_object_or_empty, remove_empty, write_json
from n2n.utils.lock import FolderGone, LockHeld, NoLocks, OpenedPath, locked, opened_folder
from n2n.utils.paths import checked_path, folder_name

_WELCOME = ("*.ipynb", "job.json", ".*", "logs", STOP_FILE)  # what a folder may hold before its run does


def existing_folder(config: TrainConfig) -> Path | None:
    """The folder that ``run_dir`` names, there or not, or None if a new one is to be made; nothing is touched.

    Raises:
        ValueError: a folder that holds another configuration, another kind of files or a run that is further than
            ``steps``.
    """
    if not config.run_dir:
        return None
    folder = checked_path(config.run_dir, "run_dir")
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ValueError(f"run_dir: saw {folder}, but {path} is a file; a folder is needed")
    if (folder / "config.json").exists():
        _refuse_other_run(folder, config)
        return folder
    strange = [path.name for path in folder.glob("*") if not any(path.match(pattern) for pattern in _WELCOME)]
    if strange:
        raise ValueError(f"run_dir: {folder} holds {strange[0]!r} but no run; name a new or an empty folder")
    return folder


def _refuse_other_run(folder: Path, config: TrainConfig) -> None:
    try:
        held = Run(folder).config
    except ValueError as error:
        raise ValueError(f"run_dir: {error}") from None
    differences = held.differences(config)
    if differences:
        told = "".join(f"\n  - {name}: {there!r} there, {here!r} now" for name, (there, here) in differences.items())
        raise ValueError(f"run_dir: {folder} holds a run of another configuration:{told}\nName another folder.")
    saved = folder / "checkpoints"
    for done in reversed(checkpoint.steps(saved)):
        if done > config.steps and checkpoint.fault(saved, done, config.identity) is None:
            raise ValueError(f"steps: saw {config.steps}; the run in {folder} has already made {done}")


def resumable(folder: Path, config: TrainConfig, tell: Callable[[str], None]) -> checkpoint.Found | None:
    """The checkpoint that a run goes on from: the newest one that is sound, is its own, and whose rows are there.

    Args:
        folder: of the run.
        config: of the run.
        tell: is given a sentence for each checkpoint that is passed over.
    """
    return checkpoint.load_latest(folder / "checkpoints", config.identity, rows_missing(folder), tell)


@dataclass(frozen=True)
class Owned:
    """A run's folder that this process may write into, as long as it is in its place.

    Args:
        path: of the folder.
        held: the folder, and the locks that this process has there.
    """

    path: Path
    held: tuple[OpenedPath, ...]

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to this folder and these locks."""
        return all(one.in_place for one in self.held)

    def check(self, saved: str) -> None:
        """Look whether the folder is in its place, before something is written there.

        Args:
            saved: which checkpoint is the last, for people.

        Raises:
            Gone: it was moved, deleted or replaced, or one of its locks was.
        """
        moved = [one for one in self.held if not one.in_place]
        if not moved:
            return
        folder, where = self.held[0], self.held[0].whereabouts
        if folder.in_place:
            told = f"the lock {moved[0].path} was deleted or replaced, so another trainer may be at work in {self.path}"
        elif where:
            told = f"the folder {self.path} was moved to {where} while the run was training in it"
        else:
            told = f"the folder {self.path} was deleted while the run was training in it"
        raise FolderGone(f"{told}. The run has stopped and writes nothing more. {saved}")


@contextlib.contextmanager
def owned(
    folder: Path | None, config: TrainConfig, ranks: Ranks, locks: Sequence[str] = (ANSWERS, TRAINS)
) -> Iterator[Owned]:
    """Make the folder (None: a new one) if need be and keep other trainers out of it; the first rank does, for all.

    Args:
        folder: of the run.
        config: of the run.
        ranks: who trains.
        locks: ``ANSWERS``, ``TRAINS`` or both.

    Raises:
        ValueError: another trainer is at work there, it has become another run's meanwhile, or it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        refused, made, held = "", [], []
        if ranks.first:
            try:
                made = make_folder(folder or runs.root())
                if folder is None:
                    made = [folder := runs.new_folder(label_of(config)), *made]
                held = [stack.enter_context(locked(folder / name, wait=False)) for name in locks]
                if (folder / "config.json").exists():
                    _refuse_other_run(folder, config)
            except LockHeld:
                refused = (
                    f"run_dir: {folder} is being trained by {_holder(folder)}; wait for it, or name another folder"
                )
            except ValueError as error:
                refused = str(error)
            except NoLocks as error:
                refused = f"run_dir: {error}"
            except OSError as error:
                refused = f"run_dir: {folder or runs.root()} cannot be written to: {error.strerror}"
            if refused:
                remove_empty(made)
        folder, refused = ranks.tell((folder, refused))
        if refused:
            raise ValueError(refused)
        yield Owned(folder, (stack.enter_context(opened_folder(folder)), *held))


def label_of(config: TrainConfig) -> str:
    """What a run's new folder is called beside its time."""
    return f"{folder_name(config.graph.name or 'graph')}-{config.arch}-s{config.seed}"


def _holder(folder: Path) -> str:
    status = read_object_or_empty(folder / STATUS)
    return f"process {status['pid']} on {status['host']}" if {"pid", "host"} <= status.keys() else "another process"


def describe(folder: Path, config: TrainConfig) -> None:
    """Write the configuration, and what it runs on, into the run's folder."""
    write_json(folder / "config.json", config.model_dump(mode="json"))
    write_json(folder / "environment.json", describe_environment(Path(__file__).parents[1]))


def threads_before(folder: Path) -> int | None:
    """Torch's threads of the run that is resumed there; None if no checkpoint of it was saved."""
    if not checkpoint.steps(folder / "checkpoints"):
        return None
    found = read_object_or_empty(folder / "environment.json").get("torch_threads")
    return found if isinstance(found, int) and found > 0 else None


def line_logger(folder: Path, rank: int = 0) -> Callable[[str], None]:
    """A function that adds a line with its time to a rank's log."""
    path = folder / "logs" / f"rank{rank}.log"
    path.parent.mkdir(exist_ok=True)

    def log(line: str) -> None:
        with open(path, "a") as file:
            file.write(f"{_now()}  {line}\n")

    return log


def warn(lines: list[str], folder: Path) -> None:
    """Warn of something, here and in the run's log."""
    log = line_logger(folder)
    for line in lines:
        warnings.warn(line, stacklevel=2)
        log(line)


def write_status(folder: Path, config: TrainConfig, state: str, step: int, error: str | None = None) -> None:
    """Replace ``status.json``."""
    status: dict[str, Any] = {"state": state, "step": step, "steps": config.steps}
    status |= {**machine(), "pid": os.getpid(), "job_id": os.environ.get("SLURM_JOB_ID")}
    write_json(folder / STATUS, {**status, "updated_at": _now(), "error": error})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
