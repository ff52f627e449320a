"""What the notebooks that look into runs are asked for, and the values that they look at."""

from __future__ import annotations

from n2n.analysis import evaluation
from n2n.analysis.comparison import Comparison
from n2n.analysis.probes import ProbeData
from n2n.config.train_config import TrainConfig
from n2n.runs.run import Run, labels


def compared(runs: list[Run], sequences: int, step: int | None = None) -> Comparison:
    """The models of several runs beside the oracle, named by architecture, or by folders where that repeats.

    Raises:
        ValueError: runs of different processes or lengths (the message names them), or that cannot be told apart by
            the last two parts of their paths, or no such checkpoint.
    """
    first = runs[0]
    for run in runs[1:]:
        if said := _other_task(run.path.name, first.path.name, run.config, first.config):
            raise ValueError(said)
    names = labels(runs)
    if len(set(names)) < len(runs):
        raise ValueError(f"runs: saw folders that go by the same names, {names}; give one of them another")
    models = {name: run.model(step) for name, run in zip(names, runs, strict=True)}
    return Comparison(first.config.process, models, sequences, first.config.seq_len)


def _other_task(name: str, first_name: str, config: TrainConfig, first: TrainConfig) -> str:
    """Why a run cannot be compared with the first one; empty if it can."""
    for what in ("process", "seq_len"):
        if getattr(config, what) != getattr(first, what):
            return f"runs: {name} has another {what} than {first_name}; runs are compared on the same tokens"
    return ""


def probe_data(run: Run, sequences: int) -> ProbeData:
    """Held-out sequences of a run's process, as long as the model reads them in training."""
    return ProbeData(run.config.process, sequences, run.config.seq_len - 1)


def sequences_seen(runs: list[Run], step: int | None = None) -> int:
    """The most distinct training sequences that one of the runs had seen at a step (None: at its last checkpoint)."""
    return max(evaluation.sequences_seen(run.config, max(run.steps) if step is None else step) for run in runs)
