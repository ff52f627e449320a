"""The filter of a Bayesian who takes the latents for independent: what is left of the oracle without correlations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_tokens, rows_at_once
from n2n.oracle.filtering import Oracle, by_name, given_first, marginals_of, nll_of
from n2n.process.process import Process
from n2n.utils.threads import torch_threads


@dataclass(frozen=True, eq=False)
class MeanField:
    """What the mean-field filter says of each token.

    Attributes:
        nll: ``(batch, T - 1)``, minus the logarithm of its probability of x_t given x_<t, nats; infinite at a token
            that the process cannot emit, and nan after it; infinite at t = 1 if the process cannot emit x_0.
        beliefs: ``{name: (batch, T, n)}``, its belief about each latent given x_<=t.
    """

    nll: Tensor
    beliefs: dict[str, Tensor]


@torch_threads(1)
def mean_field(
    process: Process, tokens, *, dtype: torch.dtype = torch.float64, memory_budget: int = MEMORY_BUDGET
) -> MeanField:
    """The forward algorithm with its belief replaced, after each token, by the product of the latents' own beliefs.

    One step is exact; what is forgotten between steps are the correlations among latents. With one latent, or with
    latents that neither see one another nor are seen together, it is the oracle.

    Args:
        process: the process that the tokens are judged by.
        tokens: ``(batch, T)`` integers, T at least 2, each row a sequence from its start.
        dtype: ``torch.float64`` or ``torch.float32``.
        memory_budget: bytes, inside which the batch is cut; what is returned comes on top.

    Raises:
        ValueError: as ``n2n.filter``.

    Source: Boyen and Koller, "Tractable inference for complex stochastic processes", UAI (1998), each latent its own
    cluster.
    """
    tokens = check_tokens(process, tokens)
    oracle = Oracle.of(process, tokens.device, dtype, memory_budget)
    rows = rows_at_once(process.graph, memory_budget, tokens.device, dtype)
    parts = [_part(oracle, part) for part in tokens.split(rows)]
    beliefs = {name: torch.cat([part.beliefs[name] for part in parts]) for name in parts[0].beliefs}
    return MeanField(torch.cat([part.nll for part in parts]), beliefs)


def _part(oracle: Oracle, tokens: Tensor) -> MeanField:
    emission, columns = oracle.emission, tokens.T.contiguous().unbind()
    belief, first = oracle.start(columns[0])
    marginals, evidences = [marginals_of(belief, emission.sizes)], []
    for previous, likelihood in zip(columns, emission.likelihoods(tokens), strict=False):
        moved = oracle.move(_factored(belief, marginals[-1]), previous)
        belief, evidence = emission.update(moved, likelihood)
        marginals.append(marginals_of(belief, emission.sizes))
        evidences.append(evidence)
    nll = given_first(nll_of(torch.stack(evidences, 1)), first.log())
    return MeanField(nll, by_name(oracle.process.graph.latents, marginals))


def _factored(belief: Tensor, laws: list[Tensor]) -> Tensor:
    """The product of a belief's marginals, ``(S, batch)`` like the belief itself; the last latent is the fastest."""
    joint = torch.ones_like(belief[:1])
    for law in laws:  # (n, batch)
        joint = (joint[:, None] * law).flatten(0, 1)
    return joint
