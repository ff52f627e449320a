"""Sequence operations in plain torch: a fast parallel path and, beside it, its slow readable twin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rotary_tables(length: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines, ``(length, head_dim / 2)`` each, of the angles t * base^(-2k / head_dim).

    Source: Su et al., "RoFormer", arXiv:2104.09864, eq. 15.
    """
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (k, k + head_dim / 2) of ``x (.., T, head_dim)`` by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def rotate_complex(x: Tensor, base: float) -> Tensor:
    """The twin of ``rotate``: pairs as complex numbers, times exp(i * angle)."""
    length, head_dim = x.shape[-2:]
    angle = torch.arange(length)[:, None] * base ** (-torch.arange(0, head_dim, 2) / head_dim)
    turned = torch.complex(*x.chunk(2, dim=-1)) * torch.exp(1j * angle)
    return torch.cat([turned.real, turned.imag], dim=-1)


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise causal convolution of ``x (batch, T, channels)`` with ``weight (channels, width)``.

    Position t sees t - width + 1 .. t, the last column of ``weight`` falling on t. A sum of shifted products.
    """
    length, width = x.shape[1], weight.shape[1]
    padded = F.pad(x, (0, 0, width - 1, 0))
    return sum(padded[:, i : i + length] * weight[:, i] for i in range(width)) + bias


def causal_conv1d_grouped(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The twin of ``causal_conv1d``: the library's grouped convolution over a left-padded sequence."""
    padded = F.pad(x.transpose(1, 2), (weight.shape[1] - 1, 0))
    return F.conv1d(padded, weight[:, None], bias, groups=x.shape[2]).transpose(1, 2)


def ssd(x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, chunk: int) -> Tensor:
    """State-space duality: ``h_t = exp(log_decay_t) h_{t-1} + x_t b_t^T``, ``y_t = h_t c_t``, by chunks.

    Inside a chunk it is attention with a decay mask; between chunks the state is carried on. All in matrix products.

    Args:
        x: ``(batch, T, heads, p)``.
        log_decay: ``(batch, T, heads)``, at most 0.
        b, c: ``(batch, T, n)``, shared by the heads.
        chunk: tokens in a chunk.

    Returns:
        ``(batch, T, heads, p)``.

    Source: Dao and Gu, "Transformers are SSMs", arXiv:2405.21060, section 6 and algorithm 1.
    """
    length = x.shape[1]
    chunk = min(chunk, length)
    x, log_decay, b, c = (_chunked(value, chunk) for value in (x, log_decay, b, c))
    x = x.permute(0, 3, 1, 2, 4)  # (batch, heads, chunks, chunk, p)
    log_decay = log_decay.permute(0, 3, 1, 2)  # (batch, heads, chunks, chunk)
    b, c = b[:, None], c[:, None]  # (batch, 1, chunks, chunk, n)
    total = log_decay.cumsum(-1)
    decay = decay_matrix(log_decay)  # (batch, heads, chunks, chunk, chunk)
    scores = (c @ b.transpose(-1, -2)) * decay
    to_end = decay[..., -1, :, None]
    added = (x * to_end).transpose(-1, -2) @ b  # (batch, heads, chunks, p, n)
    carried = _carry(added, total[..., -1])
    y = scores @ x + (c @ carried.transpose(-1, -2)) * total.exp()[..., None]
    return y.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length]


def decay_matrix(log_decay: Tensor) -> Tensor:
    """exp(sum of log_decay over s < k <= t) at (.., t, s), 0 above the diagonal.

    Each entry sums its own terms: differences of one running sum would lose the small decays that follow a large one.
    """
    size = log_decay.shape[-1]
    ones = torch.ones(size, size, dtype=torch.bool, device=log_decay.device)
    terms = log_decay[..., None].expand(*log_decay.shape, size).masked_fill(~ones.tril(-1), 0.0)
    return terms.cumsum(-2).masked_fill(~ones.tril(), -torch.inf).exp()


def _chunked(value: Tensor, chunk: int) -> Tensor:
    """(batch, T, ..) to (batch, chunks, chunk, ..), filled up with zeros at the end."""
    missing = -value.shape[1] % chunk
    padded = F.pad(value, (0, 0) * (value.ndim - 2) + (0, missing))
    return padded.unflatten(1, (-1, chunk))


def _carry(added: Tensor, log_decay: Tensor) -> Tensor:
    """The state before each chunk, from what each chunk adds ``(.., chunks, p, n)`` and its decay ``(.., chunks)``."""
    state = torch.zeros_like(added[:, :, 0])
    before = []
    for i in range(added.shape[2]):
        before.append(state)
        state = state * log_decay[:, :, i, None, None].exp() + added[:, :, i]
    return torch.stack(before, dim=2)


def ssd_sequential(x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The twin of ``ssd``: the recurrence, one token at a time."""
    state = x.new_zeros(x.shape[0], *x.shape[2:], b.shape[-1])  # (batch, heads, p, n)
    outputs = []
    for t in range(x.shape[1]):
        decay = log_decay[:, t, :, None, None].exp()
        state = decay * state + x[:, t, :, :, None] * b[:, t, None, None, :]
        outputs.append((state * c[:, t, None, None, :]).sum(-1))
    return torch.stack(outputs, dim=1)
