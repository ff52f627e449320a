"""The mixer of Mamba-2: a selective state space, computed by state-space duality.

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
from n2n.models.ops import RMSNorm, gated_norm, ssd, ssd_matrix
from n2n.utils.strict import Count

STEP_RANGE = (1e-3, 1e-1)  # initial steps are log-uniform in this range
RATE_RANGE = (1.0, 16.0)  # the initial -A is uniform in this range

State = tuple[Tensor, Tensor]  # the convolution's last inputs (batch, width - 1, channels), h (batch, heads, p, n)
Parts = tuple[Tensor, Tensor, Tensor, Tensor]  # x (batch, T, heads, p), step (batch, T, heads), b and c (batch, T, n)


class Config(ModelConfig):
    """Options of a Mamba-2.

    Args:
        expand: inner width as a multiple of ``dim``.
        state_dim: size n of the state of each inner channel.
        conv_width: width of the causal convolution, 2 to 4; 0 means no convolution.
        chunk: number of tokens in one matrix product; it changes only the speed.

    Raises:
        ValueError: as ``ModelConfig``.
    """

    expand: Annotated[Count, Field(le=2**10)] = 2
    state_dim: Annotated[Count, Field(le=2**14)] = 64
    conv_width: ConvWidth = 4
    chunk: Annotated[Count, Field(le=2**20)] = 64
    size_option: ClassVar[str | None] = "state_dim"

    @property
    def divided(self) -> tuple[str, int]:
        return "expand * dim =", self.expand * self.dim


class Mixer(SequenceMixer):
    """Projection, convolution, selective state space, gated norm and projection."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.chunk, self.heads, self.kernels = config.chunk, config.heads, config.kernels
        inner = config.expand * config.dim
        convolved = inner + 2 * config.state_dim
        self.parts = (inner, config.state_dim, config.state_dim)
        # The paper has one projection. Separate ones write each of their outputs into contiguous memory.
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
        """A group is a head. Entry (t, s) is the exact factor of x_s in y_t; the diagonal has the skip connection."""
        parts, gate, _ = self._enter(x, None)
        inner, *timed = self._timed(parts)
        matrix, values = ssd_matrix(*timed), inner.transpose(1, 2)
        output = self._leave((matrix @ values).transpose(1, 2), inner, gate)
        return Mixing(matrix + torch.diag_embed(self.skip[:, None].expand(-1, x.shape[1])), values, output)

    def _enter(self, x: Tensor, before: Tensor | None) -> tuple[Parts, Tensor, Tensor]:
        """The state space's inputs, the gate, and the last inputs of the convolution."""
        convolved, last = self.conv.silu(self.project(x), before)
        inner, b, c = convolved.split(self.parts, dim=-1)
        step = F.softplus(self.step(x).to(self.step_bias.dtype) + self.step_bias)
        return (inner.unflatten(-1, (self.heads, -1)), step, b, c), self.gate(x), last

    def _timed(self, parts: Parts) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        x, step, b, c = parts
        return x, step, self.log_rate.exp(), b, c

    def _leave(self, y: Tensor, inner: Tensor, gate: Tensor) -> Tensor:
        skip = self.skip[:, None].expand(y.shape[-2:]).flatten()
        return self.out(gated_norm(y.flatten(-2), inner.flatten(-2), gate, skip, self.norm))
