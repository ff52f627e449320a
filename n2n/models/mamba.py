"""The Mamba-2 mixer: a selective state space, computed by state-space duality.

Source: Dao and Gu, "Transformers are SSMs", arXiv:2405.21060, section 7.1 (the block) and its released configuration
(initial steps, decays and skip).
"""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from n2n.models.lm import ModelConfig
from n2n.models.ops import causal_conv1d, ssd
from n2n.strict import Count

STEP_RANGE = (1e-3, 1e-1)  # initial steps are log-uniform in it
DECAY_RANGE = (1.0, 16.0)  # initial -A is uniform in it


class Config(ModelConfig):
    """A Mamba-2.

    Args:
        expand: inner width as a multiple of ``dim``.
        state_dim: n, the size of the state for each inner channel.
        conv_width: width of the causal convolution.
        chunk: tokens that one matrix product spans; changes the speed alone.

    Raises:
        ValueError: as ``ModelConfig``.
    """

    expand: Count = 2
    state_dim: Count = 64
    conv_width: Count = 4
    chunk: Count = 64


class Mixer(nn.Module):
    """Projection, convolution, selective state space, gated norm, projection; ``(batch, T, dim)`` to the same."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.chunk, self.heads = config.chunk, config.heads
        inner = config.expand * config.dim
        convolved = inner + 2 * config.state_dim
        self.widths = (inner, convolved, config.heads)
        self.parts = (inner, config.state_dim, config.state_dim)
        self.project = nn.Linear(config.dim, sum(self.widths), bias=False)
        self.conv_weight = nn.Parameter(torch.empty(convolved, config.conv_width))
        self.conv_bias = nn.Parameter(torch.empty(convolved))
        self.dt_bias = nn.Parameter(torch.empty(config.heads))
        self.log_a = nn.Parameter(torch.empty(config.heads))
        self.skip = nn.Parameter(torch.empty(config.heads))
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.out = nn.Linear(inner, config.dim, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the parameters that the model's common policy leaves to the mixer."""
        bound = self.conv_weight.shape[1] ** -0.5
        self.conv_weight.uniform_(-bound, bound)
        self.conv_bias.uniform_(-bound, bound)
        log_step = torch.empty_like(self.dt_bias).uniform_(log(STEP_RANGE[0]), log(STEP_RANGE[1]))
        step = log_step.exp()
        self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus(dt_bias) = step
        self.log_a.uniform_(*DECAY_RANGE).log_()
        self.skip.fill_(1.0)

    def forward(self, u: Tensor) -> Tensor:
        gate, convolved, step = self.project(u).split(self.widths, dim=-1)
        convolved = F.silu(causal_conv1d(convolved, self.conv_weight, self.conv_bias))
        x, b, c = convolved.split(self.parts, dim=-1)
        x = x.unflatten(-1, (self.heads, -1))  # (batch, T, heads, p)
        step = F.softplus(step + self.dt_bias)  # (batch, T, heads)
        y = ssd(x * step[..., None], -step * self.log_a.exp(), b, c, self.chunk)
        y = y + x * self.skip[:, None]
        return self.out(self.norm(y.flatten(-2) * F.silu(gate)))
