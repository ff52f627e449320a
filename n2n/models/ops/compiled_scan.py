"""The gated linear recurrence compiled for the CPU, as operators that torch.compile can call."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from n2n.models.ops.sharing import rows_and_channels, run_shares
from n2n.utils.compilation import compiled


@compiled
def _forward(rows, channels, a, b, h0, h):
    first, last = channels
    running = np.empty(last - first, a.dtype)  # separate from h, so that the innermost loop is vectorised
    for i in range(rows[0], rows[1]):
        running[:] = h0[i, first:last]
        for t in range(a.shape[1]):
            a_t, b_t, h_t = a[i, t, first:last], b[i, t, first:last], h[i, t, first:last]
            for c in range(last - first):
                value = a_t[c] * running[c] + b_t[c]
                running[c] = value
                h_t[c] = value


@compiled
def _backward(rows, channels, grad, a, h, h0, d_a, d_b):
    """d_b is the gradient with respect to each h: the same recurrence, backwards in time."""
    first, last = channels
    running = np.empty(last - first, a.dtype)
    for i in range(rows[0], rows[1]):
        running[:] = 0.0
        for t in range(a.shape[1] - 1, -1, -1):
            a_t, grad_t = a[i, t, first:last], grad[i, t, first:last]
            d_a_t, d_b_t = d_a[i, t, first:last], d_b[i, t, first:last]
            before = h[i, t - 1, first:last] if t > 0 else h0[i, first:last]
            for c in range(last - first):
                reached = grad_t[c] + running[c]
                d_b_t[c] = reached
                d_a_t[c] = reached * before[c]
                running[c] = a_t[c] * reached


@torch.library.custom_op("n2n::linear_scan", mutates_args=(), device_types="cpu")
def scan(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """``h_t = a_t h_{t-1} + b_t`` for a, b ``(batch, T, channels)`` and h0 ``(batch, channels)``, all of one type."""
    h = torch.empty(a.shape, dtype=a.dtype)
    run_shares(_forward, rows_and_channels(a), a, b, h0, h)
    return h


@torch.library.custom_op("n2n::linear_scan_backward", mutates_args=(), device_types="cpu")
def scan_backward(grad: Tensor, a: Tensor, h: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients with respect to a and b."""
    d_a, d_b = torch.empty(a.shape, dtype=a.dtype), torch.empty(a.shape, dtype=a.dtype)
    run_shares(_backward, rows_and_channels(a), grad, a, h, h0, d_a, d_b)
    return d_a, d_b


@scan.register_fake
def _(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    return a.new_empty(a.shape)


@scan_backward.register_fake
def _(grad: Tensor, a: Tensor, h: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), a.new_empty(a.shape)


def _keep(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    a, _, h0 = inputs
    ctx.save_for_backward(a, output, h0)


def _gradients(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, h, h0 = ctx.saved_tensors
    d_a, d_b = scan_backward(grad, a, h, h0)
    return d_a, d_b, a[:, 0] * d_b[:, 0]


scan.register_autograd(_gradients, setup_context=_keep)
