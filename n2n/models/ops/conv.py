"""Depthwise causal convolution."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from n2n.models.ops import compiled_conv
from n2n.models.ops.kernels import Kernels, fused
from n2n.models.ops.sharing import runs_compiled


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor, before: Tensor | None = None, kernels: Kernels = "auto"
) -> Tensor:
    """Depthwise causal convolution: ``y_t = bias + sum_i weight[:, i] x_{t - width + 1 + i}``.

    Args:
        x: ``(batch, T, channels)``.
        weight: ``(channels, width)``; the last column multiplies the current token.
        bias: ``(channels,)``.
        before: inputs before the first one, ``(batch, width - 1, channels)``; None means zeros.
        kernels: ``"torch"``; ``"fused"``, the CUDA kernel of causal-conv1d, for widths 2 to 4 and without ``before``;
            or ``"auto"``, which uses the fused kernel if it is available.

    Returns:
        ``(batch, T, channels)``.
    """
    kernel = fused("causal_conv1d_fn", kernels, x) if before is None and 2 <= weight.shape[1] <= 4 else None
    if kernel:
        rows = x.transpose(1, 2).contiguous()  # (batch, channels, T); this layout allows any number of channels
        return kernel(rows, weight.to(x.dtype), bias.to(x.dtype)).transpose(1, 2)
    inputs = x if before is None else torch.cat([before.to(x.dtype), x], dim=1)
    with torch.autocast(x.device.type, enabled=False):  # keeps the type of x
        y = _Convolution.apply(inputs, weight.to(x.dtype), bias.to(x.dtype))
    return y[:, inputs.shape[1] - x.shape[1] :]


def silu_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor, before: Tensor | None = None, kernels: Kernels = "auto"
) -> Tensor:
    """``silu(causal_conv1d(..))``, with the same arguments; in float32 on a CPU, one compiled pass over memory."""
    suits = weight.shape[1] <= compiled_conv.MAX_WIDTH and x.shape[1] >= compiled_conv.REACH
    if kernels == "fused" or not suits or not runs_compiled(x, weight, bias):
        return F.silu(causal_conv1d(x, weight, bias, before, kernels))
    inputs = x if before is None else torch.cat([before, x], dim=1)
    return compiled_conv.silu_conv(inputs, weight, bias)[:, inputs.shape[1] - x.shape[1] :]


def causal_conv1d_sequential(x: Tensor, weight: Tensor, bias: Tensor, before: Tensor | None = None) -> Tensor:
    """Slow twin of ``causal_conv1d``: one token at a time, with a window of the last ones."""
    width = weight.shape[1]
    window = x.new_zeros(x.shape[0], width - 1, x.shape[2]) if before is None else before
    outputs = []
    for token in x.unbind(1):
        window = torch.cat([window, token[:, None]], dim=1)  # (batch, width, channels)
        outputs.append((window * weight.T).sum(1) + bias)
        window = window[:, 1:]
    return torch.stack(outputs, dim=1)


class _Convolution(torch.autograd.Function):
    """Depthwise causal convolution from the start of a sequence, with its own derivative.

    On a CPU, torch's derivative of a depthwise convolution takes about 20 times as long as the convolution. Here the
    gradient of the inputs is another convolution, and that of the weights is a product and a sum for each column.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _depthwise(x, weight, bias)[:, : x.shape[1]]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        length, width = x.shape[1], weight.shape[1]
        d_x = _depthwise(grad, weight.flip(1), None)[:, width - 1 :]
        reach = [min(width - 1 - i, length) for i in range(width)]  # how many tokens back a column reads
        columns = [(grad[:, back:] * x[:, : length - back]).flatten(0, 1).sum(0) for back in reach]
        return d_x, torch.stack(columns, dim=1), grad.flatten(0, 1).sum(0)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve x with zeros before and after it, ``(batch, T + width - 1, channels)``.

    The sequence is an image of one row with its channels last in memory, a layout that convolution libraries are fast
    with.
    """
    image, reach = x.transpose(1, 2)[:, :, None], weight.shape[1] - 1
    y = F.conv2d(image, weight[:, None, None], bias, padding=(0, reach), groups=weight.shape[0])
    return y[:, :, 0].transpose(1, 2)
