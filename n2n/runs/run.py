"""A view of a run's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from n2n.monitor.columns import read_columns
from n2n.monitor.status import read_status
from n2n.utils.files import read_object
from n2n.utils.paths import checked_path
from n2n.utils.rows import read_rows
from n2n.utils.statistics import Z95
from n2n.utils.strict import Refused

if TYPE_CHECKING:
    from n2n.config.train_config import TrainConfig
    from n2n.models.lm import LanguageModel


@dataclass(frozen=True)
class Run:
    """A view of a run's folder; everything is read from the files.

    Args:
        path: the folder.

    Raises:
        ValueError: a folder that is not there, or holds no run.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", checked_path(self.path, "run"))
        if not (self.path / "config.json").is_file():
            raise ValueError(f"no run in {self.path}: a run's folder holds a config.json")

    @cached_property
    def config(self) -> TrainConfig:
        """The configuration as given; its dataset may be gone.

        Raises:
            ValueError: ``config.json`` holds none.
        """
        from n2n.config.train_config import TrainConfig

        path = self.path / "config.json"
        try:
            return TrainConfig.recorded(read_object(path))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is no configuration of a run: {error}") from None

    @property
    def status(self) -> dict[str, Any]:
        """State (running, done, preempted, failed, killed, missing), step, steps, host, pid, job_id, updated_at, error.

        A run that was running is ``"killed"`` once its process is gone without a word; a run on another host stays as
        it last said. It is ``"missing"`` while there is no readable ``status.json``.
        """
        return read_status(self.path) or {"state": "missing", "step": 0, "error": None}

    @property
    def metrics(self) -> pd.DataFrame:
        """A row for each logged step: losses in nats per token, taken before that step's update.

        Raises:
            ValueError: a damaged row, by its file and line.
        """
        return read_columns(self.path / "metrics.jsonl")

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Every held-out evaluation so far, oldest first; maybe none.

        Raises:
            ValueError: a damaged row, by its file and line.
        """
        rows = read_rows(self.path / "evals.jsonl")
        return [{name: value for name, value in row.items() if name != "run"} for row in rows]

    @property
    def evaluation(self) -> dict[str, Any]:
        """The latest held-out evaluation; see ``n2n.Evaluation`` for its fields.

        Raises:
            ValueError: a run that was not evaluated yet.
        """
        rows = self.evaluations
        if not rows:
            status = self.status
            said = (
                f"{self.path} has no evaluation yet; its state is {status['state']!r} at step {status['step']} of "
                f"{status['steps']}. To resume it, train again with run_dir={str(self.path)!r}; to judge it as it is, "
                f"call n2n.evaluate({str(self.path)!r})"
            )
            raise Refused("n2n.Run.evaluation", ("", said))  # in a notebook the sentence, without a traceback
        return rows[-1]

    @property
    def steps(self) -> list[int]:
        """Of its checkpoints, rising; maybe none."""
        from n2n.monitor import checkpoint

        return checkpoint.steps(self.path / "checkpoints")

    @property
    def some_steps(self) -> list[int]:
        """Of its checkpoints, rising.

        Raises:
            ValueError: there is none yet.
        """
        if not (found := self.steps):
            raise ValueError(f"{self.path} has no checkpoint yet; its state is {self.status['state']!r}")
        return found

    def model(self, step: int | None = None) -> LanguageModel:
        """The model at a checkpoint (None: the last), on the CPU.

        Raises:
            ValueError: no such checkpoint, or a damaged one.
        """
        from n2n.monitor import checkpoint

        step, folder = self.some_steps[-1] if step is None else step, self.path / "checkpoints"
        model = self.config.build_model(kernels="auto")  # to be looked at anywhere, whatever it was trained with
        model.load_state_dict(checkpoint.load(folder, step, self.config.identity)["model"])
        return model

    def summary(self) -> pd.DataFrame:
        """The run in a dozen numbers, one a row, with units; the interval is a normal 95% one over sequences."""
        found, rows = self.evaluation, self.metrics
        half = Z95 * found["excess_standard_error"]
        table = [
            ("parameters", found["parameters"], ""),
            ("tokens seen", found["step"] * self.config.tokens_per_step, "tokens"),
            ("cross-entropy", found["cross_entropy"], "nats per token"),
            ("oracle", found["oracle_nll"], "nats per token"),
            ("excess loss", found["excess_loss"], "nats per token"),
            ("excess loss, 95% from", found["excess_loss"] - half, "nats per token"),
            ("excess loss, 95% to", found["excess_loss"] + half, "nats per token"),
            ("bigram baseline", found["bigram"], "nats per token"),
            ("unigram baseline", found["unigram"], "nats per token"),
            ("training speed", round(rows["tokens_per_second"].median()), "tokens per second"),
        ]
        shown = [
            (name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}", unit) for name, value, unit in table
        ]
        return pd.DataFrame(shown, columns=["quantity", "value", "unit"]).set_index("quantity")


def labels(runs: Sequence[Run]) -> list[str]:
    """Names that tell runs apart: architectures; where these repeat folders; where those do, their parents' too."""
    archs = [run.config.arch for run in runs]
    names = [arch if archs.count(arch) == 1 else run.path.name for arch, run in zip(archs, runs, strict=True)]
    if len(set(names)) == len(names):
        return names
    return [os.path.join(*run.path.parts[-2:]) if names.count(n) > 1 else n for n, run in zip(names, runs, strict=True)]
