"""Depthwise causal convolution."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from n2n.models.ops.kernels import Kernels, fused


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor, before: Tensor | None = None, kernels: Kernels = "auto"
) -> Tensor:
    """Depthwise causal convolution: ``y_t = bias + sum_i weight[:, i] x_{t - width + 1 + i}``.

    Args:
        x: ``(batch, T, channels)``.
        weight: ``(channels, width)``; its last column falls on the present token.
        bias: ``(channels,)``.
        before: ``(batch, width - 1, channels)``, what came before; None: zeros.
        kernels: ``"torch"``, ``"fused"`` (causal-conv1d's CUDA kernel, widths 2 to 4, from the start of a sequence), or
            ``"auto"``: fused where it is at hand.

    Returns:
        ``(batch, T, channels)``.
    """
    kernel = fused("causal_conv1d_fn", kernels, x) if before is None and 2 <= weight.shape[1] <= 4 else None
    if kernel:
        rows = x.transpose(1, 2).contiguous()  # (batch, channels, T), the layout without conditions on channels
        return kernel(rows, weight.to(x.dtype), bias.to(x.dtype)).transpose(1, 2)
    seen = x if before is None else torch.cat([before.to(x.dtype), x], dim=1)
    with torch.autocast(x.device.type, enabled=False):  # in x's own type
        y = _Convolution.apply(seen, weight.to(x.dtype), bias.to(x.dtype))
    return y[:, seen.shape[1] - x.shape[1] :]


def causal_conv1d_sequential(x: Tensor, weight: Tensor, bias: Tensor, before: Tensor | None = None) -> Tensor:
    """The twin of ``causal_conv1d``: one token at a time, the last ones kept in a window."""
    width = weight.shape[1]
    window = x.new_zeros(x.shape[0], width - 1, x.shape[2]) if before is None else before
    outputs = []
    for token in x.unbind(1):
        window = torch.cat([window, token[:, None]], dim=1)  # (batch, width, channels)
        outputs.append((window * weight.T).sum(1) + bias)
        window = window[:, 1:]
    return torch.stack(outputs, dim=1)


class _Convolution(torch.autograd.Function):
    """From the start of a sequence.

    torch's derivative of a depthwise convolution takes some 20 times as long as the convolution on a CPU. Here the
    inputs' is another convolution, and the weights' a product and a sum for each column.
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
        reach = [min(width - 1 - i, length) for i in range(width)]  # how far back a column looks
        columns = [(grad[:, back:] * x[:, : length - back]).flatten(0, 1).sum(0) for back in reach]
        return d_x, torch.stack(columns, dim=1), grad.flatten(0, 1).sum(0)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``(batch, T + width - 1, channels)``, zeros before and after x.

    As an image of one row whose channels lie last in memory, which convolution libraries are fast at.
    """
    image, reach = x.transpose(1, 2)[:, :, None], weight.shape[1] - 1
    y = F.conv2d(image, weight[:, None, None], bias, padding=(0, reach), groups=weight.shape[0])
    return y[:, :, 0].transpose(1, 2)
