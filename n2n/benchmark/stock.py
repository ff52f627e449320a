"""A transformer that consists only of torch's own layers, for comparison."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from n2n.models.ops import rotary_turns


class StockTransformer(nn.Module):
    """A causal stack of ``nn.TransformerEncoderLayer``, pre-norm, with sinusoidal positions and an MLP of 4 dim.

    Args:
        vocab_size: number of symbols.
        dim: width.
        layers: number of blocks.
        heads: heads of the attention.
        max_length: maximum number of tokens in an input.

    Source: Vaswani et al., arXiv:1706.03762, section 3.5 (positions).
    """

    def __init__(self, vocab_size: int, dim: int, layers: int, heads: int, max_length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.register_buffer("position", rotary_turns(max_length, dim, 10_000.0).flatten(1), persistent=False)
        options = {"dim_feedforward": 4 * dim, "dropout": 0.0, "batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(dim, heads, **options) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(batch, T, V)`` of the token after each of ``tokens (batch, T)``."""
        length = tokens.shape[1]
        later = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        x = self.embedding(tokens) + self.position[:length]
        for block in self.blocks:
            x = block(x, src_mask=later, is_causal=True)
        return self.head(self.norm(x))

    def nll(self, tokens: Tensor) -> Tensor:
        """See ``LanguageModel.nll``."""
        logits = self(tokens[:, :-1])
        return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters, embedding and head included."""
        return sum(parameter.numel() for parameter in self.parameters())
