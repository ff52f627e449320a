"""What a mixer is, and the options that all architectures share."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from n2n.models.ops import Kernels, require_fused
from n2n.utils.strict import Count, NonNegative, Strict

ConvWidth = Literal[0, 2, 3, 4]  # 0: no convolution
Width = Annotated[Count, Field(le=2**20)]
Depth = Annotated[Count, Field(le=2**12)]
Ratio = Annotated[NonNegative, Field(le=2**10)]  # of a width to dim
_HEADS_LISTED = 256  # an error lists the numbers of heads allowed as far as this


class Frame(Strict):
    """What the language model around the mixers needs to know.

    Args:
        vocab_size: number of symbols.
        dim: width of the residual stream.
        layers: number of blocks.
        max_length: longest input, in tokens.
        tied: use the embedding as the head too.
        dropout: probability with which a number that a mixer or an MLP adds to the stream is dropped, in training mode.
    """

    vocab_size: Annotated[Count, Field(le=2**31)]
    dim: Width = 64
    layers: Depth = 2
    max_length: Annotated[Count, Field(le=2**20)] = 8192
    tied: bool = False
    dropout: Annotated[NonNegative, Field(lt=1)] = 0.0


class Hybrid(Frame):
    """A model whose layers are of several architectures.

    Args:
        pattern: the architecture of each layer, repeated until there are ``layers`` of them.

    Raises:
        ValueError: a number of layers that is no multiple of the pattern's length.
    """

    pattern: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _repeats(self) -> Hybrid:
        size = len(self.pattern)
        if self.layers % size:
            raise ValueError(f"layers: saw {self.layers}; the pattern of {size} needs a multiple of {size}")
        return self


class ModelConfig(Frame):
    """What all architectures share, beside the fields of ``Frame``.

    Args:
        heads: heads of the mixer; must divide ``dim`` (of a Mamba, ``expand * dim``) into widths that
            ``head_multiple`` divides.
        mlp_ratio: hidden width of each block's SwiGLU as a multiple of ``dim``; 0 leaves it out.
        kernels: ``"torch"``, ``"fused"`` (the CUDA kernels of mamba-ssm and causal-conv1d), or ``"auto"``: fused where
            they import and the tensors are on a CUDA GPU. It changes the speed alone.

    Raises:
        ValueError: a wrong field, a width that the heads do not divide, or fused kernels that do not import.
    """

    heads: Count = 4
    mlp_ratio: Ratio = 0.0
    kernels: Kernels = "auto"

    head_multiple: ClassVar[int] = 1
    finest: ClassVar[str | None] = None  # a count that changes the size in fine steps, for models without an MLP

    @field_validator("kernels")
    @classmethod
    def _importable(cls, kernels: Kernels) -> Kernels:
        if kernels == "fused":
            require_fused()
        return kernels

    @property
    def divided(self) -> tuple[str, int]:
        """The width that the heads divide, with its name."""
        return "dim", self.dim

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        (name, width), multiple = self.divided, self.head_multiple
        if width % (self.heads * multiple):
            allowed = [h for h in range(1, _HEADS_LISTED + 1) if width % (h * multiple) == 0]
            into = "" if multiple == 1 else f" into heads of a width that {multiple} divides"
            limit = f" up to {_HEADS_LISTED}" if width > _HEADS_LISTED else ""
            raise ValueError(
                f"heads: saw {self.heads}, which does not divide {name} {width}{into}; allowed{limit}: {allowed}"
            )
        return self


def widened(dim: int, ratio: float, multiple: int) -> int:
    """``ratio`` times ``dim``, rounded up to a multiple."""
    return max(1, ceil(dim * ratio / multiple)) * multiple


class Mixing(NamedTuple):
    """A mixer's work on one input as a product: ``matrix @ values``, and what the mixer makes of it.

    Attributes:
        matrix: ``(batch, groups, query, key)``, 0 where key > query. A group is a head, or a channel where each channel
            has a matrix of its own.
        values: ``(batch, groups, key, width)``.
        output: ``(batch, T, dim)``, the mixer's output, computed from ``matrix @ values``.
    """

    matrix: Tensor
    values: Tensor
    output: Tensor


class SequenceMixer(nn.Module):
    """Base of every architecture's ``Mixer``: a causal map of ``(batch, T, dim)`` to the same.

    A subclass defines ``forward(x)``, or ``resume`` where it can carry a state on: the one is made of the other here.
    The state of a mixer that defines ``forward`` alone is all of its inputs, which each ``resume`` maps anew.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.forward is SequenceMixer.forward and cls.resume is SequenceMixer.resume:
            raise TypeError(f"{cls.__module__}.{cls.__qualname__} defines neither forward(x) nor resume(x, state)")

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def resume(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The outputs for ``x (batch, T, dim)``, the tokens after those that ``state`` has seen, and the new state.

        A state is a tuple of tensors, or None before the first token; the one given is left as it was.
        """
        seen = x if state is None else torch.cat([*state, x], dim=1)
        return self(seen)[:, seen.shape[1] - x.shape[1] :], (seen,)

    def mixing(self, x: Tensor) -> Mixing:
        """The exact mixing matrices for ``x (batch, T, dim)``, a sequence from its start.

        Raises:
            ValueError: an architecture that does not say.
        """
        raise ValueError(f"{type(self).__module__} does not say how it mixes tokens; give its Mixer a method mixing(x)")

    def head_mixing(self, x: Tensor) -> Tensor:
        """A matrix for each head, ``(batch, heads, query, key)``: ``mixing(x).matrix`` where its groups are heads."""
        return self.mixing(x).matrix
