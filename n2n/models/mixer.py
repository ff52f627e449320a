"""Base classes of mixers (token-mixing layers), and the options that all architectures share."""

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
_MAX_LISTED_HEADS = 256  # an error message lists the allowed numbers of heads up to this one


class Frame(Strict):
    """Options of the language model around the mixers.

    Args:
        vocab_size: number of symbols.
        dim: width of the residual stream.
        layers: number of blocks.
        max_length: maximum number of tokens in an input.
        tied: whether the head uses the weights of the embedding.
        dropout: probability of dropping each value that a mixer or an MLP adds to the residual stream, in training
            mode.
    """

    vocab_size: Annotated[Count, Field(le=2**31)]
    dim: Width = 64
    layers: Depth = 2
    max_length: Annotated[Count, Field(le=2**20)] = 8192
    tied: bool = False
    dropout: Annotated[NonNegative, Field(lt=1)] = 0.0


class Hybrid(Frame):
    """Options of a model that combines several architectures.

    Args:
        pattern: the architecture of each layer. It repeats until there are ``layers`` layers.

    Raises:
        ValueError: if the number of layers is not a multiple of the pattern's length.
    """

    pattern: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _repeats(self) -> Hybrid:
        size = len(self.pattern)
        if self.layers % size:
            raise ValueError(f"layers: saw {self.layers}; the pattern of {size} needs a multiple of {size}")
        return self


class ModelConfig(Frame):
    """Options that all architectures share, with those of ``Frame``.

    Args:
        heads: number of heads of the mixer. It must divide ``dim`` (for a Mamba, ``expand * dim``), and the width of a
            head must be a multiple of ``head_multiple``.
        mlp_ratio: hidden width of each block's SwiGLU as a multiple of ``dim``; 0 means no SwiGLU.
        kernels: ``"torch"``; ``"fused"``, the CUDA kernels of mamba-ssm and causal-conv1d; or ``"auto"``, which uses
            the fused kernels if they are installed and the tensors are on a CUDA GPU. It changes only the speed.

    Raises:
        ValueError: if a field is wrong, the heads do not divide the width, or fused kernels cannot be imported.
    """

    heads: Count = 4
    mlp_ratio: Ratio = 0.0
    kernels: Kernels = "auto"

    head_multiple: ClassVar[int] = 1
    size_option: ClassVar[str | None] = None  # option that changes the number of parameters in small steps, if no MLP

    @field_validator("kernels")
    @classmethod
    def _importable(cls, kernels: Kernels) -> Kernels:
        if kernels == "fused":
            require_fused()
        return kernels

    @property
    def divided(self) -> tuple[str, int]:
        """Name and value of the width that the heads must divide."""
        return "dim", self.dim

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        (name, width), multiple = self.divided, self.head_multiple
        if width % (self.heads * multiple):
            allowed = [h for h in range(1, _MAX_LISTED_HEADS + 1) if width % (h * multiple) == 0]
            into = "" if multiple == 1 else f" into heads of a width that {multiple} divides"
            limit = f" up to {_MAX_LISTED_HEADS}" if width > _MAX_LISTED_HEADS else ""
            raise ValueError(
                f"heads: saw {self.heads}, which does not divide {name} {width}{into}; allowed{limit}: {allowed}"
            )
        return self


def widened(dim: int, ratio: float, multiple: int) -> int:
    """``ratio`` times ``dim``, rounded up to a multiple of ``multiple``."""
    return max(1, ceil(dim * ratio / multiple)) * multiple


class Mixing(NamedTuple):
    """A mixer's computation on one input, written as a matrix product ``matrix @ values``.

    Attributes:
        matrix: ``(batch, groups, query, key)``, 0 where key > query. A group is a head, or a single channel if each
            channel has its own matrix.
        values: what the matrix mixes, ``(batch, groups, key, width)``.
        output: the mixer's output, computed from ``matrix @ values``, ``(batch, T, dim)``.
    """

    matrix: Tensor
    values: Tensor
    output: Tensor


class SequenceMixer(nn.Module):
    """Base class of every architecture's ``Mixer``: a causal map from ``(batch, T, dim)`` to the same shape.

    A subclass defines ``forward(x)``, or ``resume(x, state)`` if it can carry a state; this class derives the other
    method. If a subclass defines only ``forward``, its state is all past inputs, and each ``resume`` maps them again.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.forward is SequenceMixer.forward and cls.resume is SequenceMixer.resume:
            raise TypeError(f"{cls.__module__}.{cls.__qualname__} defines neither forward(x) nor resume(x, state)")

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def resume(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Continue a sequence.

        Args:
            x: inputs for the tokens that follow those of ``state``, ``(batch, T, dim)``.
            state: a tuple of tensors, or None before the first token. It is not modified.

        Returns:
            The outputs ``(batch, T, dim)`` and the new state.
        """
        inputs = x if state is None else torch.cat([*state, x], dim=1)
        return self(inputs)[:, inputs.shape[1] - x.shape[1] :], (inputs,)

    def mixing(self, x: Tensor) -> Mixing:
        """The exact mixing matrices for ``x (batch, T, dim)``, which starts at the first token.

        Raises:
            ValueError: if the architecture does not define this method.
        """
        raise ValueError(f"{type(self).__module__} does not say how it mixes tokens; give its Mixer a method mixing(x)")

    def head_mixing(self, x: Tensor) -> Tensor:
        """One matrix per head, ``(batch, heads, query, key)``; ``mixing(x).matrix`` if its groups are heads."""
        return self.mixing(x).matrix
