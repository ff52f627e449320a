"""The Mamba-2 mixer: a selective state space, computed by state-space duality.

Source: Dao and Gu, "Transformers are SSMs", arXiv:2405.21060, section 7.1 (the block) and its released configuration
(initial steps, decays and skip).
"""

from __future__ import annotations

from math import log
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from n2n.models.convolution import ShortConvolution
from n2n.models.mixer import ConvWidth, Mixing, ModelConfig, SequenceMixer
from n2n.models.ops import RMSNorm, ssd, ssd_matrix
from n2n.utils.strict import Count

STEP_RANGE = (1e-3, 1e-1)  # initial steps are log-uniform in it
RATE_RANGE = (1.0, 16.0)  # initial -A is uniform in it

State = tuple[Tensor, Tensor]  # the convolution's last inputs (batch, width - 1, channels), h (batch, heads, p, n)
Parts = tuple[Tensor, Tensor, Tensor, Tensor]  # x (batch, T, heads, p), step (batch, T, heads), b and c (batch, T, n)


class Config(ModelConfig):
    """A Mamba-2.

    Args:
        expand: inner width as a multiple of ``dim``.
        state_dim: n, the size of the state for each inner channel.
        conv_width: width of the causal convolution, 2 to 4; 0 leaves it out.
        chunk: tokens that one matrix product spans; changes the speed alone.

    Raises:
        ValueError: as ``ModelConfig``.
    """

    expand: Annotated[Count, Field(le=2**10)] = 2
    state_dim: Annotated[Count, Field(le=2**14)] = 64
    conv_width: ConvWidth = 4
    chunk: Annotated[Count, Field(le=2**20)] = 64
    finest: ClassVar[str | None] = "state_dim"

    @property
    def divided(self) -> tuple[str, int]:
        return "expand * dim =", self.expand * self.dim


class Mixer(SequenceMixer):
    """Projection, convolution, selective state space, gated norm, projection; ``(batch, T, dim)`` to the same."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.chunk, self.heads, self.kernels = config.chunk, config.heads, config.kernels
        inner = config.expand * config.dim
        convolved = inner + 2 * config.state_dim
        self.parts = (inner, config.state_dim, config.state_dim)
        # Published as one projection; apart, what each writes lies whole in memory.
        self.project = nn.Linear(config.dim, convolved, bias=False)
        self.gate = nn.Linear(config.dim, inner, bias=False)
        self.step = nn.Linear(config.dim, config.heads, bias=False)
        self.conv = ShortConvolution(convolved, config.conv_width, config.kernels)
        step = torch.empty(config.heads).uniform_(*map(log, STEP_RANGE)).exp()
        self.step_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus(step_bias) = step
        self.log_rate = nn.Parameter(torch.empty(config.heads).uniform_(*RATE_RANGE).log())
        self.skip = nn.Parameter(torch.ones(config.heads))
        self.norm = RMSNorm(inner)
        self.out = nn.Linear(inner, config.dim, bias=False)

    def resume(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        before, h0 = state or (None, None)
        parts, gate, last = self._enter(x, before)
        y, h = ssd(*self._timed(parts), self.chunk, h0, self.kernels)
        return self._leave(y, parts[0], gate), (last, h)

    def mixing(self, x: Tensor) -> Mixing:
        """Exact: a group is a head, and entry (t, s) what x_s is in y_t, the skip connection on the diagonal."""
        parts, gate, _ = self._enter(x, None)
        inner, *timed = self._timed(parts)
        matrix, values = ssd_matrix(*timed), inner.transpose(1, 2)
        output = self._leave((matrix @ values).transpose(1, 2), inner, gate)
        return Mixing(matrix + torch.diag_embed(self.skip[:, None].expand(-1, x.shape[1])), values, output)

    def _enter(self, x: Tensor, before: Tensor | None) -> tuple[Parts, Tensor, Tensor]:
        """The state space's inputs, the gate, and the convolution's memory."""
        convolved, last = self.conv(self.project(x), before)
        inner, b, c = F.silu(convolved).split(self.parts, dim=-1)
        step = F.softplus(self.step(x).to(self.step_bias.dtype) + self.step_bias)
        return (inner.unflatten(-1, (self.heads, -1)), step, b, c), self.gate(x), last

    def _timed(self, parts: Parts) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        x, step, b, c = parts
        return x, step, self.log_rate.exp(), b, c

    def _leave(self, y: Tensor, inner: Tensor, gate: Tensor) -> Tensor:
        y = y + inner * self.skip[:, None]
        return self.out(self.norm(y.flatten(-2) * F.silu(gate)))
