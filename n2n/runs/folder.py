"""The files of a run's folder: their names, their paths and what they hold. Nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.monitor.columns import read_columns
from n2n.monitor.rows import read_rows
from n2n.monitor.status import current_status
from n2n.utils.files import read_object_or_empty
from n2n.utils.statistics import t_interval

CONFIG = "config.json"
OLD_ERROR = "excess_se"  # an evaluation's standard error in older versions
JOB = "job.json"  # written by a cluster job, next to the run that it trains
LOGS = "logs"
# The process that is responsible for a folder holds the first lock. The process that trains in it holds the second;
# both are the same process unless a launcher started several.
LAUNCH_LOCK, TRAINING_LOCK = ".launch.lock", ".lock"


@dataclass(frozen=True)
class RunFolder:
    """A folder in which a run lies or will lie.

    Args:
        path: the folder; it need not exist.
    """

    path: Path

    @property
    def config_path(self) -> Path:
        """The configuration as JSON. A folder that has this file holds a run."""
        return self.path / CONFIG

    @property
    def status_path(self) -> Path:
        """State and step of the run as JSON, replaced whenever they change."""
        return self.path / "status.json"

    @property
    def metrics_path(self) -> Path:
        """One row for each logged step."""
        return self.path / "metrics.jsonl"

    @property
    def evaluations_path(self) -> Path:
        """One row for each held-out evaluation."""
        return self.path / "evals.jsonl"

    @property
    def checkpoints_path(self) -> Path:
        """The folder of all checkpoints."""
        return self.path / "checkpoints"

    @property
    def environment_path(self) -> Path:
        """Packages, hardware and git state as JSON."""
        return self.path / "environment.json"

    @property
    def logs_path(self) -> Path:
        """The folder of all logs."""
        return self.path / LOGS

    @property
    def torchrun_log_path(self) -> Path:
        """The log of what torchrun and its processes print."""
        return self.logs_path / "torchrun.log"

    @property
    def tensorboard_path(self) -> Path:
        """The folder of TensorBoard's files."""
        return self.path / "tensorboard"

    @property
    def stop_path(self) -> Path:
        """A file that asks the run to save and leave."""
        return self.path / "STOP"

    @property
    def job_path(self) -> Path:
        """State of the cluster job that trains here, as JSON."""
        return self.path / JOB

    def log_path(self, rank: int = 0) -> Path:
        """The log of the process with this rank."""
        return self.logs_path / f"rank{rank}.log"

    def trace_path(self, rank: int = 0) -> Path:
        """The profiler's trace of the process with this rank."""
        return self.path / "profile" / f"rank{rank}.json.gz"

    @property
    def holds_run(self) -> bool:
        """Whether the folder holds a run."""
        return self.config_path.is_file()

    def read_config(self) -> dict[str, Any]:
        """The configuration as written; empty if there is none or it is damaged."""
        return read_object_or_empty(self.config_path)

    def read_status(self) -> dict[str, Any]:
        """The run's status, with state ``"killed"`` if its process is gone; empty if there is none."""
        return self.current_status(read_object_or_empty(self.status_path))

    def current_status(self, status: dict[str, Any]) -> dict[str, Any]:
        """A status as it was read, with state ``"killed"`` if it says running and its process is gone."""
        return current_status(status, self.status_path, [self.path / TRAINING_LOCK, self.path / LAUNCH_LOCK])

    def read_job(self) -> dict[str, Any]:
        """The status of the cluster job; empty if there is none."""
        return read_object_or_empty(self.job_path)

    def read_environment(self) -> dict[str, Any]:
        """Packages, hardware and git state; empty if they were not recorded."""
        return read_object_or_empty(self.environment_path)

    def read_metrics(self) -> pd.DataFrame:
        """A row for each logged step; empty if there is none.

        Raises:
            DamagedFile: a damaged row.
        """
        return read_columns(self.metrics_path)

    def read_evaluations(self) -> list[dict[str, Any]]:
        """All held-out evaluations, oldest first.

        Raises:
            DamagedFile: a damaged row.
            ValueError: a row that an older version of n2n wrote, with a field that has another name now.
        """
        rows = read_rows(self.evaluations_path)
        if any(OLD_ERROR in row for row in rows):
            raise ValueError(
                f"{self.evaluations_path}, an older version of n2n wrote it, with {OLD_ERROR!r} for "
                "'excess_standard_error'; train again into a new folder, or read the run with that version"
            )
        return [{name: value for name, value in row.items() if name != "run"} for row in rows]

    def validations(self, until: int) -> dict[int, float]:
        """The model's loss on ``valid`` at each step up to ``until`` that was evaluated, nats per token.

        Raises:
            DamagedFile: a damaged row.
        """
        rows = [row for row in self.read_evaluations() if row["split"] == "valid" and row["step"] <= until]
        return {row["step"]: row["cross_entropy"] for row in rows}

    def best_step(self, until: int) -> int | None:
        """The step up to ``until`` with the lowest loss on ``valid``; None if none was evaluated."""
        losses = self.validations(until)
        return min(losses, key=losses.__getitem__, default=None)

    @property
    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending."""
        from n2n.monitor import checkpoint

        return checkpoint.steps(self.checkpoints_path)

    @property
    def last_step(self) -> int:
        """The newest step with a checkpoint; 0 if there is none."""
        return max(self.steps, default=0)


def excess_interval(evaluation: Mapping[str, Any], over: str = "") -> tuple[float, float]:
    """95% interval of an evaluation's excess loss over its held-out sequences, nats per token (``t_interval``).

    Args:
        evaluation: the fields of an ``n2n.Evaluation``.
        over: the oracle: ``""`` knows the kernels, ``"in_context_"`` learns them, and ``"prior_"`` learns them without
            knowledge of the pool.
    """
    mean, error = evaluation[f"{over}excess_loss"], evaluation[f"{over}excess_standard_error"]
    return t_interval(mean, error, evaluation["sequences"])
