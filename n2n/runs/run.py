"""A view of a run's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from n2n.runs.folder import CONFIG, RunFolder, excess_interval
from n2n.utils.files import read_object
from n2n.utils.paths import checked_path
from n2n.utils.strict import Refused

if TYPE_CHECKING:
    from n2n.config.train_config import TrainConfig
    from n2n.models.lm import LanguageModel


@dataclass(frozen=True)
class Run:
    """A view of a run's folder. Every attribute is read from the files.

    Args:
        path: the folder.

    Raises:
        ValueError: if the folder does not exist or holds no run.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", checked_path(self.path, "run"))
        if not self.folder.holds_run:
            raise ValueError(f"no run in {self.path}: a run's folder holds a {CONFIG}")

    @property
    def folder(self) -> RunFolder:
        """Paths and content of the run's files."""
        return RunFolder(self.path)

    @cached_property
    def config(self) -> TrainConfig:
        """The configuration of the run. Its dataset need not exist any more.

        Raises:
            ValueError: if ``config.json`` holds no configuration.
        """
        from n2n.config.train_config import TrainConfig

        path = self.folder.config_path
        try:
            return TrainConfig.recorded(read_object(path))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is no configuration of a run: {error}") from None

    @property
    def status(self) -> dict[str, Any]:
        """State (running, done, preempted, failed, killed, missing), step, steps, host, pid, job_id, updated_at, error.

        The state is ``"killed"`` if the run was running and its process has disappeared. The process of a run on
        another host cannot be checked, so that its last state stays. The state is ``"missing"`` while there is no
        readable ``status.json``.
        """
        return self.folder.read_status() or {"state": "missing", "step": 0, "error": None}

    @property
    def metrics(self) -> pd.DataFrame:
        """A row for each logged step: losses in nats per token, measured before that step's update.

        Raises:
            ValueError: if a row is damaged; the message has its file and line.
        """
        return self.folder.read_metrics()

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """All held-out evaluations, oldest first; empty before the first one.

        Raises:
            ValueError: if a row is damaged; the message has its file and line.
        """
        return self.folder.read_evaluations()

    @property
    def evaluation(self) -> dict[str, Any]:
        """The latest held-out evaluation; see ``n2n.Evaluation`` for its fields.

        Raises:
            ValueError: if the run has not been evaluated yet.
        """
        rows = self.evaluations
        if not rows:
            status = self.status
            message = (
                f"{self.path} has no evaluation yet; its state is {status['state']!r} at step {status['step']} of "
                f"{status['steps']}. To resume it, train again with run_dir={str(self.path)!r}; to evaluate it as it "
                f"is, call n2n.evaluate({str(self.path)!r})"
            )
            raise Refused("n2n.Run.evaluation", ("", message))  # in a notebook the sentence, without a traceback
        return rows[-1]

    @property
    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending; empty before the first one."""
        return self.folder.steps

    @property
    def some_steps(self) -> list[int]:
        """Steps with a checkpoint, ascending.

        Raises:
            ValueError: if there is no checkpoint yet.
        """
        if not (steps := self.steps):
            raise ValueError(f"{self.path} has no checkpoint yet; its state is {self.status['state']!r}")
        return steps

    def model(self, step: int | None = None) -> LanguageModel:
        """The model at a checkpoint (None: the last), on the CPU.

        Raises:
            ValueError: if there is no such checkpoint, or if it is damaged.
        """
        from n2n.monitor import checkpoint

        step = self.some_steps[-1] if step is None else step
        model = self.config.build_model(kernels="auto")  # works on any machine, whatever kernels it was trained with
        model.load_state_dict(checkpoint.load_weights(self.folder.checkpoints_path, step, self.config.identity))
        return model

    def summary(self) -> pd.DataFrame:
        """The run in a dozen numbers with units, one a row; the interval is Student's t over held-out sequences."""
        last, metrics = self.evaluation, self.metrics
        low, high = excess_interval(last)
        rows = [
            ("parameters", last["parameters"], ""),
            ("tokens seen", last["step"] * self.config.tokens_per_step, "tokens"),
            ("cross-entropy", last["cross_entropy"], "nats per token"),
            ("oracle", last["oracle_nll"], "nats per token"),
            ("excess loss", last["excess_loss"], "nats per token"),
            ("excess loss, 95% from", low, "nats per token"),
            ("excess loss, 95% to", high, "nats per token"),
            *_in_context_rows(last),
            ("bigram baseline", last["bigram"], "nats per token"),
            ("unigram baseline", last["unigram"], "nats per token"),
            ("training speed", round(metrics["tokens_per_second"].median()), "tokens per second"),
        ]
        texts = [(name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}", unit) for name, value, unit in rows]
        return pd.DataFrame(texts, columns=["quantity", "value", "unit"]).set_index("quantity")


def _in_context_rows(evaluation: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Rows of a summary about the oracles that learn the kernels from each sequence; none for other runs."""
    rows = []
    for over, oracle in (("in_context_", "in-context oracle"), ("prior_", "in-context oracle of the prior")):
        if f"{over}nll" in evaluation:
            low, high = excess_interval(evaluation, over)
            values = {
                oracle: evaluation[f"{over}nll"],
                f"excess over the {oracle}": evaluation[f"{over}excess_loss"],
                f"excess over the {oracle}, 95% from": low,
                f"excess over the {oracle}, 95% to": high,
            }
            rows += [(name, value, "nats per token") for name, value in values.items()]
    return rows


def labels(runs: Sequence[Run]) -> list[str]:
    """A distinct name for each run: its architecture, else its folder, else its folder and the parent folder."""
    archs = [run.config.arch for run in runs]
    names = [arch if archs.count(arch) == 1 else run.path.name for arch, run in zip(archs, runs, strict=True)]
    if len(set(names)) == len(names):
        return names
    return [os.path.join(*run.path.parts[-2:]) if names.count(n) > 1 else n for n, run in zip(names, runs, strict=True)]
