"""What a model does inside, on given tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Inspection:
    """A model's work on tokens ``(batch, T)``.

    Attributes:
        logits: ``(batch, T, V)``, as the model itself gives.
        residual: the residual stream before each block and after the last, ``(batch, layers + 1, T, dim)``, or None if
            it was not asked for. The last one is what the final norm and the head read.
        mixing: how each mixer moves what is at one token to another, ``(batch, layers, heads, query, key)``, 0 where
            key > query, or None. Of a transformer: the softmax weights. Of a Mamba: what x_s, after the convolution, is
            in y_t, before the gate, exact for each head; it has either sign. Of minGRU, minLSTM and Hawk: the mean over
            a head's channels of the absolute share of the candidate at s in h_t; ``model.blocks[i].mixer.mixing(x)``
            has each channel's own. Such a layer sees the last tokens through its convolution too, before.
    """

    logits: Tensor
    residual: Tensor | None
    mixing: Tensor | None
