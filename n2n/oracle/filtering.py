"""The exact oracle: filtering with a belief that moves block by block and never meets the S x S matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from n2n.graph.node import Node
from n2n.oracle.checks import COPIES, MEMORY_BUDGET, check_budget, check_fixed, check_tokens, joint_start, rows_at_once
from n2n.oracle.emission import Emission
from n2n.oracle.transition import steps
from n2n.process.process import Process
from n2n.utils.threads import torch_threads


@dataclass(frozen=True, eq=False)
class Filtered:
    """What a Bayesian who knows the process says of each token.

    Attributes:
        nll: ``(batch, T - 1)``, ``-log P(x_t | x_<t)`` for t = 1 .. T - 1, nats. Infinite at a token that the process
            cannot emit, and nan after it, where the conditional is undefined. An x_0 that it cannot emit has no entry
            of its own, and makes the one at t = 1 infinite. A probability within rounding of 1 gives 0.
        log_likelihood: ``(batch,)``, ``log P(x_0, .., x_{T-1})``, nats; the first token counts, and has probability 1
            with ``initial="zero"``; minus infinity if the process cannot emit them. With a known start it is
            ``log P(z_0, x_0, .., x_{T-1})``.
        predictive: ``(batch, T - 1, V)``, ``P(x_t = v | x_<t)``, or None if it was not asked for.
        beliefs: ``{name: (batch, T, n)}``, ``P(z_t | x_<=t)`` of each latent node, or None if not asked for.
        joint: ``(batch, T, n_1, .., n_K)``, the same of all latents together, in ``graph.latents`` order, or None.
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
    """The forward algorithm in normalised form, one block of latents at a time.

    A token costs O(S * sum of n_i), S joint latent states, n_i states of node i; the S x S matrix is never built.
    Small neighbouring latents are merged into one block where one larger product is faster than several passes.

    Args:
        process: the process that the tokens are judged by.
        tokens: ``(batch, T)`` integers, T at least 2, each row a sequence from its start (which is 0 with
            ``initial="zero"``). A tensor's device is where the work is done.
        predictive: whether to return the distribution of each next token.
        beliefs: whether to return each latent node's belief.
        joint: whether to return the belief over all latents together.
        start: ``{name: (batch,)}``, the state of every latent at t = 0, if the oracle is to be told; as
            ``sample.latents`` has them in column 0.
        dtype: ``torch.float64`` or ``torch.float32``, of the work and of what is returned.
        memory_budget: bytes, inside which the batch is cut; what is returned comes on top.

    Raises:
        ValueError: a process whose kernels are redrawn for every sequence, tokens of a wrong shape or type, outside the
            vocabulary or with another start than 0, another dtype, or tables and one sequence's belief that exceed the
            budget.

    Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), section III.A, on a factored state.
    """
    tokens = check_tokens(process, tokens)
    known = None if start is None else joint_start(process, start, tokens)
    oracle = Oracle.of(process, tokens.device, dtype, memory_budget)
    asked = {"predictive": predictive, "beliefs": beliefs, "joint": joint}
    rows = rows_at_once(process.graph, memory_budget, tokens.device, dtype)
    starts = known.split(rows) if known is not None else [None] * len(tokens)
    parts = [_filter_part(oracle, part, at, **asked) for part, at in zip(tokens.split(rows), starts, strict=False)]
    joined = {name: torch.cat([part.beliefs[name] for part in parts]) for name in parts[0].beliefs or {}}
    return Filtered(
        torch.cat([part.nll for part in parts]),
        torch.cat([part.log_likelihood for part in parts]),
        torch.cat([part.predictive for part in parts]) if predictive else None,
        joined if beliefs else None,
        torch.cat([part.joint for part in parts]) if joint else None,
    )


@dataclass(frozen=True, eq=False)
class Oracle:
    """A process laid out for inference on a device: how a belief moves, and what a token says of it."""

    process: Process
    steps: list
    emission: Emission
    initial: Tensor | None  # P(z_0, x_0) as (V, S), or None where all mass is on the first joint state and token

    @classmethod
    def of(
        cls,
        process: Process,
        device: torch.device,
        dtype: torch.dtype,
        memory_budget: int = MEMORY_BUDGET,
        copies: int = COPIES,
    ) -> Oracle:
        """Raises a ``ValueError`` if tables and ``copies`` beliefs exceed the budget, in bytes, before any work."""
        if dtype not in (torch.float64, torch.float32):
            raise ValueError(f"dtype: saw {dtype}; torch.float64 or torch.float32 is needed")
        check_fixed(process.graph)
        check_budget(process.graph, memory_budget, dtype, copies)
        law = process.initial_law
        if law is not None:
            law = torch.tensor(law, device=device, dtype=dtype).view(-1, process.graph.vocab_size).T
        return cls(process, steps(process, device, dtype), Emission.of(process, device, dtype), law)

    def start(self, first: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """P(z_0 | x_0) as ``(S, batch)`` and P(x_0) as ``(batch,)``, from the first tokens ``(batch,)``.

        Where the joint states at t = 0 are ``known (batch,)``, the belief is certain, and x_0 is judged with them.
        """
        if self.initial is None:
            states = torch.zeros_like(first) if known is None else known
            return self._certain(states), torch.ones(len(first), dtype=self.emission.rows.dtype, device=first.device)
        if known is not None:
            return self._certain(known), self.initial[first, known]
        belief = self.initial[first].T.contiguous()
        probability = belief.sum(0)
        return belief / probability, probability

    def _certain(self, states: Tensor) -> Tensor:
        rows = self.emission.rows
        belief = torch.zeros(self.process.graph.num_joint_states, len(states), dtype=rows.dtype, device=rows.device)
        return belief.scatter_(0, states[None], 1.0)

    def move(self, belief: Tensor, previous: Tensor) -> Tensor:
        """P(z_t | x_<t) from P(z_{t-1} | x_<t), both ``(S, batch)``, and the tokens ``x_{t-1} (batch,)``."""
        for step in self.steps:
            belief = step.move(belief, previous)
        return belief

    def move_back(self, message: Tensor, previous: Tensor) -> Tensor:
        """E[message(z_t) | z_{t-1}, x_{t-1}], ``(S, batch)``."""
        for step in reversed(self.steps):
            message = step.move_back(message, previous)
        return message


def _filter_part(
    oracle: Oracle, tokens: Tensor, known: Tensor | None, *, predictive: bool, beliefs: bool, joint: bool
) -> Filtered:
    emission, latents = oracle.emission, oracle.process.graph.latents
    columns = tokens.T.contiguous().unbind()
    belief, first = oracle.start(columns[0], known)
    evidences, predictives = [], []
    marginals = [marginals_of(belief, emission.sizes)] if beliefs else []
    joints = [belief] if joint else []
    for previous, likelihood in zip(columns, emission.likelihoods(tokens), strict=False):
        belief = oracle.move(belief, previous)
        if predictive:
            predictives.append(emission.predict(emission.parents(belief), previous))
        belief, evidence = emission.update(belief, likelihood)
        evidences.append(evidence)
        if beliefs:
            marginals.append(marginals_of(belief, emission.sizes))
        if joint:
            joints.append(belief)
    nll = nll_of(torch.stack(evidences, 1))
    if known is None:  # else what follows is given the start, however probable that was
        nll = given_first(nll, first.log())
    return Filtered(
        nll,
        likelihood_of_all(first.log() - nll.sum(1)),
        torch.stack(predictives, 1) if predictive else None,
        by_name(latents, marginals) if beliefs else None,
        torch.stack(joints).permute(2, 0, 1).reshape(*tokens.shape, *emission.sizes) if joint else None,
    )


def nll_of(probabilities: Tensor) -> Tensor:
    """Minus the logarithm, nats; 0 where a probability is 1 within rounding, and never -0."""
    certain = probabilities >= 1 - 4 * torch.finfo(probabilities.dtype).eps
    return torch.where(certain, 0.0, -probabilities.log())


def given_first(nll: Tensor, first: Tensor) -> Tensor:
    """``-log P(x_t | x_<t)`` ``(batch, T - 1)`` where log P(x_0) is ``first (batch,)``.

    Where x_0 is impossible, the first entry is infinite and the others are nan.
    """
    impossible = torch.full_like(nll, torch.nan)
    impossible[:, 0] = torch.inf
    return torch.where((first == -torch.inf)[:, None], impossible, nll)


def likelihood_of_all(log_likelihood: Tensor) -> Tensor:
    """Minus infinity in the place of nan: after an impossible token later ones are undefined, but not the whole.

    And 0 where rounding leaves more.
    """
    return log_likelihood.masked_fill(log_likelihood.isnan(), -torch.inf).clamp_max(0.0)


def by_name(latents: tuple[Node, ...], marginals: list[list[Tensor]]) -> dict[str, Tensor]:
    """``{name: (batch, T, n)}``, from the law of each latent, ``(n, batch)``, at each time."""
    of_each = zip(*marginals, strict=True)
    return {node.name: torch.stack(laws).permute(2, 0, 1) for node, laws in zip(latents, of_each, strict=True)}


def marginals_of(belief: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """The law of each latent, ``(n, batch)``, under a joint one ``(S, batch)``."""
    found, before = [], 1
    for size in sizes:
        found.append(belief.view(before, size, -1, belief.shape[1]).sum((0, 2)))
        before *= size
    return found
