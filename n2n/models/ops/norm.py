"""Root-mean-square normalisation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from n2n.models.ops import compiled_gate
from n2n.models.ops.sharing import runs_compiled


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axis.

    On a GPU this is torch's own kernel. On a CPU, torch's derivative makes a dozen passes over memory and takes 3 to 4
    times as long as the one here.

    Source: Zhang and Sennrich, arXiv:1910.07467, eq. 4.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:  # (.., dim)
        if x.is_cuda:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return _Normalisation.apply(x, self.weight, self.eps)


def gated_norm(y: Tensor, x: Tensor, z: Tensor, skip: Tensor, norm: RMSNorm) -> Tensor:
    """``norm((y + skip x) silu(z))``; in float32 on a CPU, one compiled pass over memory.

    Args:
        y, x, z: ``(.., dim)``.
        skip: ``(dim,)``.
        norm: the norm of width ``dim``.
    """
    if not runs_compiled(y, x, z, skip, norm.weight):
        return norm((y + skip * x) * F.silu(z))
    rows = (value.flatten(0, -2) for value in (y, x, z))
    return compiled_gate.gated_norm(*rows, skip, norm.weight, norm.eps)[0].view(y.shape)


class _Normalisation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=weight.dtype)  # (.., 1)
        scale = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normal = x * scale
        ctx.save_for_backward(normal, scale, weight)
        return (normal * weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        normal, scale, weight = ctx.saved_tensors
        along = grad * normal
        d_weight = along.flatten(0, -2).sum(0)
        mean = (along @ weight)[..., None].div_(weight.shape[0])
        d_x = (grad * weight).addcmul_(normal, mean, value=-1).mul_(scale)
        return d_x.to(grad.dtype), d_weight, None
