"""One step of training: the rate, the optimizer, the update."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from n2n.config.train_config import TrainConfig
from n2n.models.lm import LanguageModel
from n2n.monitor.profiler import Clock
from n2n.training.ranks import shared_at_the_end
from n2n.utils.philox import derive_key

BETAS = (0.9, 0.98)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of a step: a linear rise over the warmup, then as ``schedule`` says.

    "cosine" goes down to ``final_lr`` of the peak (Loshchilov and Hutter, "SGDR", arXiv:1608.03983, eq. 5, without
    restarts), "constant" stays, and "wsd" (warmup, stable, decay) stays and goes down to ``final_lr`` of the peak on a
    line over the last ``decay`` of the steps (Hu et al., "MiniCPM", arXiv:2404.06395, section 4; the line is that of
    Haegele et al., arXiv:2405.18392).
    """
    rising = config.warmup * config.steps
    if step < rising:
        return config.lr * (step + 1) / (rising + 1)
    if config.schedule == "constant":
        left = 1.0
    elif config.schedule == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * (step - rising) / max(config.steps - rising, 1)))
    else:
        falling = min(config.decay * config.steps, config.steps - rising)
        left = min(1.0, (config.steps - step) / falling) if falling else 1.0
    return config.lr * (config.final_lr + (1 - config.final_lr) * left)


class Objective(nn.Module):
    """A model's mean loss as a module, which is what DDP and FSDP2 take hold of.

    Args:
        model: with a method ``nll``.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens (batch, T)`` to the mean of ``-log p(x_t | x_<t)``, nats per token."""
        return self.model.nll(tokens).mean()


def update(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[Tensor],
    rate: float,
    clip: float,
    precision: str = "float32",
    clock: Clock | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of descent on a batch given in parts of equal size, whose gradients are accumulated.

    Args:
        objective: an ``Objective``, maybe shared between ranks.
        optimizer: of its parameters.
        parts: tokens ``(n, T)`` each.
        rate: learning rate.
        clip: largest norm of the gradient.
        precision: ``"float32"``, or ``"bfloat16"`` autocast.
        clock: counts the time of forward, backward and optimizer.

    Returns:
        The mean loss before the step, nats per token, and the gradient's norm before it was clipped.
    """
    clock = clock or Clock(parts[0].device)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    losses = []
    for i, tokens in enumerate(parts):
        with shared_at_the_end(objective, last=i == len(parts) - 1):
            with (
                clock("forward", on_device=True),
                torch.autocast(tokens.device.type, torch.bfloat16, enabled=precision == "bfloat16"),
            ):
                loss = objective(tokens) / len(parts)
            with clock("backward", on_device=True):
                loss.backward()
        losses.append(loss.detach())
    with clock("optimizer", on_device=True):
        norm = nn.utils.clip_grad_norm_(objective.parameters(), clip)
        optimizer.step()
    return torch.stack(losses).sum(), _whole(norm)


def _whole(value: Tensor) -> Tensor:
    """A norm over shards that lie on several ranks."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Of the random numbers that a step's dropout takes, so that a resumed run drops what the other would have."""
    low, high = derive_key("dropout", seed, step, *([rank] if rank else []))
    return int(high) << 32 | int(low)


def make_optimizer(model: LanguageModel, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices alone. Source: Loshchilov and Hutter, arXiv:1711.05101."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=BETAS, fused=True)
