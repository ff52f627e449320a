"""The internal values of a model on some tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Inspection:
    """Values that a model computes on tokens ``(batch, T)``.

    Attributes:
        logits: the model's output, ``(batch, T, V)``.
        residual: the residual stream before each block and after the last, ``(batch, layers + 1, T, dim)``. The final
            norm and the head read the last one. None if it was not requested.
        mixing: how each mixer moves information from token to token, ``(batch, layers, heads, query, key)``, 0 where
            key > query. None if it was not requested.

            - transformer: the softmax weights.
            - Mamba: the exact contribution of x_s (after the convolution) to y_t (before the gate), for each head. It
              can be negative.
            - minGRU, minLSTM and Hawk: the absolute contribution of the candidate at s to h_t, averaged over the
              channels of a head. ``model.blocks[i].mixer.mixing(x)`` has the matrix of each channel.

            In all but the transformer the convolution, which comes first, also reads the last few tokens.
    """

    logits: Tensor
    residual: Tensor | None
    mixing: Tensor | None
