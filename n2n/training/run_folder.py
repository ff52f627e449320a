"""A run's folder for its trainer: which folders a trainer may write to, and what it writes there."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from n2n import runs
from n2n.config.train_config import TrainConfig
from n2n.monitor import checkpoint
from n2n.monitor.checkpoint import Checkpoint
from n2n.monitor.environment import describe_environment
from n2n.monitor.metrics import rows_missing
from n2n.monitor.status import now, write_status
from n2n.runs.folder import JOB, LAUNCH_LOCK, LOGS, TRAINING_LOCK, RunFolder
from n2n.runs.run import Run
from n2n.training.process_group import ProcessGroup
from n2n.utils.files import make_folder, remove_empty, write_json
from n2n.utils.lock import FolderGone, LockHeld, NoLocks, OpenedPath, locked, opened_folder
from n2n.utils.paths import checked_path, folder_name


@dataclass(frozen=True)
class WritableRunFolder(RunFolder):
    """The folder of a run that this process trains. It may write there as long as the folder stays in place.

    Args:
        path: the folder.
        config: configuration of the run.
        rank: number of this process.
        opened: the folder and this process's locks in it, kept open.
    """

    config: TrainConfig
    rank: int
    opened: tuple[OpenedPath, ...]

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to this folder and these locks."""
        return all(one.in_place for one in self.opened)

    def check_in_place(self, hint: str) -> None:
        """Check that the folder is in place; called before something is written.

        Args:
            hint: a sentence that ends the message, such as which checkpoint is the last.

        Raises:
            FolderGone: if the folder or one of its locks was moved, deleted or replaced.
        """
        moved = [one for one in self.opened if not one.in_place]
        if not moved:
            return
        folder = self.opened[0]
        if folder.in_place:
            cause = (
                f"the lock {moved[0].path} was deleted or replaced, so another trainer may be at work in {self.path}"
            )
        elif folder.whereabouts:
            cause = f"the folder {self.path} was moved to {folder.whereabouts} while the run was training in it"
        else:
            cause = f"the folder {self.path} was deleted while the run was training in it"
        raise FolderGone(f"{cause}. The run has stopped and writes nothing more. {hint}")

    def log(self, line: str) -> None:
        """Add a line with its time to the log of this process."""
        append_log(self.log_path(self.rank), line)

    def warn(self, lines: list[str]) -> None:
        """Warn, here and in the log."""
        for line in lines:
            warnings.warn(line, stacklevel=2)
            self.log(line)

    def describe(self) -> None:
        """Write the configuration and the environment."""
        write_json(self.config_path, self.config.model_dump(mode="json"))
        write_json(self.environment_path, describe_environment(Path(__file__).parents[1]))

    def write_status(self, state: str, step: int, error: str | None = None) -> None:
        """Replace the status; see ``n2n.monitor.status.write_status``."""
        write_status(self.status_path, state, step, self.config.steps, error)

    def resumable(self, on_skip: Callable[[str], None]) -> Checkpoint | None:
        """The checkpoint from which the run resumes: the newest one that is intact, its own, and has all its rows.

        Args:
            on_skip: called with a sentence for each checkpoint that is passed over.
        """
        missing = rows_missing(self.metrics_path, self.evaluations_path)
        return checkpoint.load_latest(self.checkpoints_path, self.config.identity, missing, on_skip)

    def clean_checkpoints(self, after: int) -> None:
        """Set aside the checkpoints after a step, and delete those that the configuration does not keep."""
        checkpoint.set_aside(self.checkpoints_path, after)
        self.prune_checkpoints(after)

    def prune_checkpoints(self, until: int) -> None:
        """Delete the checkpoints that the configuration does not keep. The best up to a step stays if it is selected.

        If a damaged row hides which one is the best, nothing is deleted.
        """
        kept = []
        if self.config.select == "best":
            try:
                kept = [self.best_step(until)]
            except ValueError:
                return
        checkpoint.prune(self.checkpoints_path, self.config.keep_last, self.config.keep_every, kept)

    def previous_threads(self) -> int | None:
        """The number of torch's threads in the run so far; None if it has no checkpoint."""
        threads = self.read_environment().get("torch_threads") if self.steps else None
        return threads if isinstance(threads, int) and threads > 0 else None


def append_log(path: Path, line: str) -> None:
    """Add a line with its time to a log."""
    path.parent.mkdir(exist_ok=True)
    with open(path, "a") as file:
        file.write(f"{now()}  {line}\n")


def requested_folder(config: TrainConfig) -> RunFolder | None:
    """The folder that ``run_dir`` names, which need not exist; None if a new one will be made. Nothing is written.

    Raises:
        ValueError: if the folder holds another configuration, other files, or a run that has made more than ``steps``.
    """
    if not config.run_dir:
        return None
    folder = RunFolder(checked_path(config.run_dir, "run_dir"))
    for path in (folder.path, *folder.path.parents):
        if path.exists() and not path.is_dir():
            raise ValueError(f"run_dir: saw {folder.path}, but {path} is a file; a folder is needed")
    if folder.config_path.exists():
        _refuse_other_run(folder, config)
        return folder
    allowed = ("*.ipynb", JOB, ".*", LOGS, folder.stop_path.name)  # files that may precede the run
    strange = [path.name for path in folder.path.glob("*") if not any(path.match(pattern) for pattern in allowed)]
    if strange:
        raise ValueError(f"run_dir: {folder.path} holds {strange[0]!r} but no run; name a new or an empty folder")
    return folder


def _refuse_other_run(folder: RunFolder, config: TrainConfig) -> None:
    try:
        recorded = Run(folder.path).config
    except ValueError as error:
        raise ValueError(f"run_dir: {error}") from None
    differences = recorded.differences(config)
    if differences:
        lines = "".join(f"\n  - {name}: {there!r} there, {here!r} now" for name, (there, here) in differences.items())
        raise ValueError(f"run_dir: {folder.path} holds a run of another configuration:{lines}\nName another folder.")
    for step in reversed(folder.steps):
        if step > config.steps and checkpoint.fault(folder.checkpoints_path, step, config.identity) is None:
            raise ValueError(f"steps: saw {config.steps}; the run in {folder.path} has already made {step}")


@contextlib.contextmanager
def open_for_writing(
    folder: RunFolder | None,
    config: TrainConfig,
    group: ProcessGroup,
    locks: Sequence[str] = (LAUNCH_LOCK, TRAINING_LOCK),
) -> Iterator[WritableRunFolder]:
    """Make the folder if it does not exist and lock it against other trainers; the first process does so for all.

    Args:
        folder: folder of the run; None makes a new one.
        config: configuration of the run.
        group: the processes that train.
        locks: ``LAUNCH_LOCK``, ``TRAINING_LOCK`` or both.

    Raises:
        ValueError: if another trainer is at work in the folder, if it has become another run's since it was checked, or
            if it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        path, handles, refusal = folder and folder.path, [], ""
        if group.is_first:
            try:
                path, handles = _make_and_lock(path, config, locks, stack)
            except ValueError as error:
                refusal = str(error)
        path, refusal = group.broadcast((path, refusal))
        if refusal:
            raise ValueError(refusal)
        yield WritableRunFolder(path, config, group.rank, (stack.enter_context(opened_folder(path)), *handles))


def _make_and_lock(
    path: Path | None, config: TrainConfig, locks: Sequence[str], stack: contextlib.ExitStack
) -> tuple[Path, list[OpenedPath]]:
    """Make the folder and lock it; ``stack`` releases the locks. If this fails, new folders are removed again.

    Raises:
        ValueError: as ``open_for_writing``.
    """
    made = []
    try:
        made = make_folder(path or runs.root())
        if path is None:
            made = [path := runs.new_folder(label_of(config)), *made]
        handles = [stack.enter_context(locked(path / name, wait=False)) for name in locks]
        if (folder := RunFolder(path)).config_path.exists():
            _refuse_other_run(folder, config)
    except (LockHeld, OSError, ValueError) as error:
        remove_empty(made)
        raise ValueError(_refusal(path or runs.root(), error)) from None
    return path, handles


def _refusal(path: Path, error: Exception) -> str:
    if isinstance(error, LockHeld):
        return f"run_dir: {path} is being trained by {_holder(path)}; wait for it, or name another folder"
    if isinstance(error, NoLocks):
        return f"run_dir: {error}"
    if isinstance(error, OSError):
        return f"run_dir: {path} cannot be written to: {error.strerror}"
    return str(error)


def _holder(path: Path) -> str:
    status = RunFolder(path).read_status()
    return f"process {status['pid']} on {status['host']}" if {"pid", "host"} <= status.keys() else "another process"


def label_of(config: TrainConfig) -> str:
    """The label in the name of a new run's folder."""
    return f"{folder_name(config.graph.name or 'graph')}-{config.arch}-s{config.seed}"
