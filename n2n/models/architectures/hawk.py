"""Hawk's recurrent block: the real-gated linear recurrent unit, RG-LRU, between two branches.

Source: De et al., "Griffin: mixing gated linear recurrences with local attention for efficient language models",
arXiv:2402.19427, section 2.3 (the block) and 2.4 (RG-LRU).
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from n2n.models.convolution import ShortConvolution
from n2n.models.mixer import Ratio
from n2n.models.recurrence import GatedRecurrence, Gates, RecurrentConfig, wide

SHARPNESS = 8.0  # c in the paper
DECAY_RANGE = (0.9, 0.999)  # the initial a^c is uniform in this range
_MIN_SQUARE = 1e-12  # lower bound of 1 - a^2, because the slope of the square root at 0 is infinite


class Config(RecurrentConfig):
    """Options of a Hawk.

    Args:
        heads: number of blocks of the gates' block-diagonal matrices.

    Raises:
        ValueError: as ``RecurrentConfig``.
    """

    mlp_ratio: Ratio = 3.0
    expand: Annotated[Ratio, Field(gt=0)] = 4 / 3


class Mixer(GatedRecurrence):
    """``h_t = a_t h_{t-1} + sqrt(1 - a_t^2) i_t x_t``, ``a_t = a^(c r_t)``, ``a = sigmoid(lambda)``; h_0 = 0.

    x is the convolution of a linear map of the input. r and i are sigmoids of block-diagonal maps of x. The output is a
    linear map of h times the GeLU of another linear map of the input.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        hidden, width = config.hidden, config.hidden // config.heads
        self.project = nn.Linear(config.dim, 2 * hidden, bias=False)
        self.conv = ShortConvolution(hidden, config.conv_width, config.kernels)
        self.gate_weight = nn.Parameter(torch.empty(config.heads, width, 2 * width).normal_(std=width**-0.5))
        self.gate_bias = nn.Parameter(torch.zeros(config.heads, 2 * width))
        decay = torch.empty(hidden, dtype=torch.float64).uniform_(*DECAY_RANGE) ** (1 / SHARPNESS)
        self.logit_decay = nn.Parameter(torch.logit(decay).float())
        self.out = nn.Linear(hidden, config.dim, bias=False)

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        entered, gate = self.project(x).chunk(2, dim=-1)
        return entered, gate

    def gates(self, u: Tensor) -> Gates:
        by_head = u.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (batch, heads, T, width)
        mapped = wide(by_head @ self.gate_weight).transpose(1, 2) + self.gate_bias
        recurrence, admit = (gate.flatten(-2) for gate in mapped.sigmoid().chunk(2, dim=-1))
        log_decay = -SHARPNESS * F.softplus(-self.logit_decay) * recurrence
        weight = (-torch.expm1(2 * log_decay)).clamp(min=_MIN_SQUARE).sqrt() * admit
        return Gates(log_decay.exp(), weight, wide(u))

    def leave(self, h: Tensor, branch: Tensor) -> Tensor:
        return self.out(h * F.gelu(branch, approximate="tanh"))
