"""The language model around every mixer: embedding, blocks, head, and the one initialisation policy."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, sqrt
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from n2n.strict import Count, NonNegative, Strict

MLP_MULTIPLE = 8  # hidden widths are rounded up to it
_HEADS_LISTED = 256  # an error lists the numbers of heads allowed as far as this


class ModelConfig(Strict):
    """What all architectures share.

    Args:
        vocab_size: number of symbols.
        dim: width of the residual stream.
        layers: number of blocks.
        heads: heads of the mixer; must divide ``dim`` into widths that the mixer's ``head_multiple`` divides.
        max_length: longest input, in tokens.
        mlp_ratio: hidden width of each block's SwiGLU as a multiple of ``dim``; 0 leaves it out.

    Raises:
        ValueError: a wrong field, or a width that the heads do not divide.
    """

    vocab_size: Count
    dim: Count = 64
    layers: Count = 2
    heads: Count = 4
    max_length: Annotated[Count, Field(le=2**20)] = 8192
    mlp_ratio: NonNegative = 0.0

    head_multiple: ClassVar[int] = 1

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.dim % (self.heads * self.head_multiple):
            allowed = [h for h in range(1, _HEADS_LISTED + 1) if self.dim % (h * self.head_multiple) == 0]
            width = "" if self.head_multiple == 1 else f" into heads of a width that {self.head_multiple} divides"
            raise ValueError(
                f"heads: saw {self.heads}, which does not divide dim {self.dim}{width}; allowed"
                f"{f' up to {_HEADS_LISTED}' if self.dim > _HEADS_LISTED else ''}: {allowed}"
            )
        return self


class SwiGLU(nn.Module):
    """Gated feed-forward layer. Source: Shazeer, "GLU variants improve transformer", arXiv:2002.05202, eq. 6."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        hidden = ceil(dim * ratio / MLP_MULTIPLE) * MLP_MULTIPLE
        self.gate_up = nn.Linear(dim, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.out(F.silu(gate) * up)


class Block(nn.Module):
    """Pre-norm residual block: the mixer, then the feed-forward layer if the configuration has one."""

    def __init__(self, config: ModelConfig, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(config.dim, eps=1e-5)
        self.mixer = mixer
        self.mlp_norm = nn.RMSNorm(config.dim, eps=1e-5) if config.mlp_ratio else None
        self.mlp = SwiGLU(config.dim, config.mlp_ratio) if config.mlp_ratio else None

    def forward(self, x: Tensor) -> Tensor:  # (batch, T, dim)
        x = x + self.mixer(self.mixer_norm(x))
        return x if self.mlp is None else x + self.mlp(self.mlp_norm(x))


class LanguageModel(nn.Module):
    """Embedding, pre-norm residual blocks of one kind of mixer, and an untied head."""

    def __init__(self, config: ModelConfig, mixer: Callable[[ModelConfig], nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config, mixer(config)) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, eps=1e-5)
        self.head = nn.Linear(config.dim, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(batch, T, V)`` of the token after each of ``tokens (batch, T)``, int64.

        Raises:
            ValueError: tokens that are not a batch of sequences, or more of them than ``max_length``.
        """
        if tokens.ndim != 2:
            raise ValueError(f"tokens: saw shape {tuple(tokens.shape)}; (batch, T) is needed")
        if tokens.shape[1] > self.config.max_length:
            raise ValueError(f"tokens: saw {tokens.shape[1]} of them; max_length is {self.config.max_length}")
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def nll(self, tokens: Tensor) -> Tensor:
        """``-log P(x_t | x_<t)``, ``(batch, T - 1)`` nats, of ``tokens (batch, T)``, beside ``filter(..).nll``."""
        logits = self(tokens[:, :-1])
        return F.cross_entropy(logits.transpose(1, 2).float(), tokens[:, 1:], reduction="none")

    @property
    def num_parameters(self) -> int:
        """Trained numbers, embedding and head included."""
        return sum(parameter.numel() for parameter in self.parameters())


def initialised(config: ModelConfig, mixer: Callable[[ModelConfig], nn.Module], seed: int) -> LanguageModel:
    """A model whose weights follow the one policy, drawn from ``seed`` alone.

    Every ``nn.Linear`` is normal with standard deviation 1 / sqrt(inputs), the embedding with 1, the head with 1 / dim,
    so that a new model's predictions are nearly uniform. The projections back into the residual stream, which are all
    named ``out``, are divided by sqrt(number of them): the stream's variance does not grow with depth. Parameters that
    a mixer owns itself (convolutions, decays, step biases) are the mixer's to set, and left alone here.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = LanguageModel(config, mixer)
        linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        outputs = sum(name.endswith(".out") for name in linears)
        for name, module in linears.items():
            depth = sqrt(outputs) if name.endswith(".out") else 1.0
            nn.init.normal_(module.weight, std=1.0 / (sqrt(module.in_features) * depth))
        nn.init.normal_(model.embedding.weight)
        nn.init.normal_(model.head.weight, std=1.0 / config.dim)
    return model
