"""The gated linear recurrence of minGRU, minLSTM and the RG-LRU."""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from n2n.models.ops import compiled_scan


def linear_scan(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """The recurrence ``h_t = a_t h_{t-1} + b_t``, separately for each channel.

    It runs as a compiled loop on a CPU, and as ``linear_scan_chunked`` elsewhere. mamba-ssm and causal-conv1d have no
    kernel for it.

    Args:
        a, b: ``(batch, T, channels)``.
        h0: h before the first token, ``(batch, channels)``; None means zeros.

    Returns:
        h, ``(batch, T, channels)``, at least float32: in half precision a long recurrence would lose its past.
    """
    wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(wide), b.to(wide)
    h0 = torch.zeros_like(b[:, 0]) if h0 is None else h0.to(wide)
    if a.shape[1] == 1:
        return torch.addcmul(b, a, h0[:, None])
    scan = compiled_scan.scan if a.device.type == "cpu" else linear_scan_chunked
    return scan(a, b, h0)


def linear_scan_sequential(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """Slow twin of ``linear_scan``: one token at a time."""
    h = torch.zeros_like(b[:, 0]) if h0 is None else h0
    outputs = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        outputs.append(h)
    return torch.stack(outputs, dim=1)


def scan_matrix(a: Tensor) -> Tensor:
    """The matrix M of ``h = M b``, ``(batch, channels, T, T)``: a_{s+1} .. a_t at (t, s), 0 above the diagonal."""
    rows = [torch.zeros_like(a).transpose(1, 2)]  # row t of each matrix, (batch, channels, T)
    for t, a_t in enumerate(a.unbind(1)):
        rows.append(rows[-1] * a_t[..., None])
        rows[-1][..., t] = 1.0
    return torch.stack(rows[1:], dim=2)


def linear_scan_chunked(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """``linear_scan`` in about 5 sqrt(T) operations of torch, each of which takes one step in all chunks at once."""
    return _Chunked.apply(a, b, h0)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        h = _by_chunks(a, b, h0)
        ctx.save_for_backward(a, h, h0)
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, h, h0 = ctx.saved_tensors
        later = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
        d_b = _by_chunks(later.flip(1), grad.flip(1), torch.zeros_like(h0)).flip(1)
        before = torch.cat([h0[:, None], h[:, :-1]], dim=1)
        return d_b * before, d_b, a[:, 0] * d_b[:, 0]


def _by_chunks(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    length = a.shape[1]
    size = max(1, isqrt(length))
    a, b = (_in_chunks(value, size) for value in (a, b))  # (batch, chunks, size, channels)
    a_steps, b_steps = a.unbind(2), b.unbind(2)
    added, kept = b_steps[0], a_steps[0]
    for a_t, b_t in zip(a_steps[1:], b_steps[1:], strict=True):
        added, kept = torch.addcmul(b_t, a_t, added), kept * a_t
    starts = [h0]
    for own, factor in zip(added.unbind(1), kept.unbind(1), strict=True):
        starts.append(torch.addcmul(own, factor, starts[-1]))
    h = [torch.stack(starts[:-1], dim=1)]  # before each chunk
    for a_t, b_t in zip(a_steps, b_steps, strict=True):
        h.append(torch.addcmul(b_t, a_t, h[-1]))
    return torch.stack(h[1:], dim=2).flatten(1, 2)[:, :length]


def _in_chunks(value: Tensor, size: int) -> Tensor:
    missing = -value.shape[1] % size
    return torch.nn.functional.pad(value, (0, 0, 0, missing)).unflatten(1, (-1, size))
