"""Comparisons and probes of trained runs."""

from __future__ import annotations

from n2n.analysis import evaluation
from n2n.analysis.comparison import Comparison
from n2n.analysis.probes import ProbeData
from n2n.config.train_config import TrainConfig
from n2n.runs.run import Run, labels


def compare(runs: list[Run], sequences: int, step: int | None = None) -> Comparison:
    """Compare the models of several runs. They are named by architecture, or by folder if architectures repeat.

    Args:
        runs: runs of one process and one ``seq_len``.
        sequences: number of held-out sequences.
        step: step of the checkpoints (None: the last ones).

    Raises:
        ValueError: runs of different processes or lengths, runs with the same last two parts of their paths, or no such
            checkpoint.
    """
    first = runs[0]
    for run in runs[1:]:
        if message := task_difference(run.path.name, first.path.name, run.config, first.config):
            raise ValueError(message)
    names = labels(runs)
    if len(set(names)) < len(runs):
        raise ValueError(f"runs: saw folders of the same names, {names}; rename one of them")
    models = {name: run.model(step) for name, run in zip(names, runs, strict=True)}
    return Comparison(evaluation.held_out(first.config, sequences=sequences), models)


def task_difference(name: str, first_name: str, config: TrainConfig, first: TrainConfig) -> str:
    """Message about how the task of a run differs from that of the first run; empty if it does not."""
    for field in ("process", "seq_len"):
        if getattr(config, field) != getattr(first, field):
            return f"runs: {name} has another {field} than {first_name}; runs are compared on the same tokens"
    return ""


def probe_data(run: Run, sequences: int) -> ProbeData:
    """Held-out sequences of a run's process, of the length that its model reads in training."""
    return ProbeData(run.config.process, sequences, run.config.seq_len - 1)


def sequences_seen(runs: list[Run], step: int | None = None) -> int:
    """Number of distinct training sequences seen until a step (None: the last checkpoint), the largest among runs."""
    return max(evaluation.sequences_seen(run.config, max(run.steps) if step is None else step) for run in runs)
