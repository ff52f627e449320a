"""The common part of minGRU, minLSTM and Hawk: a short convolution, then a gated linear recurrence per channel."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from n2n.models.convolution import ShortConvolution
from n2n.models.mixer import ConvWidth, Mixing, ModelConfig, Ratio, SequenceMixer, widened
from n2n.models.ops import linear_scan, scan_matrix

Candidate = Literal["linear", "positive"]
State = tuple[Tensor, Tensor]  # the convolution's last inputs (batch, width - 1, channels), h (batch, hidden)


class RecurrentConfig(ModelConfig):
    """Options of an architecture with a gated linear recurrence.

    Args:
        heads: number of groups of channels; ``LanguageModel.inspect`` averages over the channels of a group.
        expand: number of channels of the recurrence as a multiple of ``dim``, rounded up to a multiple of ``heads``.
        conv_width: width of the causal convolution in front of the recurrence, 2 to 4; 0 means no convolution.

    Raises:
        ValueError: as ``ModelConfig``.
    """

    mlp_ratio: Ratio = 8 / 3
    expand: Annotated[Ratio, Field(gt=0)] = 1.0
    conv_width: ConvWidth = 4

    @property
    def hidden(self) -> int:
        """Number of channels of the recurrence."""
        return widened(self.dim, self.expand, self.heads)


class Gates(NamedTuple):
    """Coefficients of ``h_t = decay_t h_{t-1} + weight_t value_t``, each ``(batch, T, hidden)``, at least float32."""

    decay: Tensor
    weight: Tensor
    value: Tensor


class GatedRecurrence(SequenceMixer):
    """Base class of these mixers. A subclass defines the input, the gates and the output."""

    heads: int
    conv: ShortConvolution

    @abstractmethod
    def enter(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The convolution's input ``(batch, T, channels)``, and a second branch for ``leave``; None without one."""

    @abstractmethod
    def gates(self, u: Tensor) -> Gates:
        """The recurrence's coefficients, from the convolution's output ``u (batch, T, channels)``."""

    @abstractmethod
    def leave(self, h: Tensor, branch: Tensor | None) -> Tensor:
        """The mixer's output from ``h (batch, T, hidden)``."""

    def resume(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        before, h0 = state or (None, None)
        entered, branch = self.enter(x)
        u, last = self.conv(entered, before)
        decay, weight, value = self.gates(u)
        h = linear_scan(decay, weight * value, h0)
        return self.leave(h, branch), (last, h[:, -1])

    def mixing(self, x: Tensor) -> Mixing:
        """A group is a channel. Entry (t, s) is weight_s decay_{s+1} .. decay_t, the exact factor of value_s in h_t."""
        entered, branch = self.enter(x)
        gates = self.gates(self.conv(entered, None)[0])
        matrix, values = _matrix(*gates[:2]), gates.value.transpose(1, 2)[..., None]
        h = (matrix @ values).squeeze(-1).transpose(1, 2)
        return Mixing(matrix, values, self.leave(h, branch))

    def head_mixing(self, x: Tensor) -> Tensor:
        """Absolute entries of ``mixing(x).matrix``, averaged over a head's channels, ``(batch, heads, T, T)``."""
        gates = self.gates(self.conv(self.enter(x)[0], None)[0])
        by_head = zip(*(gate.chunk(self.heads, dim=-1) for gate in gates[:2]), strict=True)
        return torch.stack([_matrix(decay, weight).abs().mean(1) for decay, weight in by_head], dim=1)


def _matrix(decay: Tensor, weight: Tensor) -> Tensor:
    return scan_matrix(decay) * weight.transpose(1, 2)[:, :, None]


def wide(x: Tensor) -> Tensor:
    """``x`` in at least float32. In half precision a decay near 1 would be rounded to 1."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def candidate_value(x: Tensor, candidate: Candidate) -> Tensor:
    """The candidate of minGRU and minLSTM: x, or g(x) = x + 1/2 where x >= 0 and sigmoid(x) elsewhere.

    Source: Feng et al., arXiv:2410.01201, section 3 (linear), and the appendix on computing in log space (g).
    """
    return x if candidate == "linear" else torch.where(x >= 0, x + 0.5, x.sigmoid())
