"""The short convolution before a recurrence, with its memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from n2n.models.ops import Kernels, causal_conv1d


class ShortConvolution(nn.Module):
    """A depthwise causal convolution; the identity at width 0.

    Weights and biases start uniform within 1 / sqrt(width): torch's own law for one input channel, which mamba-ssm
    keeps.
    """

    def __init__(self, channels: int, width: int, kernels: Kernels) -> None:
        super().__init__()
        self.channels, self.width, self.kernels = channels, width, kernels
        if width:
            bound = width**-0.5
            self.weight = nn.Parameter(torch.empty(channels, width).uniform_(-bound, bound))
            self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """``x (batch, T, channels)`` convolved, and what the next tokens need: the last inputs.

        ``before (batch, width - 1, channels)`` holds the inputs before the first; None: zeros.
        """
        if not self.width:
            return x, x[:, :0]
        reach = self.width - 1
        if x.shape[1] >= reach:
            last = x[:, x.shape[1] - reach :]
        else:
            start = x.new_zeros(x.shape[0], reach, self.channels) if before is None else before
            last = torch.cat([start, x], dim=1)[:, x.shape[1] :]
        return causal_conv1d(x, self.weight, self.bias, before, self.kernels), last
