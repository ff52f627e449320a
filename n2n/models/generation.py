"""Drawing tokens from a model's predictions."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from n2n.utils.strict import Count, NonNegative, Positive, Seed, Strict


class Sampling(Strict):
    """How to draw the next token from the predicted probabilities.

    Args:
        temperature: divides the logits; 0 takes the most probable token.
        top_k: number of most probable tokens to draw from; None draws from all.
        top_p: draw from the smallest set of most probable tokens whose total probability is at least this; 1 draws from
            all.
        seed: seed of the random numbers. Row i of a batch gets the same numbers in a batch of any size.

    Raises:
        ValueError: if a value is out of range.
    """

    temperature: NonNegative = 1.0
    top_k: Count | None = None
    top_p: Annotated[Positive, Field(le=1)] = 1.0
    seed: Seed = 0

    def uniforms(self, batch: int, length: int) -> Tensor:
        """Uniform random numbers in [0, 1), ``(batch, length)``, float64, on the CPU."""
        rows = [np.random.Generator(np.random.Philox(key=[self.seed, i])).random(length) for i in range(batch)]
        return torch.from_numpy(np.stack(rows))

    def choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """A token ``(batch,)`` for each row of ``logits (batch, V)``, drawn by inversion of ``uniform (batch,)``."""
        if self.temperature == 0:
            return logits.argmax(-1)
        ordered, tokens = logits.double().sort(dim=-1, descending=True, stable=True)
        probability = (ordered / self.temperature).softmax(-1)
        before = probability.cumsum(-1) - probability  # total probability of all tokens that are more probable
        excluded = before >= self.top_p
        if self.top_k is not None:
            excluded[:, self.top_k :] = True
        excluded[:, 0] = False
        total = probability.masked_fill(excluded, 0.0).cumsum(-1)
        place = torch.searchsorted(total, (uniform.to(total.device) * total[:, -1])[:, None], right=True)
        last = (~excluded).sum(-1, keepdim=True) - 1
        return tokens.gather(-1, torch.minimum(place, last)).squeeze(-1)
