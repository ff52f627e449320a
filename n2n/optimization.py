"""One step of training: the rate, the optimizer, the update."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from n2n.config import TrainConfig
from n2n.models.lm import LanguageModel
from n2n.philox import derive_key

BETAS = (0.9, 0.98)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of a step: a linear rise over the warmup, then a cosine down to ``final_lr`` of the peak.

    Source: Loshchilov and Hutter, "SGDR", arXiv:1608.03983, eq. 5, without restarts.
    """
    rising = config.warmup * config.steps
    if step < rising:
        return config.lr * (step + 1) / (rising + 1)
    cosine = 0.5 * (1 + math.cos(math.pi * (step - rising) / max(config.steps - rising, 1)))
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


def update(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    tokens: Tensor,
    rate: float,
    clip: float,
    precision: str = "float32",
) -> tuple[Tensor, Tensor]:
    """One step of descent on ``tokens (batch, T)``: the loss before it, nats per token, and the gradient's norm."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        loss = model.nll(tokens).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.detach(), norm


def step_seed(seed: int, step: int) -> int:
    """Of the random numbers that a step's dropout takes, so that a resumed run drops what the other would have."""
    low, high = derive_key("dropout", seed, step)
    return int(high) << 32 | int(low)


def make_optimizer(model: LanguageModel, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices alone. Source: Loshchilov and Hutter, arXiv:1711.05101."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=BETAS, fused=True)
