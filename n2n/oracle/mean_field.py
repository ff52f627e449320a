"""The mean-field filter: the forward algorithm without correlations among the latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_tables, check_tokens, rows_at_once, table_bytes
from n2n.oracle.compiled.forward import filter_sequences
from n2n.oracle.compiled.program import numpy_dtype, program_of
from n2n.oracle.filtering import by_name, marginals_of, mark_impossible_start, nll_of, split_marginals
from n2n.oracle.forward import Oracle
from n2n.process.process import Process
from n2n.utils.threads import torch_threads


@dataclass(frozen=True, eq=False)
class MeanField:
    """Losses and beliefs of the mean-field filter.

    Attributes:
        nll: ``(batch, T - 1)``, minus the logarithm of the probability it assigns to x_t given x_<t, nats. It is
            infinite at a token that the process cannot emit and nan after it. If the process cannot emit x_0, it is
            infinite at t = 1.
        beliefs: ``{name: (batch, T, n)}``, its belief about each latent given x_<=t.
    """

    nll: Tensor
    beliefs: dict[str, Tensor]


@torch_threads(1)
def mean_field(
    process: Process, tokens, *, dtype: torch.dtype = torch.float64, memory_budget: int = MEMORY_BUDGET
) -> MeanField:
    """Run the forward algorithm with each belief replaced by the product of its marginals.

    Each step is exact; only correlations among latents are lost between steps. The result equals the oracle's for a
    single latent, and for latents that neither depend on each other nor share a child.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2, each row a sequence from its start.
        dtype: ``torch.float64`` or ``torch.float32``.
        memory_budget: bytes. The batch is split to stay within it; the results need memory in addition.

    Raises:
        ValueError: under the same conditions as ``n2n.filter``.

    Source: Boyen and Koller, "Tractable inference for complex stochastic processes", UAI (1998), with one cluster per
    latent.
    """
    tokens = check_tokens(process, tokens)
    run = _mean_field_compiled if tokens.device.type == "cpu" else mean_field_torch
    evidence, beliefs = run(process, tokens, dtype, memory_budget)
    return MeanField(mark_impossible_start(nll_of(evidence[:, 1:]), evidence[:, 0].log()), beliefs)


def _mean_field_compiled(
    process: Process, tokens: Tensor, dtype: torch.dtype, memory_budget: int
) -> tuple[Tensor, dict[str, Tensor]]:
    check_tables(process.graph, dtype, memory_budget)
    memory = memory_budget - table_bytes(process.graph, dtype)
    program = program_of(process, numpy_dtype(dtype))
    outputs = filter_sequences(program, tokens.numpy(), beliefs=True, factored=True, memory=memory)
    return torch.from_numpy(outputs.evidence), split_marginals(process.graph, torch.from_numpy(outputs.beliefs))


def mean_field_torch(
    process: Process, tokens: Tensor, dtype: torch.dtype, memory_budget: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the mean-field filter in torch; returns probabilities of the tokens, ``(batch, T)``, and beliefs."""
    oracle = Oracle.of(process, tokens.device, dtype, memory_budget)
    rows = rows_at_once(process.graph, memory_budget, tokens.device, dtype)
    evidence, beliefs = zip(*(_part(oracle, part) for part in tokens.split(rows)), strict=True)
    return torch.cat(evidence), {name: torch.cat([part[name] for part in beliefs]) for name in beliefs[0]}


def _part(oracle: Oracle, tokens: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    marginals = []

    def factored(belief: Tensor) -> Tensor:
        return _product(belief, marginals[-1]) if marginals[-1] else belief

    evidences = []
    for belief, evidence, _ in oracle.forward(tokens, approximate=factored):
        marginals.append(marginals_of(belief, oracle.emission.sizes))
        evidences.append(evidence)
    return torch.stack(evidences, 1), by_name(oracle.process.graph.latents, marginals)


def _product(belief: Tensor, marginals: list[Tensor]) -> Tensor:
    """The product of a belief's marginals, ``(S, batch)`` like the belief itself; the last latent changes fastest."""
    joint = torch.ones_like(belief[:1])
    for marginal in marginals:  # (n, batch)
        joint = (joint[:, None] * marginal).flatten(0, 1)
    return joint
