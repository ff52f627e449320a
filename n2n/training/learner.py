"""A model in training: the update of a step and the content of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from n2n.config.train_config import TrainConfig
from n2n.data import Batches
from n2n.data.sidecar import same_kernels
from n2n.models.lm import LanguageModel
from n2n.models.sizes import forward_flops
from n2n.monitor import checkpoint
from n2n.monitor.checkpoint import Checkpoint
from n2n.monitor.journal import Marks
from n2n.monitor.profiler import Clock
from n2n.oracle.told import told_nll
from n2n.runs.folder import RunFolder
from n2n.training import state_dicts
from n2n.training.batches import dataset_hash, open_batches, rehearsal
from n2n.training.optimization import Objective, learning_rate, make_optimizer, step_seed, update
from n2n.training.process_group import ProcessGroup


class Learner:
    """A model, its optimizer, and the number of updates made.

    Args:
        config: configuration of the run.
        device: where the model learns.
        group: the processes that train it.

    Attributes:
        done: updates made.
        saved: updates made by the last checkpoint.
        batches: batches of this process.
        forward_flops: floating-point operations of a forward pass over one sequence; 0 except in the first process,
            which reports them.

    Raises:
        ValueError: as ``open_batches``. Nothing is written.
    """

    def __init__(self, config: TrainConfig, device: torch.device, group: ProcessGroup) -> None:
        self.config, self.device, self.group = config, device, group
        self.done = self.saved = 0
        self.batches = open_batches(config, group)
        model = config.build_model()
        # On the CPU, before the model is compiled or sharded.
        self.forward_flops = _forward_flops(model, config) if group.is_first else 0.0
        model.to(device)
        if config.compile == "on" or (config.compile == "auto" and device.type == "cuda"):
            model.compile()
        self.model: LanguageModel = model
        self.objective = group.parallelize(Objective(model), config.parallel, device)
        self.optimizer = make_optimizer(model, config)
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []

    def update(self, tokens: Tensor, clock: Clock) -> tuple[Tensor, Tensor, float]:
        """One step on this process's ``tokens``: mean loss before the step, norm of the gradient, learning rate."""
        config, step = self.config, self.done
        rate = learning_rate(config, step)
        self._seed_dropout(step_seed(config.seed, step, self.group.rank))
        micro_batches = tokens.chunk(config.accumulate)
        loss, norm = update(self.objective, self.optimizer, micro_batches, rate, config.clip, config.precision, clock)
        self._unchecked.append((step, loss, norm))
        self.done = step + 1
        return loss, norm, rate

    def _seed_dropout(self, seed: int) -> None:
        """Seed the model's device as ``torch.manual_seed`` would, which takes 0.16 ms, because it seeds all devices."""
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)

    def oracle_nll(self, tokens: Tensor, sequences: np.ndarray) -> Tensor:
        """The mean loss of the oracle that knows all kernels, nats per token, float64.

        Args:
            tokens: this process's tokens.
            sequences: the index of each sequence, ``(batch,)``; it selects the kernels of context nodes.
        """
        return told_nll(self.config.process, tokens, sequences).mean()

    def rehearsal(self) -> Callable[[], None]:
        """See ``n2n.training.batches.rehearsal``."""
        return rehearsal(self.model, self.batches, self.config)

    def check_finite(self) -> None:
        """Check every step since the last check, so that a GPU is not synchronised at every step.

        Raises:
            FloatingPointError: for the first step whose loss or gradient is not finite, with advice.
        """
        if not self._unchecked:
            return
        values = torch.stack([torch.stack([loss.float(), norm.float()]) for _, loss, norm in self._unchecked])
        for (step, _, _), (loss, norm) in zip(self._unchecked, values.tolist(), strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                rate = learning_rate(self.config, step)
                raise FloatingPointError(
                    f"at step {step} the loss is {loss:.4g} and its gradient has norm {norm:.4g}, at a learning rate "
                    f"of {rate:.4g}; a lower lr, a longer warmup or a smaller clip may help. {self.last_saved}"
                )
        self._unchecked.clear()

    def weights(self) -> dict[str, Tensor]:
        """All weights on the CPU. Every process has to call; the first one receives sharded weights."""
        weights = state_dicts.gather_weights(self.objective, self.group)
        return {name.removeprefix("model."): value for name, value in weights.items()}

    def state(self) -> dict[str, Any]:
        """The content of a checkpoint, on the CPU. Every process has to call."""
        return {
            "model": self.weights(),
            "optimizer": state_dicts.gather_optimizer(self.objective, self.optimizer, self.group),
            "kernels": self.config.process.checksums,
            "data": dataset_hash(self.batches),
        }

    def whole_model(self) -> LanguageModel | None:
        """The model with all its weights, in the first process; None in others. Every process has to call."""
        if self.group.size == 1 or self.config.parallel == "ddp":
            return self.model if self.group.is_first else None
        weights = self.weights()
        if not self.group.is_first:
            return None
        model = self.config.build_model().to(self.device)
        model.load_state_dict(weights)
        return model

    def load(self, saved: Checkpoint, folder: RunFolder) -> None:
        """Resume from a checkpoint.

        Raises:
            ValueError: as ``check_checkpoint``.
        """
        check_checkpoint(saved, self.config, self.batches, folder, self.model)
        weights = {f"model.{name}": value for name, value in saved.state["model"].items()}
        state_dicts.load(self.objective, self.optimizer, self.group, weights, saved.state["optimizer"])
        self.done = self.saved = saved.step

    def save(self, folder: RunFolder, marks: Marks) -> None:
        """Write a checkpoint, if the weights are finite. Every process has to call; the first one writes.

        Args:
            folder: folder of the run.
            marks: lengths of the run's files of rows.

        Raises:
            FloatingPointError: if a loss, a gradient or a weight is not finite.
            OSError: as ``checkpoint.save``.
        """
        self.check_finite()
        state = self.state()
        if not all(torch.isfinite(value).all() for value in state["model"].values()):
            raise FloatingPointError(
                f"after step {self.done - 1} the weights are not finite; a lower lr may help. {self.last_saved}"
            )
        if self.group.is_first:
            checkpoint.save(folder.checkpoints_path, self.done, state, self.config.identity, marks)
        self.saved = self.done

    @property
    def last_saved(self) -> str:
        """A sentence about the last checkpoint, for messages."""
        return f"The last checkpoint is that of step {self.saved}" if self.saved else "There is no checkpoint yet"


def _forward_flops(model: LanguageModel, config: TrainConfig) -> float:
    """Floating-point operations of a forward pass over one sequence; fused kernels would hide theirs."""
    if config.kernels == "fused":
        model = config.build_model("torch")
    with torch.random.fork_rng(devices=[]):  # dropout draws random numbers
        return forward_flops(model, config.seq_len - 1)["Global"]


def check_checkpoint(
    saved: Checkpoint, config: TrainConfig, batches: Batches, folder: RunFolder, model: LanguageModel | None = None
) -> None:
    """Check that a checkpoint belongs to a run.

    Args:
        saved: the checkpoint.
        config: configuration of the run.
        batches: batches of the run.
        folder: folder of the run, for messages.
        model: model of the run, on any device. None builds it without its weights in memory, for which torch imports
            its compiler.

    Raises:
        ValueError: if the checkpoint is incomplete, or belongs to other kernels, another dataset or another model.
    """
    state = saved.state
    if lacking := sorted({"model", "optimizer", "kernels", "data"} - state.keys()):
        raise ValueError(f"run_dir: the checkpoint in {folder.path} lacks {', '.join(lacking)}")
    if not same_kernels(config.process.checksums, state["kernels"]):
        raise ValueError(
            f"run_dir: the kernels of {folder.path} are not those drawn here; numpy may draw otherwise now"
        )
    if state["data"] != (own := dataset_hash(batches)):
        raise ValueError(f"data: {folder.path} was trained on a dataset of SHA-256 {state['data']}, not {own}")
    if model is None:
        with torch.device("meta"):
            model = config.build_model("torch")
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in state["model"].items()}
    wrong = sorted(name for name in expected.keys() | saved.keys() if expected.get(name) != saved.get(name))
    if wrong:
        raise ValueError(
            f"run_dir: the checkpoint in {folder.path} is of another model than {config.arch}: {wrong[0]} is "
            f"{saved.get(wrong[0], 'not there')} there, {expected.get(wrong[0], 'not there')} here"
        )
