"""The learning rate, the optimizer and the update of a training step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from n2n.config.train_config import TrainConfig
from n2n.models.lm import LanguageModel
from n2n.monitor.profiler import Clock
from n2n.training.process_group import synchronized_at_last
from n2n.utils.philox import derive_key

BETAS = (0.9, 0.98)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of a step: a linear rise over the warmup, then as ``schedule`` says.

    "cosine" decays to ``final_lr`` of the peak (Loshchilov and Hutter, "SGDR", arXiv:1608.03983, eq. 5, without
    restarts). "constant" stays at the peak. "wsd" (warmup, stable, decay) stays at the peak and decays linearly to
    ``final_lr`` of it over the last ``decay`` of the steps (Hu et al., "MiniCPM", arXiv:2404.06395, section 4; the
    linear form is that of Haegele et al., arXiv:2405.18392).
    """
    warmup_steps = config.warmup * config.steps
    if step < warmup_steps:
        return config.lr * (step + 1) / (warmup_steps + 1)
    if config.schedule == "constant":
        left = 1.0
    elif config.schedule == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(config.steps - warmup_steps, 1)))
    else:
        decay_steps = min(config.decay * config.steps, config.steps - warmup_steps)
        left = min(1.0, (config.steps - step) / decay_steps) if decay_steps else 1.0
    return config.lr * (config.final_lr + (1 - config.final_lr) * left)


class Objective(nn.Module):
    """A model's mean loss as a module, which DDP and FSDP2 can wrap.

    Args:
        model: a model with a method ``nll``.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mean of ``-log p(x_t | x_<t)`` over ``tokens (batch, T)``, nats per token."""
        return self.model.nll(tokens).mean()


def update(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[Tensor],
    rate: float,
    clip: float,
    precision: str = "float32",
    clock: Clock | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimizer step on a batch; gradients are accumulated over micro-batches of equal size.

    Args:
        objective: an ``Objective``, parallelised or not.
        optimizer: optimizer of its parameters.
        micro_batches: tokens ``(n, T)`` each.
        rate: learning rate.
        clip: largest norm of the gradient.
        precision: ``"float32"``, or ``"bfloat16"`` autocast.
        clock: measures forward, backward and optimizer.

    Returns:
        The mean loss before the step, nats per token, and the norm of the gradient before clipping.
    """
    clock = clock or Clock(micro_batches[0].device)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    losses = []
    for i, tokens in enumerate(micro_batches):
        with synchronized_at_last(objective, last=i == len(micro_batches) - 1):
            with clock("forward", on_device=True), autocast(tokens.device, precision):
                loss = objective(tokens) / len(micro_batches)
            with clock("backward", on_device=True):
                loss.backward()
        losses.append(loss.detach())
    with clock("optimizer", on_device=True):
        norm = nn.utils.clip_grad_norm_(objective.parameters(), clip)
        optimizer.step()
    return torch.stack(losses).sum(), _unsharded(norm)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context that computes in the precision of a run."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _unsharded(value: Tensor) -> Tensor:
    """A norm over weights that may be sharded between processes."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of a step's dropout, so that a resumed run drops the same units as an uninterrupted one."""
    low, high = derive_key("dropout", seed, step, *([rank] if rank else []))
    return int(high) << 32 | int(low)


def _eager(name: str) -> Callable:
    """A method of torch's AdamW without the wrappers that keep torch's compiler out of it."""
    return inspect.unwrap(getattr(torch.optim.AdamW, name))


class _AdamW(torch.optim.AdamW):
    """torch's AdamW without its import of torch's compiler.

    torch imports its compiler only to exclude it from the update. The import takes longer than a small run needs to
    start, and no run compiles the update.
    """

    add_param_group = _eager("add_param_group")
    zero_grad = _eager("zero_grad")
    state_dict = _eager("state_dict")
    load_state_dict = _eager("load_state_dict")
    step = torch.no_grad()(_eager("step"))


def make_optimizer(model: LanguageModel, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with weight decay only on matrices. Source: Loshchilov and Hutter, arXiv:1711.05101."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return _AdamW(groups, lr=config.lr, betas=BETAS, fused=True)
