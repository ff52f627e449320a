"""The short causal convolution in front of a recurrence, and the inputs that it carries to the next tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from n2n.models.ops import Kernels, causal_conv1d, silu_conv1d


class ShortConvolution(nn.Module):
    """A depthwise causal convolution, or the identity if ``width`` is 0.

    Initial weights and biases are uniform within 1 / sqrt(width). This is torch's default for one input channel, which
    mamba-ssm uses too.
    """

    def __init__(self, channels: int, width: int, kernels: Kernels) -> None:
        super().__init__()
        self.channels, self.width, self.kernels = channels, width, kernels
        if width:
            bound = width**-0.5
            self.weight = nn.Parameter(torch.empty(channels, width).uniform_(-bound, bound))
            self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolve a sequence.

        Args:
            x: ``(batch, T, channels)``.
            before: the inputs before the first one, ``(batch, width - 1, channels)``; None means zeros.

        Returns:
            The convolved sequence, and its last inputs, which are ``before`` for the next tokens.
        """
        if not self.width:
            return x, x[:, :0]
        return causal_conv1d(x, self.weight, self.bias, before, self.kernels), self._last(x, before)

    def silu(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """``forward`` with SiLU of the convolved sequence, in one pass where that is faster."""
        if not self.width:
            return F.silu(x), x[:, :0]
        return silu_conv1d(x, self.weight, self.bias, before, self.kernels), self._last(x, before)

    def _last(self, x: Tensor, before: Tensor | None) -> Tensor:
        reach = self.width - 1
        if x.shape[1] >= reach:
            return x[:, x.shape[1] - reach :]
        start = x.new_zeros(x.shape[0], reach, self.channels) if before is None else before
        return torch.cat([start, x], dim=1)[:, x.shape[1] :]
