"""The run folder: where runs lie, what is in one, and a view of it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from n2n.monitor.columns import read_columns
from n2n.monitor.status import read_status
from n2n.utils.files import Damaged, object_in, read_object, read_rows
from n2n.utils.paths import folder_name, usable
from n2n.utils.statistics import Z95
from n2n.utils.strict import Refused

if TYPE_CHECKING:
    from n2n.config.train_config import TrainConfig
    from n2n.models.lm import LanguageModel

LONGEST_LABEL = 120  # characters of what a new folder is called beside its time
SWEEP = "sweep.json"  # in a sweep's folder: what was submitted
RESULTS = ("split", "parameters", "cross_entropy", "oracle_nll", "excess_loss", "excess_se", "bigram", "unigram")


def root() -> Path:
    """Where new runs go: ``$N2N_RUNS`` if set, else ``runs/`` of the checkout, else ``runs/`` here.

    Raises:
        ValueError: ``$N2N_RUNS`` is no path on this machine.
    """
    given = os.environ.get("N2N_RUNS")
    if given:
        return usable(given, "N2N_RUNS")
    checkout = Path(__file__).parents[1]
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / "runs"


def new_folder(label: str) -> Path:
    """Make and return an empty folder under ``root()``, named by the time and a label."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{folder_name(label, LONGEST_LABEL)}"
    root().mkdir(parents=True, exist_ok=True)
    for suffix in ["", *(f"-{n}" for n in range(2, 1000))]:
        try:
            (folder := root() / (stem + suffix)).mkdir()
        except FileExistsError:
            continue
        return folder
    raise OSError(f"no free name for {stem} under {root()}")


def sweep_folder(name: str | os.PathLike) -> Path:
    """The folder of a sweep, by its name under ``root()`` or its path.

    Raises:
        ValueError: there is none.
    """
    here = usable(name, "sweep")
    folder = here if here.is_dir() else root() / name
    if not folder.is_dir():
        raise ValueError(f"no sweep {os.fspath(name)!r}: there is no folder {folder}")
    return folder


def table(name: str | os.PathLike) -> pd.DataFrame:
    """Every run of a sweep, or of any folder of runs, with its configuration and its results.

    Args:
        name: of the sweep under ``root()``, or the path of a folder whose folders are runs.

    Returns:
        a row for each folder, by its name: its ``state``, as ``Run.status`` has it (of a point without a run its job's,
        else ``"missing"``; ``"damaged"`` where ``config.json`` holds no configuration), the step saved, all fields of
        its configuration as it was written (of a point without a run those that the sweep gives), and of its last
        evaluation the losses in nats per token with their standard error, and the model's parameters. Where a file is
        damaged, ``error`` names it.

    Raises:
        ValueError: no such folder, one without runs, or one whose ``sweep.json`` is damaged.
    """
    folder = sweep_folder(name)
    points = _points(folder / SWEEP)
    found = sorted((path.parent.name for path in folder.glob("*/config.json")), key=_counted)
    rows = {
        name: _row(folder / name, points.get(name, {})) for name in [*points, *(n for n in found if n not in points)]
    }
    if not rows:
        raise ValueError(f"{folder} holds no runs")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def _points(path: Path) -> dict[str, dict[str, Any]]:
    """The points of a sweep; empty for a folder of runs that were not submitted together."""
    try:
        return object_in(path)["points"] if path.exists() else {}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _counted(name: str) -> list[tuple[int, str]]:
    """A key by which ``dim=8`` comes before ``dim=16``."""
    return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _row(folder: Path, point: dict[str, Any]) -> dict[str, Any]:
    status, path = read_status(folder), folder / "config.json"
    state = status.get("state") or read_object(folder / "job.json").get("state") or "missing"
    if not path.exists():
        return {"state": state, **point}
    config = read_object(path)
    if not isinstance(config.get("graph"), dict):
        return {"state": "damaged", **point, "error": f"{path} is no configuration of a run"}
    config["graph"] = config["graph"].get("name") or "graph"
    row = {"state": state, "step": status.get("step"), **config}
    try:
        evaluation = (read_rows(folder / "evals.jsonl") or [{}])[-1]
    except Damaged as error:
        return {**row, "error": str(error)}
    return {**row, **{name: evaluation[name] for name in RESULTS if name in evaluation}}


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
        object.__setattr__(self, "path", usable(self.path, "run"))
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
            return TrainConfig.recorded(object_in(path))
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
        """The latest held-out evaluation; see ``n2n.evaluation.Evaluation`` for its fields.

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
        half = Z95 * found["excess_se"]
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
