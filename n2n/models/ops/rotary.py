"""Rotary position embeddings."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_turns(length: int, head_dim: int, base: float) -> Tensor:
    """The rotations exp(i t base^(-2k / head_dim)) as (cosine, sine), ``(length, head_dim / 2, 2)``.

    Source: Su et al., "RoFormer", arXiv:2104.09864, eq. 15.
    """
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate each pair (2k, 2k + 1) of ``x (batch, T, .., head_dim)`` by the angle of its position.

    Args:
        x: of any floating type; the result has the same type.
        turns: ``(T, head_dim / 2, 2)``, from ``rotary_turns``.
    """
    pairs = x.to(turns.dtype).unflatten(-1, (-1, 2))
    turns = turns.view(turns.shape[0], *(1,) * (x.ndim - 3), -1, 2)
    if torch.compiler.is_compiling():  # torch.compile has no complex numbers, and fuses this into one pass
        (first, second), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns))
    return turned.flatten(-2).to(x.dtype)


def rotate_real(x: Tensor, base: float) -> Tensor:
    """Slow twin of ``rotate`` from position 0: a 2 x 2 rotation matrix for each pair, one position at a time."""
    head_dim, turned = x.shape[-1], []
    for t, row in enumerate(x.unbind(1)):
        pairs = row.unflatten(-1, (-1, 2))
        angle = t * base ** (-torch.arange(0, head_dim, 2, dtype=x.dtype) / head_dim)
        matrix = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).unflatten(-1, (2, 2))
        turned.append((matrix @ pairs[..., None]).squeeze(-1).flatten(-2))
    return torch.stack(turned, dim=1)
