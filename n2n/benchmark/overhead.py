"""What a run costs beyond its updates: rows, the oracle, checkpoints, the wait for data."""

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
from n2n.training.ranks import Ranks
from n2n.training.trainer import train

PARTS = ("data", "forward", "backward", "optimizer", "oracle", "monitor", "checkpoint")
REPEATS = 3  # at most, as each takes seconds


def overhead_table(settings: Settings) -> pd.DataFrame:
    """The trainer at its defaults beside a bare loop of the same updates on the same batches, in turns.

    Returns:
        a row for each part, medians over repeats: milliseconds a step, and the share of the trainer's time.
        ``bare loop`` is timed apart from the trainer, whose own account the rest is.
    """
    config = TrainConfig(graph="sparse", device=settings.device, eval_sequences=2)
    config = config.model_copy(update={"steps": config.checkpoint_every + 1})  # a row after the checkpoint counts it
    taken = [(_bare(config), *_monitored(config)) for _ in range(min(REPEATS, settings.repeats))]
    found = pd.DataFrame(taken, columns=["bare loop", "trainer", *PARTS]).median()
    return pd.DataFrame({"ms a step": found, "share": found / found["trainer"]}).rename_axis("part")


def _bare(config: TrainConfig) -> float:
    """Milliseconds a step of nothing but batches and updates."""
    learner = Learner(config, torch.device(config.device), Ranks())
    clock = Clock(learner.device)
    with closing(learner.batches.ahead(0, config.steps)) as batches:
        begun = time.perf_counter()
        for tokens in batches:
            learner.update(torch.from_numpy(tokens).to(learner.device), clock)
        learner.check_finite()
        return 1e3 * (time.perf_counter() - begun) / config.steps


def _monitored(config: TrainConfig) -> tuple[float, ...]:
    """Milliseconds a step of the trainer: in all, and in each of ``PARTS``."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        rows = train(config.model_copy(update={"run_dir": f"{folder}/run"})).metrics
    steps = rows["step"].diff().fillna(1)
    whole = 1e3 * config.tokens_per_step / rows["tokens_per_second"]
    columns = (whole, *(rows[f"ms_{name}"] for name in PARTS))
    return tuple(float((column * steps).sum() / steps.sum()) for column in columns)
