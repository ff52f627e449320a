"""The exact oracle: the losses and beliefs of the best possible predictor of a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.checks import MEMORY_BUDGET, check_tables, check_tokens, joint_start, rows_at_once, table_bytes
from n2n.oracle.compiled.forward import filter_sequences
from n2n.oracle.compiled.program import numpy_dtype, program_of
from n2n.oracle.forward import Oracle
from n2n.process.process import Process
from n2n.utils.threads import torch_threads


@dataclass(frozen=True, eq=False)
class Filtered:
    """Losses, predictive distributions and beliefs of the Bayes-optimal predictor, which knows the process.

    Attributes:
        nll: ``(batch, T - 1)``, ``-log P(x_t | x_<t)`` for t = 1 .. T - 1, nats. It is infinite at a token that the
            process cannot emit and nan after it, where the conditional probability is undefined. x_0 has no entry of
            its own; if the process cannot emit it, the entry at t = 1 is infinite. A probability within rounding of 1
            gives 0.
        log_likelihood: ``(batch,)``, ``log P(x_0, .., x_{T-1})``, nats. It includes the first token, whose probability
            is 1 with ``initial="zero"``. It is minus infinity if the process cannot emit the tokens. With a known start
            it is ``log P(z_0, x_0, .., x_{T-1})``.
        predictive: ``(batch, T - 1, V)``, ``P(x_t = v | x_<t)``, or None if not requested.
        beliefs: ``{name: (batch, T, n)}``, ``P(z_t | x_<=t)`` for each latent node, or None if not requested.
        joint: ``(batch, T, n_1, .., n_K)``, ``P(z_t | x_<=t)`` for all latents jointly, in ``graph.latents`` order, or
            None if not requested.
    """

    nll: Tensor
    log_likelihood: Tensor
    predictive: Tensor | None
    beliefs: dict[str, Tensor] | None
    joint: Tensor | None


@torch_threads(1)
def filter(
    process: Process,
    tokens,
    *,
    predictive: bool = False,
    beliefs: bool = False,
    joint: bool = False,
    start: Mapping[str, ArrayLike] | None = None,
    dtype: torch.dtype = torch.float64,
    memory_budget: int = MEMORY_BUDGET,
) -> Filtered:
    """Run the normalised forward algorithm, one block of latents at a time.

    A token costs O(S * sum of n_i) for S joint latent states and n_i states of node i; the S x S matrix is never built.
    Small neighbouring latents are merged into one block where one larger product is faster than several passes.

    On a CPU the filter runs compiled, on all cores. The first call with each dtype compiles it, which takes several
    seconds; the machine code is cached on disk for other processes. A sequence's result is the same to the bit in every
    batch and on any number of threads. On other devices the filter runs in torch.

    Probabilities below the smallest normal number of the dtype (1e-38 in float32, 2e-308 in float64) count as 0. After
    tokens whose losses add up to that order (87 nats in float32, 708 in float64), later losses can be wrong or
    infinite. Such tokens practically never come from the process itself, but another process may emit them.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2. Each row is a sequence from its start (which is 0 with
            ``initial="zero"``). If this is a tensor, the filter runs on its device.
        predictive: whether to return the distribution of each next token.
        beliefs: whether to return the belief about each latent node.
        joint: whether to return the belief about all latents jointly.
        start: ``{name: (batch,)}``, the known state of every latent at t = 0, such as column 0 of ``sample.latents``;
            None if the start is unknown.
        dtype: ``torch.float64`` or ``torch.float32``, used for the computation and the results.
        memory_budget: bytes. The batch is split to stay within it; the results need memory in addition.

    Raises:
        ValueError: if the process redraws kernels for every sequence; if the tokens have a wrong shape or type, lie
            outside the vocabulary or, with ``initial="zero"``, do not start with 0; if the dtype is not supported; or
            if the tables and the belief of one sequence exceed the budget.

    Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), section III.A, on a factored state.
    """
    tokens = check_tokens(process, tokens)
    known = None if start is None else joint_start(process, start, tokens)
    run = _filter_compiled if tokens.device.type == "cpu" else filter_torch
    results = run(process, tokens, known, dtype, memory_budget, predictive=predictive, beliefs=beliefs, joint=joint)
    first, nll = results.evidence[:, 0].log(), nll_of(results.evidence[:, 1:])
    if known is None:  # with a known start, later tokens are conditioned on it even if its probability is 0
        nll = mark_impossible_start(nll, first)
    log_likelihood = sequence_log_likelihood(first - nll.sum(1))
    return Filtered(nll, log_likelihood, results.predictive, results.beliefs, results.joint)


class Results(NamedTuple):
    """What a run of the forward algorithm computes; None for what was not requested.

    Attributes:
        evidence: ``(batch, T)``, ``P(x_t | x_<t)``; the first one is ``P(x_0)``.
        predictive, beliefs, joint: as in ``Filtered``.
    """

    evidence: Tensor
    predictive: Tensor | None
    beliefs: dict[str, Tensor] | None
    joint: Tensor | None


def _filter_compiled(
    process: Process, tokens: Tensor, known: Tensor | None, dtype: torch.dtype, memory_budget: int, **kept: bool
) -> Results:
    graph, length = process.graph, tokens.shape[1]
    check_tables(graph, dtype, memory_budget)
    memory = memory_budget - table_bytes(graph, dtype)
    states = None if known is None else known.numpy()
    program = program_of(process, numpy_dtype(dtype))
    outputs = filter_sequences(program, tokens.numpy(), states, memory=memory, **kept)
    evidence, predictive, marginals, joint = map(torch.from_numpy, outputs)
    return Results(
        evidence,
        predictive if kept["predictive"] else None,
        split_marginals(graph, marginals) if kept["beliefs"] else None,
        joint.view(len(tokens), length, *graph.latent_sizes) if kept["joint"] else None,
    )


def filter_torch(
    process: Process, tokens: Tensor, known: Tensor | None, dtype: torch.dtype, memory_budget: int, **kept: bool
) -> Results:
    """Run the forward algorithm in torch: on other devices than CPUs, and as the readable twin of the compiled one."""
    oracle = Oracle.of(process, tokens.device, dtype, memory_budget)
    rows = rows_at_once(process.graph, memory_budget, tokens.device, dtype)
    batches = tokens.split(rows)
    starts = [None] * len(batches) if known is None else known.split(rows)
    parts = [_filter_part(oracle, batch, at, **kept) for batch, at in zip(batches, starts, strict=True)]
    joined = {name: torch.cat([part.beliefs[name] for part in parts]) for name in parts[0].beliefs or {}}
    return Results(
        torch.cat([part.evidence for part in parts]),
        torch.cat([part.predictive for part in parts]) if kept["predictive"] else None,
        joined if kept["beliefs"] else None,
        torch.cat([part.joint for part in parts]) if kept["joint"] else None,
    )


def _filter_part(
    oracle: Oracle, tokens: Tensor, known: Tensor | None, *, predictive: bool, beliefs: bool, joint: bool
) -> Results:
    sizes, latents = oracle.emission.sizes, oracle.process.graph.latents
    evidences, predictives, marginals, joints = [], [], [], []
    for belief, evidence, distribution in oracle.forward(tokens, known, predictive=predictive):
        evidences.append(evidence)
        predictives.append(distribution)
        if beliefs:
            marginals.append(marginals_of(belief, sizes))
        if joint:
            joints.append(belief)
    return Results(
        torch.stack(evidences, 1),
        torch.stack(predictives[1:], 1) if predictive else None,
        by_name(latents, marginals) if beliefs else None,
        torch.stack(joints).permute(2, 0, 1).reshape(*tokens.shape, *sizes) if joint else None,
    )


def log_first(process: Process, tokens: Tensor) -> Tensor:
    """log P(x_0) of each sequence of ``tokens (batch, T)``, ``(batch,)``, nats."""
    law = process.first_token_law
    if law is None:
        return torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    return torch.from_numpy(law).log().to(tokens.device)[tokens[:, 0]]


def nll_of(probabilities: Tensor) -> Tensor:
    """Minus the logarithm, nats; 0 for each probability within rounding of 1, and never -0."""
    certain = probabilities >= 1 - 4 * torch.finfo(probabilities.dtype).eps
    return torch.where(certain, 0.0, -probabilities.log())


def mark_impossible_start(nll: Tensor, first: Tensor) -> Tensor:
    """Replace the losses ``(batch, T - 1)`` of sequences whose first token is impossible by infinity, then nan.

    ``first (batch,)`` is log P(x_0).
    """
    impossible = torch.full_like(nll, torch.nan)
    impossible[:, 0] = torch.inf
    return torch.where((first == -torch.inf)[:, None], impossible, nll)


def sequence_log_likelihood(log_likelihood: Tensor) -> Tensor:
    """Replace nan by minus infinity, and clamp positive values, which are due to rounding, to 0.

    After an impossible token the later conditional probabilities are undefined, but the sequence has probability 0.
    """
    return log_likelihood.masked_fill(log_likelihood.isnan(), -torch.inf).clamp_max(0.0)


def split_marginals(graph: Graph, marginals: Tensor) -> dict[str, Tensor]:
    """``{name: (batch, T, n)}``, from the marginals of all latents one after the other, ``(batch, T, sum of n)``."""
    parts = marginals.split(graph.latent_sizes, -1) if graph.latents else ()
    return dict(zip(graph.latent_names, parts, strict=True))


def by_name(latents: tuple[Node, ...], marginals: list[list[Tensor]]) -> dict[str, Tensor]:
    """``{name: (batch, T, n)}``, from the marginal of each latent, ``(n, batch)``, at each time."""
    by_latent = zip(*marginals, strict=True)
    return {node.name: torch.stack(beliefs).permute(2, 0, 1) for node, beliefs in zip(latents, by_latent, strict=True)}


def marginals_of(belief: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """The marginal ``(n, batch)`` of each latent under a joint belief ``(S, batch)``."""
    marginals, before = [], 1
    for size in sizes:
        marginals.append(belief.view(before, size, -1, belief.shape[1]).sum((0, 2)))
        before *= size
    return marginals
