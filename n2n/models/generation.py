"""Drawing tokens from a model's predictions."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from n2n.utils.strict import Count, NonNegative, Positive, Seed, Strict


class Sampling(Strict):
    """How the next token is drawn.

    Args:
        temperature: divides the logits; 0 takes the most probable token.
        top_k: draw from the so many most probable tokens alone; None: from all.
        top_p: draw from the fewest most probable tokens that hold this probability; 1: from all.
        seed: names the random numbers. Those of row i are the same in any batch.

    Raises:
        ValueError: a value out of range.
    """

    temperature: NonNegative = 1.0
    top_k: Count | None = None
    top_p: Annotated[Positive, Field(le=1)] = 1.0
    seed: Seed = 0

    def uniforms(self, batch: int, length: int) -> Tensor:
        """``(batch, length)`` in [0, 1), float64, on the CPU."""
        rows = [np.random.Generator(np.random.Philox(key=[self.seed, i])).random(length) for i in range(batch)]
        return torch.from_numpy(np.stack(rows))

    def choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """A token ``(batch,)`` for each row of ``logits (batch, V)``, by inversion: ``uniform (batch,)`` decides it."""
        if self.temperature == 0:
            return logits.argmax(-1)
        ordered, tokens = logits.double().sort(dim=-1, descending=True, stable=True)
        probability = (ordered / self.temperature).softmax(-1)
        before = probability.cumsum(-1) - probability  # of all that are more probable
        out = before >= self.top_p
        if self.top_k is not None:
            out[:, self.top_k :] = True
        out[:, 0] = False
        total = probability.masked_fill(out, 0.0).cumsum(-1)
        place = torch.searchsorted(total, (uniform.to(total.device) * total[:, -1])[:, None], right=True)
        last = (~out).sum(-1, keepdim=True) - 1
        return tokens.gather(-1, torch.minimum(place, last)).squeeze(-1)
