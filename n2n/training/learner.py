"""A model in training: what a step changes, and what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from n2n.config.train_config import TrainConfig
from n2n.data import Batches, Epochs, Stream
from n2n.data.batches import micro_batch_size
from n2n.data.sidecar import same_kernels
from n2n.models.lm import LanguageModel
from n2n.models.sizes import forward_flops
from n2n.monitor import checkpoint
from n2n.monitor.journal import Marks
from n2n.monitor.profiler import Clock
from n2n.training.optimization import Objective, learning_rate, make_optimizer, step_seed, update
from n2n.training.ranks import Ranks

REHEARSED = 2e9  # floating-point operations of a rehearsed forward pass, at most, unless one sequence has more
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Learner:
    """A model, its optimizer, and how many updates were made.

    Args:
        config: of the run.
        device: where it learns.
        ranks: who else does.

    Raises:
        ValueError: a batch that ranks or accumulation do not divide, or a dataset that is not there, does not fit or is
            damaged. Nothing on disk is touched.
    """

    def __init__(self, config: TrainConfig, device: torch.device, ranks: Ranks) -> None:
        self.config, self.device, self.ranks = config, device, ranks
        self.done = self.saved = 0  # updates made, and those of the last checkpoint
        self.batches = Batches(open_data(config), config.batch_size, ranks.rank, ranks.count)
        self.micro_batch_size = micro_batch_size(config.batch_size, ranks.count, config.accumulate)
        self.batches.batch(0)  # draws the kernels; a batch that fits in memory
        model = config.build_model().to(device)
        if config.compile == "on" or (config.compile == "auto" and device.type == "cuda"):
            model.compile()
        self.model: LanguageModel = model
        self.objective = ranks.share(Objective(model), config.parallel, device)
        self.optimizer = make_optimizer(model, config)
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []

    def update(self, tokens: Tensor, clock: Clock) -> tuple[Tensor, Tensor, float]:
        """One step on this rank's ``tokens``: its mean loss before the step, the gradient's norm, the learning rate."""
        config, step = self.config, self.done
        rate = learning_rate(config, step)
        torch.manual_seed(step_seed(config.seed, step, self.ranks.rank))
        parts = tokens.chunk(config.accumulate)
        loss, norm = update(self.objective, self.optimizer, parts, rate, config.clip, config.precision, clock)
        self._unchecked.append((step, loss, norm))
        self.done = step + 1
        return loss, norm, rate

    def rehearse(self) -> None:
        """Forward and backward of one micro-batch, or of a part that is quickly done; nothing is changed by it."""
        config = self.config
        mixed = torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
        with torch.random.fork_rng(devices=[]):  # dropout draws
            flops = forward_flops(self.model, config.seq_len - 1)["Global"]
            rows = max(1, min(self.micro_batch_size, int(REHEARSED // flops)))
            tokens = torch.from_numpy(self.batches.batch(0)[:rows]).to(self.device)
            with mixed:
                loss = self.model.nll(tokens).mean()
            torch.autograd.grad(loss, [one for one in self.model.parameters() if one.requires_grad], allow_unused=True)

    def check_finite(self) -> None:
        """Look at every step since the last look; a GPU is waited for once, not at every step.

        Raises:
            FloatingPointError: the first step whose loss or gradient was not finite, and what to try.
        """
        if not self._unchecked:
            return
        found = torch.stack([torch.stack([loss.float(), norm.float()]) for _, loss, norm in self._unchecked])
        for (step, _, _), (loss, norm) in zip(self._unchecked, found.tolist(), strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                rate = learning_rate(self.config, step)
                raise FloatingPointError(
                    f"at step {step} the loss is {loss:.4g} and its gradient has norm {norm:.4g}, at a learning rate "
                    f"of {rate:.4g}; a lower lr, a longer warmup or a smaller clip may help. {self.last_saved}"
                )
        self._unchecked.clear()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, whole on the CPU; every rank has to ask, the weights of shards come to the first."""
        weights, moments = get_state_dict(self.objective, self.optimizer, options=WHOLE)
        about = {"kernels": self.config.process.checksums, "data": self._data_hash()}
        return {
            "model": {name.removeprefix("model."): value for name, value in weights.items()},
            "optimizer": moments,
        } | about

    def whole_model(self) -> LanguageModel | None:
        """The model with all its weights in one place, for the first rank alone; every rank has to ask."""
        if self.ranks.count == 1 or self.config.parallel == "ddp":
            return self.model if self.ranks.first else None
        weights = self.state()["model"]
        if not self.ranks.first:
            return None
        model = self.config.build_model().to(self.device)
        model.load_state_dict(weights)
        return model

    def load(self, done: int, state: Mapping[str, Any], folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: as ``refuse_other``.
        """
        self.refuse_other(state, folder)
        set_state_dict(
            self.objective,
            self.optimizer,
            model_state_dict={f"model.{name}": value for name, value in state["model"].items()},
            optim_state_dict=state["optimizer"],
            options=StateDictOptions(full_state_dict=True),
        )
        self.done = self.saved = done

    def refuse_other(self, state: Mapping[str, Any], folder: Path) -> None:
        """Refuse the checkpoint of another run.

        Raises:
            ValueError: it is incomplete, was trained on other kernels or on another dataset, or is of another model.
        """
        if lacking := sorted({"model", "optimizer", "kernels", "data"} - state.keys()):
            raise ValueError(f"run_dir: the checkpoint in {folder} lacks {', '.join(lacking)}")
        if not same_kernels(self.config.process.checksums, state["kernels"]):
            raise ValueError(f"run_dir: the kernels of {folder} are not those drawn here; numpy may draw otherwise now")
        if state["data"] != self._data_hash():
            raise ValueError(
                f"data: {folder} was trained on a dataset of SHA-256 {state['data']}, not {self._data_hash()}"
            )
        self._refuse_other_model(state["model"], folder)

    def save(self, folder: Path, marks: Marks) -> None:
        """Write a checkpoint of weights that are finite; every rank has to call, the first one writes.

        Args:
            folder: of the checkpoints.
            marks: how far the run's files of rows go.
        """
        self.check_finite()
        state = self.state()
        if not all(torch.isfinite(value).all() for value in state["model"].values()):
            raise FloatingPointError(
                f"after step {self.done - 1} the weights are not finite; a lower lr may help. {self.last_saved}"
            )
        if self.ranks.first:
            checkpoint.save(folder, self.done, state, self.config.identity, marks)
            checkpoint.prune(folder, self.config.keep_last, self.config.keep_every)
        self.saved = self.done

    def _refuse_other_model(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        here = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        there = {name: tuple(value.shape) for name, value in weights.items()}
        wrong = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
        if wrong:
            raise ValueError(
                f"run_dir: the checkpoint in {folder} is of another model than {self.config.arch}: {wrong[0]} is "
                f"{there.get(wrong[0], 'not there')} there, {here.get(wrong[0], 'not there')} here"
            )

    @property
    def last_saved(self) -> str:
        """The step of the last checkpoint, for people."""
        return f"The last checkpoint is that of step {self.saved}" if self.saved else "There is no checkpoint yet"

    def _data_hash(self) -> str | None:
        source = self.batches.source
        return source.store.sha256 if isinstance(source, Epochs) else None


def open_data(config: TrainConfig) -> Stream | Epochs:
    """The sequences that a configuration asks for.

    Raises:
        ValueError: a dataset that is not there, whose process, split, length or number does not fit, or whose tokens
            are not those that were generated: all of it is read, at some 1 GB a second.
    """
    if config.data == "online":
        return Stream(config.process, config.seq_len)
    source = config.epochs()
    source.store.check_drawn_from(config.process)
    source.store.verify()
    return source
