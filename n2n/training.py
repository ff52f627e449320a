"""The trainer: a configuration in, a run folder out."""

from __future__ import annotations

import math
import os
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from n2n import runs
from n2n.config import TrainConfig
from n2n.data import Stream
from n2n.evaluation import evaluate
from n2n.inference import check_budget, filter
from n2n.models.lm import LanguageModel
from n2n.monitor import checkpoint
from n2n.monitor.environment import describe_environment
from n2n.monitor.files import append_row, keep_rows, read_json, read_rows, write_json
from n2n.monitor.progress import Progress
from n2n.optimization import learning_rate, make_optimizer, update
from n2n.process import Process
from n2n.runs import Run

_NOT_OURS_BUT_WELCOME = ("*.ipynb", ".*", "logs")  # a run's folder may hold them before the run does


def train(config: TrainConfig) -> Run:
    """Train a model on sequences of a process, and evaluate it beside the oracle at the end.

    The batch of a step is a pure function of the configuration, so a run that is resumed in its folder goes on as if it
    had never stopped. At each logged step the loss and the exact ``oracle_nll`` are taken on the same batch.

    Args:
        config: the whole configuration. If ``run_dir`` holds a run of the same configuration, that run is resumed.

    Returns:
        The view of the run's folder.

    Raises:
        ValueError: a folder with another configuration or with files of another kind, a run that is further than
            ``steps``, a device that is not there, or a process too large for the oracle. Nothing on disk is touched.
        FloatingPointError: a loss that is no longer finite.
    """
    if not isinstance(config, TrainConfig):
        raise ValueError(f"saw {config!r}; a TrainConfig is needed, such as n2n.TrainConfig(graph='sparse')")
    check_budget(config.graph)
    device = _device(config.device)
    folder = _claim(config)
    try:
        _run(config, folder, device)
    except BaseException as error:
        state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
        done = max(checkpoint.steps(folder / "checkpoints"), default=0)
        _write_status(folder, config, state, done, error=traceback.format_exc())
        raise
    return Run(folder)


def _run(config: TrainConfig, folder: Path, device: torch.device) -> None:
    process = config.process
    model = config.build_model().to(device)
    optimizer = make_optimizer(model, config)
    done = _resume(folder, process, model, optimizer, device)
    _write_status(folder, config, "running", done)
    stream = Stream(process, config.batch_size, config.seq_len)
    meter = _Meter(config.tokens_per_step, done)
    with (
        Progress(done, config.steps, _logger(folder)) as progress,
        closing(stream.batches(done, config.steps)) as batches,
    ):
        for step, batch in enumerate(batches, start=done):
            tokens = torch.from_numpy(batch).to(device)
            rate = learning_rate(config, step)
            loss, norm = update(model, optimizer, tokens, rate, config.clip)
            last = step + 1 == config.steps
            if step % config.log_every == 0 or last:
                row = _row(step, loss, norm, rate, filter(process, tokens).nll, meter.speed(step + 1))
                append_row(folder / "metrics.jsonl", row)
                progress.update(step + 1, _shown(row))
            if (step + 1) % config.checkpoint_every == 0 or last:
                _save(folder, step + 1, process, model, optimizer)
                _write_status(folder, config, "running", step + 1)
    _evaluate_once(config, folder, model)
    _write_status(folder, config, "done", config.steps)


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device: saw 'cuda', but torch sees no CUDA GPU here (allowed: auto, cpu)")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _claim(config: TrainConfig) -> Path:
    """The run's folder, made if need be and holding the configuration; refused before anything in it is touched."""
    if not config.run_dir:
        folder = runs.new_folder(f"{config.graph.name or 'graph'}-{config.arch}-s{config.seed}")
    else:
        folder = Path(config.run_dir).expanduser().absolute()
        _refuse_other(folder, config)
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config.model_dump(mode="json"))
    return folder


def _refuse_other(folder: Path, config: TrainConfig) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"run_dir: saw {folder}, a file; a folder is needed")
    if not (folder / "config.json").exists():
        strange = [path.name for path in folder.glob("*") if not any(path.match(p) for p in _NOT_OURS_BUT_WELCOME)]
        if strange:
            raise ValueError(f"run_dir: {folder} holds {strange[0]!r} but no run; name a new or an empty folder")
        return
    differences = Run(folder).config.differences(config)
    if differences:
        told = "".join(f"\n  - {name}: {there!r} there, {here!r} now" for name, (there, here) in differences.items())
        raise ValueError(f"run_dir: {folder} holds a run of another configuration:{told}\nName another folder.")
    done = max(checkpoint.steps(folder / "checkpoints"), default=0)
    if done > config.steps:
        raise ValueError(
            f"steps: saw {config.steps}; the run in {folder} has made {done}, so at least {done} are needed"
        )


def _resume(
    folder: Path, process: Process, model: LanguageModel, optimizer: torch.optim.Optimizer, device: torch.device
) -> int:
    """Load the last checkpoint, drop the metrics that lie after it, and return the steps made."""
    write_json(folder / "environment.json", describe_environment(Path(__file__).parent))
    latest = checkpoint.load_latest(folder / "checkpoints", str(device))
    done, state = latest or (0, None)
    if state:
        if state["process"] != process.fingerprint:
            raise ValueError(f"{folder}: its kernels were drawn otherwise; numpy's generators have changed since")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    keep_rows(folder / "metrics.jsonl", lambda row: row["step"] < done)
    return done


def _save(folder: Path, step: int, process: Process, model: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "process": process.fingerprint}
    checkpoint.save(folder / "checkpoints", step, state)


class _Meter:
    """Tokens a second since it was last asked."""

    def __init__(self, tokens_per_step: int, done: int) -> None:
        self._per_step, self._done, self._at = tokens_per_step, done, time.perf_counter()

    def speed(self, done: int) -> float:
        now = time.perf_counter()
        speed = (done - self._done) * self._per_step / (now - self._at)
        self._done, self._at = done, now
        return speed


def _row(step: int, loss: Tensor, norm: Tensor, rate: float, oracle: Tensor, speed: float) -> dict[str, float]:
    loss, oracle_nll = loss.item(), oracle.mean().item()
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} at step {step}; a lower lr may help (it was {rate:g} there)")
    return {
        "step": step,
        "loss": loss,
        "oracle_nll": oracle_nll,
        "excess_loss": loss - oracle_nll,
        "lr": rate,
        "grad_norm": norm.item(),
        "tokens_per_second": speed,
    }


def _shown(row: dict[str, float]) -> dict[str, str]:
    return {
        "loss": f"{row['loss']:.3f}",
        "oracle": f"{row['oracle_nll']:.3f}",
        "excess": f"{row['excess_loss']:.3f}",
        "tokens/s": f"{row['tokens_per_second']:,.0f}",
    }


def _evaluate_once(config: TrainConfig, folder: Path, model: LanguageModel) -> None:
    path = folder / "evals.jsonl"
    asked = {"step": config.steps, "sequences": config.eval_sequences}
    if any(asked.items() <= row.items() for row in read_rows(path)):
        return
    found = evaluate(
        model,
        config.process,
        sequences=config.eval_sequences,
        length=config.seq_len,
        train_sequences=config.steps * config.batch_size,
    )
    append_row(path, {"step": config.steps, **asdict(found)})


def _logger(folder: Path) -> Callable[[str], None]:
    path = folder / "logs" / "rank0.log"
    path.parent.mkdir(exist_ok=True)

    def log(line: str) -> None:
        with open(path, "a") as file:
            file.write(f"{_now()}  {line}\n")

    return log


def _write_status(folder: Path, config: TrainConfig, state: str, step: int, error: str | None = None) -> None:
    status: dict[str, Any] = {"state": state, "step": step, "steps": config.steps}
    status |= {"host": socket.gethostname(), "pid": os.getpid(), "job_id": os.environ.get("SLURM_JOB_ID")}
    write_json(folder / "status.json", {**status, "updated_at": _now(), "error": error})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
