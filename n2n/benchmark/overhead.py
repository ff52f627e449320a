"""Time that a run spends on everything but its updates: metrics, the oracle, checkpoints, waiting for data."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from contextlib import closing

import pandas as pd
import torch

from n2n.benchmark.timing import Settings
from n2n.config.train_config import TrainConfig
from n2n.monitor.profiler import Clock
from n2n.training.learner import Learner
from n2n.training.process_group import ProcessGroup
from n2n.training.reporter import SECTIONS
from n2n.training.trainer import train

PARTS = tuple(name for name in SECTIONS if name != "evaluation")
MAX_REPEATS = 3  # because each takes seconds


def overhead_table(settings: Settings) -> pd.DataFrame:
    """Time the trainer with default settings next to a bare loop of the same updates on the same batches.

    Smaller settings make the model and its batches smaller, too.

    Returns:
        A row for each part of a step: milliseconds per step (medians over repeats), and the share of the trainer's
        time. ``bare loop`` is a separate timing; all other rows are the trainer's own measurements.
    """
    config = TrainConfig(graph="sparse", device=settings.device, eval_sequences=2)
    largest = {"dim": settings.dim, "layers": settings.layers, "seq_len": settings.length}
    largest["batch_size"] = max(settings.batches)
    smaller = {name: min(getattr(config, name), value) for name, value in largest.items()}
    # One more step, because the row of metrics after a checkpoint includes its time.
    config = config.model_copy(update={**smaller, "steps": config.checkpoint_every + 1})
    times = [(_bare(config), *_monitored(config)) for _ in range(min(MAX_REPEATS, settings.repeats))]
    medians = pd.DataFrame(times, columns=["bare loop", "trainer", *PARTS]).median()
    return pd.DataFrame({"ms a step": medians, "share": medians / medians["trainer"]}).rename_axis("part")


def _bare(config: TrainConfig) -> float:
    """Milliseconds per step of a loop that only makes batches and updates."""
    learner = Learner(config, torch.device(config.device), ProcessGroup())
    clock = Clock(learner.device)
    with closing(learner.batches.ahead(0, config.steps)) as batches:
        begun = time.perf_counter()
        for batch in batches:
            learner.update(torch.from_numpy(batch.tokens).to(learner.device), clock)
        learner.check_finite()
        return 1e3 * (time.perf_counter() - begun) / config.steps


def _monitored(config: TrainConfig) -> tuple[float, ...]:
    """Milliseconds per step of the trainer, in total and in each of ``PARTS``."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        rows = train(config.model_copy(update={"run_dir": f"{folder}/run"})).metrics
    steps = rows["step"].diff().fillna(1)
    whole = 1e3 * config.tokens_per_step / rows["tokens_per_second"]
    columns = (whole, *(rows[f"ms_{name}"] for name in PARTS))
    return tuple(float((column * steps).sum() / steps.sum()) for column in columns)
