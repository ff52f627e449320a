"""The trainer: a configuration in, a run folder out."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from n2n.checks import check_budget, check_fixed
from n2n.config import TrainConfig
from n2n.data import Stream
from n2n.evaluation import evaluate
from n2n.inference import filter
from n2n.memory import keep_freed_memory
from n2n.models.lm import LanguageModel
from n2n.monitor import checkpoint
from n2n.monitor.files import append_row, keep_rows, read_rows
from n2n.monitor.progress import Progress, announce
from n2n.optimization import learning_rate, make_optimizer, step_seed, update
from n2n.process import Process
from n2n.recording import claim, existing_folder, line_logger, write_status
from n2n.runs import Run


@dataclass
class _Learner:
    """A model in training: what a checkpoint holds."""

    process: Process
    model: LanguageModel
    optimizer: torch.optim.Optimizer
    done: int  # updates made

    def save(self, folder: Path) -> None:
        if not all(torch.isfinite(parameter).all() for parameter in self.model.parameters()):
            raise FloatingPointError(f"after step {self.done} the weights are not finite; a lower lr may help")
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        checkpoint.save(folder / "checkpoints", self.done, {**state, "kernels": self.process.checksums})


def train(config: TrainConfig) -> Run:
    """Train a model on sequences of a process, and evaluate it beside the oracle at the end.

    The batch of a step is a pure function of the configuration, so a run that is resumed in its folder goes on as if it
    had never stopped; with other ``steps`` it goes on along the new schedule of the learning rate. At each logged step
    the loss and the exact ``oracle_nll`` are taken on the same batch, before the update.

    Args:
        config: the whole configuration. If ``run_dir`` holds a run of the same configuration, that run is resumed.

    Returns:
        The view of the run's folder.

    Raises:
        ValueError: a folder with another configuration or with files of another kind, a run that is further than
            ``steps``, a device that is not there, fused kernels on a CPU, or a process too large for the oracle.
            Nothing on disk is touched.
        FloatingPointError: a loss or weights that are no longer finite; they are not saved.
    """
    if not isinstance(config, TrainConfig):
        raise ValueError(f"saw {config!r}; a TrainConfig is needed, such as n2n.TrainConfig(graph='sparse')")
    check_fixed(config.graph)
    check_budget(config.graph)
    keep_freed_memory()
    folder = existing_folder(config)
    learner = _prepare(config, folder, _device(config.device))
    folder = claim(folder, config)
    try:
        _run(config, folder, learner)
    except BaseException as error:
        state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
        saved = max(checkpoint.steps(folder / "checkpoints"), default=0)
        write_status(folder, config, state, saved, error=traceback.format_exc())
        raise
    write_status(folder, config, "done", config.steps)
    return Run(folder)


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device: saw 'cuda', but torch sees no CUDA GPU here (allowed: auto, cpu)")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _prepare(config: TrainConfig, folder: Path | None, device: torch.device) -> _Learner:
    """The learner as the folder's last checkpoint has it, or as it begins; all that can be refused is refused here."""
    if config.kernels == "fused" and device.type != "cuda":
        raise ValueError(f"kernels: saw 'fused', but the run is on {device} (allowed there: auto, torch)")
    model = config.build_model().to(device)
    if config.compile == "on" or (config.compile == "auto" and device.type == "cuda"):
        model.compile()
    learner = _Learner(config.process, model, make_optimizer(model, config), done=0)
    Stream(config.process, config.batch_size, config.seq_len).batch(0)  # draws the kernels; a batch that fits in memory
    latest = checkpoint.load_latest(folder / "checkpoints", str(device)) if folder else None
    if latest:
        learner.done, state = latest
        here = config.process.checksums
        if not all(math.isclose(here[name], there, rel_tol=1e-9) for name, there in state["kernels"].items()):
            raise ValueError(f"run_dir: the kernels of {folder} are not those drawn here; numpy may draw otherwise now")
        model.load_state_dict(state["model"])
        learner.optimizer.load_state_dict(state["optimizer"])
    return learner


def _run(config: TrainConfig, folder: Path, learner: _Learner) -> None:
    log = line_logger(folder)
    _begin(config, folder, learner.done, log)
    stream = Stream(learner.process, config.batch_size, config.seq_len)
    device = next(learner.model.parameters()).device
    meter = _Meter(config.tokens_per_step, learner.done)
    batches = stream.batches(learner.done, config.steps)
    with _own_random_numbers(device), closing(batches), Progress(learner.done, config.steps, log) as shown:
        for step, batch in enumerate(batches, start=learner.done):
            tokens = torch.from_numpy(batch).to(device)
            rate = learning_rate(config, step)
            torch.manual_seed(step_seed(config.seed, step))
            loss, norm = update(learner.model, learner.optimizer, tokens, rate, config.clip, config.precision)
            learner.done = step + 1
            last = learner.done == config.steps
            if step % config.log_every == 0 or last:
                row = _row(step, loss, norm, rate, filter(learner.process, tokens).nll, meter.speed(learner.done))
                append_row(folder / "metrics.jsonl", row)
                shown.update(learner.done, _shown(row))
            if learner.done % config.checkpoint_every == 0 or last:
                learner.save(folder)
                write_status(folder, config, "running", learner.done)
    _evaluate_once(config, folder, learner.model)


def _begin(config: TrainConfig, folder: Path, done: int, log: Callable[[str], None]) -> None:
    """Drop the metrics that lie after the last checkpoint, and what a crash left half-written."""
    keep_rows(folder / "metrics.jsonl", lambda row: row["step"] < done)
    keep_rows(folder / "evals.jsonl", lambda row: row["step"] <= done)
    write_status(folder, config, "running", done)
    if done:
        announce(f"resumed at step {done} of {config.steps}", log)


def _own_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """Torch's global generators are after it as they were before."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])


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
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"at step {step} the loss is {loss:.4g}, its gradient has norm {norm:.4g}, and the learning rate "
            f"is {rate:.4g}; a lower one may help"
        )
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
    if asked.items() <= (read_rows(path) or [{}])[-1].items():
        return
    found = evaluate(
        model,
        config.process,
        sequences=config.eval_sequences,
        length=config.seq_len,
        train_sequences=config.steps * config.batch_size,
    )
    if not math.isfinite(found.cross_entropy):
        raise FloatingPointError(f"the held-out loss is {found.cross_entropy}; a lower lr may help")
    append_row(path, {"step": config.steps, **asdict(found)})
