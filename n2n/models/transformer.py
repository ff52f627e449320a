"""The transformer's mixer: causal softmax attention with rotary positions.

Sources: Vaswani et al., arXiv:1706.03762 (attention); Su et al., arXiv:2104.09864 (rotary positions); Touvron et al.,
arXiv:2302.13971, section 2.2 (with RMSNorm and SwiGLU around it).
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from n2n.models.lm import ModelConfig
from n2n.models.ops import rotary_tables, rotate
from n2n.strict import NonNegative, Positive


class Config(ModelConfig):
    """A transformer: ``rotary_base`` is theta in the angles t * theta^(-2k / d).

    Raises:
        ValueError: as ``ModelConfig``.
    """

    mlp_ratio: NonNegative = 8 / 3
    rotary_base: Positive = 10_000.0
    head_multiple: ClassVar[int] = 2  # a head's dimensions are rotated in pairs


class Mixer(nn.Module):
    """Causal multi-head attention, ``(batch, T, dim)`` to the same."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)
        cos, sin = rotary_tables(config.max_length, config.dim // config.heads, config.rotary_base)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (batch, T, 3, heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, T, head_dim)
        q, k = (rotate(value, self.cos[:length], self.sin[:length]) for value in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(-2))
