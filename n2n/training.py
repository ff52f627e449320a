"""The trainer: a configuration in, a run folder out."""

from __future__ import annotations

import math
import time
import traceback
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from n2n.config import TrainConfig
from n2n.data import Stream
from n2n.evaluation import evaluate
from n2n.inference import check_budget, filter
from n2n.models.lm import LanguageModel
from n2n.monitor import checkpoint
from n2n.monitor.environment import describe_environment
from n2n.monitor.files import append_row, keep_rows, read_rows, write_json
from n2n.monitor.progress import Progress, announce
from n2n.optimization import learning_rate, make_optimizer, update
from n2n.process import Process
from n2n.recording import claim, line_logger, write_status
from n2n.runs import Run


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
    folder = claim(config)
    try:
        _run(config, folder, device)
    except BaseException as error:
        state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
        done = max(checkpoint.steps(folder / "checkpoints"), default=0)
        write_status(folder, config, state, done, error=traceback.format_exc())
        raise
    return Run(folder)


def _run(config: TrainConfig, folder: Path, device: torch.device) -> None:
    process = config.process
    model = config.build_model().to(device)
    optimizer = make_optimizer(model, config)
    done = _resume(folder, process, model, optimizer, device)
    write_status(folder, config, "running", done)
    log = line_logger(folder)
    if done:
        announce(f"resumed at step {done} of {config.steps}", log)
    stream = Stream(process, config.batch_size, config.seq_len)
    meter = _Meter(config.tokens_per_step, done)
    with closing(stream.batches(done, config.steps)) as batches, Progress(done, config.steps, log) as shown:
        for step, batch in enumerate(batches, start=done):
            tokens = torch.from_numpy(batch).to(device)
            rate = learning_rate(config, step)
            loss, norm = update(model, optimizer, tokens, rate, config.clip)
            last = step + 1 == config.steps
            if step % config.log_every == 0 or last:
                _refuse_divergence(step, rate, loss, norm)
                row = _row(step, loss, norm, rate, filter(process, tokens).nll, meter.speed(step + 1))
                append_row(folder / "metrics.jsonl", row)
                shown.update(step + 1, _shown(row))
            if (step + 1) % config.checkpoint_every == 0 or last:
                _refuse_divergence(step, rate, loss, norm)
                _save(folder, step + 1, process, model, optimizer)
                write_status(folder, config, "running", step + 1)
    _evaluate_once(config, folder, model)
    write_status(folder, config, "done", config.steps)


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device: saw 'cuda', but torch sees no CUDA GPU here (allowed: auto, cpu)")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _resume(
    folder: Path, process: Process, model: LanguageModel, optimizer: torch.optim.Optimizer, device: torch.device
) -> int:
    """Load the last checkpoint, drop the metrics that lie after it, and return the steps made."""
    write_json(folder / "environment.json", describe_environment(Path(__file__).parent))
    latest = checkpoint.load_latest(folder / "checkpoints", str(device))
    done, state = latest or (0, None)
    if state:
        if not all(
            math.isclose(process.checksums[name], value, rel_tol=1e-9) for name, value in state["kernels"].items()
        ):
            raise ValueError(f"{folder}: its kernels were drawn otherwise; numpy's generators have changed since")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    keep_rows(folder / "metrics.jsonl", lambda row: row["step"] < done)
    return done


def _save(folder: Path, step: int, process: Process, model: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "kernels": process.checksums}
    checkpoint.save(folder / "checkpoints", step, state)


def _refuse_divergence(step: int, rate: float, loss: Tensor, norm: Tensor) -> None:
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"at step {step} the loss is {loss:.4g}, its gradient has norm {norm:.4g}, and the learning rate "
            f"is {rate:.4g}; a lower one may help"
        )


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
