"""A run's rows, metrics by step and held-out evaluations, in files that survive crashes and in TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any

from n2n.monitor.journal import NOTHING, Journal, Marks


def rows_missing(*paths: Path) -> Callable[[Marks], str | None]:
    """A function from a checkpoint's marks to what is missing: the file that lacks marked rows, or None."""
    journals = [Journal(path) for path in paths]

    def missing(marks: Marks) -> str | None:
        short = [log.path.name for log in journals if not (mark := marks.get(log.path.name)) or not log.holds(mark)]
        return f"rows of {short[0]} that it counts on are damaged or missing" if short else None

    return missing


class Rows:
    """Writes a run's rows; use as a context manager. Rows after ``done`` steps are dropped first.

    Args:
        metrics: file of metrics.
        evaluations: file of evaluations.
        run: hash of what decides the run; evaluations of other runs are dropped.
        done: steps made by the checkpoint from which the run resumes.
        marks: marks of that checkpoint; empty for a new run.
        tensorboard: folder of TensorBoard's files; None writes none.

    Attributes:
        repairs: one sentence for each file whose damaged lines were moved to another file.

    Raises:
        ImportError: if TensorBoard is not installed.
    """

    def __init__(
        self, metrics: Path, evaluations: Path, run: str, done: int, marks: Marks, *, tensorboard: Path | None = None
    ) -> None:
        self._run = run
        self._metrics, self._evaluations = Journal(metrics), Journal(evaluations)
        self.repairs = self._metrics.restore(marks.get(metrics.name, NOTHING))
        self.repairs += self._evaluations.restore(
            marks.get(evaluations.name, NOTHING), lambda row: row["step"] == done and row.get("run") == run
        )
        self._writer = _writer()(str(tensorboard), purge_step=done) if tensorboard else None
        for row in self._evaluations.rows() if tensorboard else []:
            if row["step"] == done:  # TensorBoard drops everything from that step on, metrics and evaluations alike
                self._show(row["split"], row)

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def add_metrics(self, row: dict[str, float]) -> None:
        """Add the row of a step."""
        self._metrics.append(row)
        self._show("train", row)

    def add_evaluation(self, row: dict[str, Any]) -> None:
        """Add a held-out evaluation."""
        self._evaluations.append({**row, "run": self._run})
        self._show(row["split"], row)

    def has_evaluation(self, fields: dict[str, Any]) -> bool:
        """Whether the latest evaluation with the split and the step of ``fields`` has all of these fields."""
        same = ("split", "step")
        rows = [row for row in self._evaluations.rows() if all(row[name] == fields[name] for name in same)]
        return bool(rows) and fields.items() <= rows[-1].items()

    def marks(self) -> Marks:
        """The length of each file, flushed to disk, for a checkpoint.

        Raises:
            ChangedFile: if another program changed a file.
        """
        return {journal.path.name: journal.mark() for journal in (self._metrics, self._evaluations)}

    def _show(self, group: str, row: dict[str, Any]) -> None:
        if self._writer is None:
            return
        for name, value in row.items():
            if isinstance(value, Real) and name != "step":
                self._writer.add_scalar(f"{group}/{name}", value, row["step"])


def formatted_row(row: dict[str, float]) -> dict[str, str]:
    """The values of a row of metrics that a progress line shows."""
    names = {"loss": "loss", "oracle": "oracle_nll", "excess": "excess_loss"}
    return {**{k: f"{row[v]:.3f}" for k, v in names.items()}, "tokens/s": f"{row['tokens_per_second']:,.0f}"}


def check_tensorboard() -> None:
    """Check that TensorBoard is installed.

    Raises:
        ValueError: if it is not; the message says how to install it.
    """
    try:
        _writer()
    except ImportError:
        raise ValueError("tensorboard: saw True, but it is not installed: pip install tensorboard") from None


def _writer() -> type:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter
