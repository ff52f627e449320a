"""The likelihood of a token under each joint latent state, in torch, with the layout of a belief: ``(S, batch)``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from n2n.process.process import Process

_CHUNK = 2**21  # bytes of likelihoods that are looked up at once; they fit into the cache


@dataclass(frozen=True, eq=False)
class Emission:
    """The kernel of X, indexed by the previous token (if X sees it) and the token.

    Attributes:
        rows: ``(previous tokens or 1, V, P)``, for the P joint states of X's parents in topological order.
        spread: shape of a likelihood over the latents; 1 for each latent that X does not see.
        sizes: number of states of each latent.
    """

    rows: Tensor
    spread: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, process: Process, device: torch.device, dtype: torch.dtype) -> Emission:
        """Build the emission of a process on a device."""
        x, names = process.graph.observed, process.graph.latent_names
        kernel = torch.tensor(process.kernels[x.name], device=device, dtype=dtype)
        kernel = kernel if x.recurrent else kernel[None]
        order = sorted(range(len(x.parents)), key=lambda i: names.index(x.parents[i]))
        rows = kernel.permute(0, -1, *(1 + i for i in order)).reshape(len(kernel), x.num_states, -1).contiguous()
        sizes = process.graph.latent_sizes
        spread = tuple(size if name in x.parents else 1 for name, size in zip(names, sizes, strict=True))
        return cls(rows, spread, sizes)

    def likelihoods(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield P(x_t | parents), ``(P, batch)``, for t = 1 .. T - 1 of ``tokens (batch, T)``."""
        count = len(tokens)
        vocab_size, seen = self.rows.shape[1:]
        index = tokens[:, 1:] + vocab_size * self._previous(tokens[:, :-1])  # (batch, T - 1)
        at_once = max(1, _CHUNK // (count * seen * self.rows.element_size()))
        for part in index.T.split(at_once):
            rows = self.rows.view(-1, seen).index_select(0, part.reshape(-1)).view(len(part), count, seen)
            yield from rows.transpose(1, 2).contiguous()

    def parents(self, belief: Tensor) -> Tensor:
        """Marginalise a belief ``(S, batch)`` to X's parents, ``(P, batch)``."""
        others = [axis for axis, (kept, size) in enumerate(zip(self.spread, self.sizes, strict=True)) if kept != size]
        return belief.view(*self.sizes, -1).sum(others).view(-1, belief.shape[1]) if others else belief

    def update(self, belief: Tensor, likelihood: Tensor) -> tuple[Tensor, Tensor]:
        """Condition a belief ``(S, batch)`` on a token with this likelihood ``(P, batch)``.

        Returns:
            The new belief ``(S, batch)``, and the probability of the token under the old one, ``(batch,)``.
        """
        seen = self.parents(belief)
        weight = seen * likelihood
        evidence = weight.sum(0)  # (batch,)
        if seen is belief:
            return weight.div_(evidence), evidence
        return self.weigh(belief, likelihood / evidence), evidence

    def weigh(self, values: Tensor, factor: Tensor) -> Tensor:
        """Multiply values over the joint states ``(S, batch)`` by a function of X's parents ``(P, batch)``."""
        over_axes = factor.view(*self.spread, values.shape[1])
        return (values.view(*self.sizes, -1) * over_axes).view(values.shape)

    def predict(self, seen: Tensor, previous: Tensor) -> Tensor:
        """P(x_t), ``(batch, V)``, from a distribution over X's parents ``(P, batch)`` and ``x_{t-1} (batch,)``."""
        if len(self.rows) == 1:
            return (self.rows[0] @ seen).T
        return torch.bmm(self.rows[previous], seen.T[..., None]).squeeze(-1)

    def _previous(self, tokens: Tensor) -> Tensor:
        return tokens if len(self.rows) > 1 else torch.zeros_like(tokens)
