"""The rows of a run, metrics by step and held-out evaluations: in files no crash tears, and in TensorBoard."""

from __future__ import annotations

from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any

from n2n.monitor.files import append_row, keep_rows, read_rows, sync

METRICS, EVALS = "metrics.jsonl", "evals.jsonl"


class Rows:
    """Writes a run's rows; use as a context manager. What lies after ``done`` steps is dropped first.

    Args:
        folder: of the run.
        done: steps made by the checkpoint that the run goes on from.
        tensorboard: whether rows also go to TensorBoard's files, in ``folder/tensorboard``.

    Raises:
        ValueError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, done: int, *, tensorboard: bool = False) -> None:
        self._folder = folder
        keep_rows(folder / METRICS, lambda row: row["step"] < done)
        keep_rows(folder / EVALS, lambda row: row["step"] <= done)
        self._writer = _writer()(str(folder / "tensorboard"), purge_step=done) if tensorboard else None
        for row in read_rows(folder / EVALS) if tensorboard else []:
            if row["step"] == done:  # TensorBoard drops all from that step on, rows of metrics and evaluations alike
                self._show(row["split"], row)

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def metrics(self, row: dict[str, float]) -> None:
        """Add the row of a step."""
        append_row(self._folder / METRICS, row)
        self._show("train", row)

    def evaluation(self, row: dict[str, Any]) -> None:
        """Add a held-out evaluation."""
        append_row(self._folder / EVALS, row)
        self._show(row["split"], row)

    def evaluated(self, asked: dict[str, Any]) -> bool:
        """Whether the latest evaluation of that split and step is the one asked for."""
        same = ("split", "step")
        rows = [r for r in read_rows(self._folder / EVALS) if all(r[name] == asked[name] for name in same)]
        return bool(rows) and asked.items() <= rows[-1].items()

    def sync(self) -> None:
        """Everything so far survives a loss of power; for a checkpoint that counts on it."""
        for name in (METRICS, EVALS):
            if (self._folder / name).exists():
                sync(self._folder / name)

    def _show(self, group: str, row: dict[str, Any]) -> None:
        if self._writer is None:
            return
        for name, value in row.items():
            if isinstance(value, Real) and name != "step":
                self._writer.add_scalar(f"{group}/{name}", value, row["step"])


def told(row: dict[str, float]) -> dict[str, str]:
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
