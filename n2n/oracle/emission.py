"""What a token says of the joint latent states, in torch, laid out as beliefs are: ``(S, batch)``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from n2n.process.process import Process

_CHUNK = 2**21  # bytes of likelihoods looked up at once: few enough to stay in the cache


@dataclass(frozen=True, eq=False)
class Emission:
    """X's kernel, by (previous token where it is seen, token).

    Attributes:
        rows: ``(previous tokens or 1, V, P)``, P joint states of X's parents in topological order.
        spread: a likelihood's shape over the latents, 1 for those that X does not see.
        sizes: number of states of every latent.
    """

    rows: Tensor
    spread: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, process: Process, device: torch.device, dtype: torch.dtype) -> Emission:
        """The emission of a process on a device."""
        x, names = process.graph.observed, process.graph.latent_names
        kernel = torch.tensor(process.kernels[x.name], device=device, dtype=dtype)
        kernel = kernel if x.recurrent else kernel[None]
        order = sorted(range(len(x.parents)), key=lambda i: names.index(x.parents[i]))
        rows = kernel.permute(0, -1, *(1 + i for i in order)).reshape(len(kernel), x.num_states, -1).contiguous()
        sizes = process.graph.latent_sizes
        spread = tuple(size if name in x.parents else 1 for name, size in zip(names, sizes, strict=True))
        return cls(rows, spread, sizes)

    def likelihoods(self, tokens: Tensor) -> Iterator[Tensor]:
        """P(x_t | parents) for t = 1 .. T - 1 of ``tokens (batch, T)``, each ``(P, batch)``."""
        count = len(tokens)
        vocab_size, seen = self.rows.shape[1:]
        index = tokens[:, 1:] + vocab_size * self._previous(tokens[:, :-1])  # (batch, T - 1)
        at_once = max(1, _CHUNK // (count * seen * self.rows.element_size()))
        for part in index.T.split(at_once):
            found = self.rows.view(-1, seen).index_select(0, part.reshape(-1)).view(len(part), count, seen)
            yield from found.transpose(1, 2).contiguous()

    def parents(self, belief: Tensor) -> Tensor:
        """A belief ``(S, batch)`` summed to one over X's parents, ``(P, batch)``."""
        others = [axis for axis, (kept, size) in enumerate(zip(self.spread, self.sizes, strict=True)) if kept != size]
        return belief.view(*self.sizes, -1).sum(others).view(-1, belief.shape[1]) if others else belief

    def update(self, belief: Tensor, likelihood: Tensor) -> tuple[Tensor, Tensor]:
        """The belief ``(S, batch)`` given a token of this likelihood ``(P, batch)``, and the token's probability."""
        seen = self.parents(belief)
        weight = seen * likelihood
        evidence = weight.sum(0)  # (batch,)
        if seen is belief:
            return weight.div_(evidence), evidence
        return self.weigh(belief, likelihood / evidence), evidence

    def weigh(self, values: Tensor, factor: Tensor) -> Tensor:
        """Values over the joint states ``(S, batch)`` times a function of X's parents ``(P, batch)``."""
        over_axes = factor.view(*self.spread, values.shape[1])
        return (values.view(*self.sizes, -1) * over_axes).view(values.shape)

    def predict(self, seen: Tensor, previous: Tensor) -> Tensor:
        """P(x_t), ``(batch, V)``, from a law over X's parents ``(P, batch)`` and ``x_{t-1} (batch,)``."""
        if len(self.rows) == 1:
            return (self.rows[0] @ seen).T
        return torch.bmm(self.rows[previous], seen.T[..., None]).squeeze(-1)

    def _previous(self, tokens: Tensor) -> Tensor:
        return tokens if len(self.rows) > 1 else torch.zeros_like(tokens)
