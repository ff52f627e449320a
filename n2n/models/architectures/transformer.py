"""The transformer's mixer: causal softmax attention with rotary positions.

Sources: Vaswani et al., arXiv:1706.03762 (attention); Su et al., arXiv:2104.09864 (rotary positions); Touvron et al.,
arXiv:2302.13971, section 2.2 (the combination with RMSNorm and SwiGLU).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from n2n.models.mixer import Mixing, ModelConfig, Ratio, SequenceMixer
from n2n.models.ops import rotary_turns, rotate
from n2n.utils.strict import Positive

State = tuple[Tensor, Tensor]  # keys and values of all tokens so far, (batch, heads, T, head_dim)


class Config(ModelConfig):
    """Options of a transformer.

    Args:
        rotary_base: theta in the rotation angles t * theta^(-2k / d).

    Raises:
        ValueError: as ``ModelConfig``.
    """

    mlp_ratio: Ratio = 8 / 3
    rotary_base: Positive = 10_000.0
    head_multiple: ClassVar[int] = 2  # a head's dimensions are rotated in pairs


class Mixer(SequenceMixer):
    """Causal multi-head attention with rotary positions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)
        turns = rotary_turns(config.max_length, config.dim // config.heads, config.rotary_base)
        self.register_buffer("turns", turns, persistent=False)

    def resume(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        q, k, v = self._heads(x, 0 if state is None else state[0].shape[2])
        if state is not None:
            k, v = (torch.cat(pair, dim=2) for pair in zip(state, (k, v), strict=True))
        mixed = F.scaled_dot_product_attention(q, k, v, **_causal(q, k))
        return self._leave(mixed), (k, v)

    def mixing(self, x: Tensor) -> Mixing:
        """A group is a head. Entry (t, s) is the softmax weight that token t gives to token s."""
        q, k, v = self._heads(x, 0)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        matrix = scores.masked_fill(later, -torch.inf).softmax(-1)
        return Mixing(matrix, v, self._leave(matrix @ v))

    def _heads(self, x: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, ``(batch, heads, T, head_dim)``; ``first`` is the position of the first token."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (batch, T, 3, heads, head_dim)
        qk, v = qkv.split([2, 1], dim=2)
        q, k = rotate(qk, self.turns[first : first + x.shape[1]]).permute(2, 0, 3, 1, 4)
        return q, k, v.squeeze(2).transpose(1, 2)

    def _leave(self, mixed: Tensor) -> Tensor:
        return self.out(mixed.transpose(1, 2).flatten(-2))


def _causal(q: Tensor, k: Tensor) -> dict[str, Tensor | bool]:
    """Arguments of the causal mask, if the queries belong to the last of the keys' tokens."""
    new, total = q.shape[2], k.shape[2]
    if new == total:
        return {"is_causal": True}
    if new == 1:
        return {}
    return {"attn_mask": torch.ones(new, total, dtype=torch.bool, device=q.device).tril(total - new)}
