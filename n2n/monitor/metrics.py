"""The rows of a run, metrics by step and held-out evaluations: in files no crash tears, and in TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any

from n2n.monitor.journal import NOTHING, Journal, Marks

METRICS, EVALS = "metrics.jsonl", "evals.jsonl"
NO_ROWS: Marks = {METRICS: NOTHING, EVALS: NOTHING}


def rows_missing(folder: Path) -> Callable[[Marks], str | None]:
    """A function that says which file no longer holds the rows that a checkpoint marks, if one does not."""
    journals = {name: Journal(folder / name) for name in NO_ROWS}

    def missing(marks: Marks) -> str | None:
        short = [name for name in NO_ROWS if name not in marks or not journals[name].holds(marks[name])]
        return f"rows of {short[0]} that it counts on are damaged or missing" if short else None

    return missing


class Rows:
    """Writes a run's rows; use as a context manager. What lies after ``done`` steps is dropped first.

    Args:
        folder: of the run.
        run: which run it is, by the hash of what decides it; evaluations of others are dropped.
        done: steps made by the checkpoint that the run goes on from.
        marks: of that checkpoint, one for each file.
        tensorboard: whether rows also go to TensorBoard's files, in ``folder/tensorboard``.

    Attributes:
        set_aside: a sentence for each file whose damaged lines were moved to a file beside it.

    Raises:
        ValueError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, run: str, done: int, marks: Marks, *, tensorboard: bool = False) -> None:
        self._run = run
        self._metrics, self._evals = Journal(folder / METRICS), Journal(folder / EVALS)
        self.set_aside = self._metrics.restore(marks[METRICS])
        self.set_aside += self._evals.restore(marks[EVALS], lambda row: row["step"] == done and row.get("run") == run)
        self._writer = _writer()(str(folder / "tensorboard"), purge_step=done) if tensorboard else None
        for row in self._evals.rows() if tensorboard else []:
            if row["step"] == done:  # TensorBoard drops all from that step on, rows of metrics and evaluations alike
                self._show(row["split"], row)

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def metrics(self, row: dict[str, float]) -> None:
        """Add the row of a step."""
        self._metrics.append(row)
        self._show("train", row)

    def evaluation(self, row: dict[str, Any]) -> None:
        """Add a held-out evaluation."""
        self._evals.append({**row, "run": self._run})
        self._show(row["split"], row)

    def evaluated(self, asked: dict[str, Any]) -> bool:
        """Whether the latest evaluation of that split and step is the one asked for."""
        same = ("split", "step")
        rows = [r for r in self._evals.rows() if all(r[name] == asked[name] for name in same)]
        return bool(rows) and asked.items() <= rows[-1].items()

    def marks(self) -> Marks:
        """How far each file goes, once that survives a loss of power; for a checkpoint that counts on it.

        Raises:
            Changed: someone else changed a file.
        """
        return {METRICS: self._metrics.mark(), EVALS: self._evals.mark()}

    def _show(self, group: str, row: dict[str, Any]) -> None:
        if self._writer is None:
            return
        for name, value in row.items():
            if isinstance(value, Real) and name != "step":
                self._writer.add_scalar(f"{group}/{name}", value, row["step"])


def formatted_row(row: dict[str, float]) -> dict[str, str]:
    """What a person is shown of a row of metrics."""
    names = {"loss": "loss", "oracle": "oracle_nll", "excess": "excess_loss"}
    return {**{k: f"{row[v]:.3f}" for k, v in names.items()}, "tokens/s": f"{row['tokens_per_second']:,.0f}"}


def check_tensorboard() -> None:
    """Refuse to write for a TensorBoard that is not installed.

    Raises:
        ValueError: how to install it.
    """
    try:
        _writer()
    except ImportError:
        raise ValueError("tensorboard: saw True, but it is not installed: pip install tensorboard") from None


def _writer() -> type:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter
