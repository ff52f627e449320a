"""The exact oracle: the forward algorithm on a factored belief, which never builds the S x S transition matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from n2n.graph.node import Node
from n2n.oracle.checks import COPIES, MEMORY_BUDGET, check_budget, check_fixed, check_tokens, joint_start, rows_at_once
from n2n.oracle.emission import Emission
from n2n.oracle.transition import Block, Feedback, transition_steps
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
    oracle = Oracle.of(process, tokens.device, dtype, memory_budget)
    rows = rows_at_once(process.graph, memory_budget, tokens.device, dtype)
    batches = tokens.split(rows)
    starts = [None] * len(batches) if known is None else known.split(rows)
    outputs = {"predictive": predictive, "beliefs": beliefs, "joint": joint}
    parts = [_filter_part(oracle, batch, at, **outputs) for batch, at in zip(batches, starts, strict=True)]
    joined = {name: torch.cat([part.beliefs[name] for part in parts]) for name in parts[0].beliefs or {}}
    return Filtered(
        torch.cat([part.nll for part in parts]),
        torch.cat([part.log_likelihood for part in parts]),
        torch.cat([part.predictive for part in parts]) if predictive else None,
        joined if beliefs else None,
        torch.cat([part.joint for part in parts]) if joint else None,
    )


class Step(NamedTuple):
    """One time step of the forward algorithm.

    Attributes:
        belief: ``(S, batch)``, P(z_t | x_<=t).
        evidence: ``(batch,)``, P(x_t | x_<t).
        predictive: ``(batch, V)``, P(x_t = v | x_<t), or None at t = 0 or if not requested.
    """

    belief: Tensor
    evidence: Tensor
    predictive: Tensor | None


@dataclass(frozen=True, eq=False)
class Oracle:
    """The tables of a process on a device, and the forward algorithm on them.

    Attributes:
        process: the process, with fixed kernels.
        steps: the transitions of blocks of latents, in topological order.
        emission: the kernel of the observed node.
        initial: ``(V, S)``, P(z_0, x_0), or None if all mass is on the first joint state and token.
    """

    process: Process
    steps: list[Block | Feedback]
    emission: Emission
    initial: Tensor | None

    @classmethod
    def of(
        cls,
        process: Process,
        device: torch.device,
        dtype: torch.dtype,
        memory_budget: int = MEMORY_BUDGET,
        copies: int = COPIES,
    ) -> Oracle:
        """Build the tables.

        Raises:
            ValueError: before any work, if the tables and ``copies`` beliefs of one sequence exceed the budget, in
                bytes; if the dtype is not supported; or if kernels are redrawn for every sequence.
        """
        if dtype not in (torch.float64, torch.float32):
            raise ValueError(f"dtype: saw {dtype}; torch.float64 or torch.float32 is needed")
        check_fixed(process.graph)
        check_budget(process.graph, memory_budget, dtype, copies)
        law = process.initial_law
        if law is not None:
            law = torch.tensor(law, device=device, dtype=dtype).view(-1, process.graph.vocab_size).T
        return cls(process, transition_steps(process, device, dtype), Emission.of(process, device, dtype), law)

    def forward(
        self,
        tokens: Tensor,
        known: Tensor | None = None,
        *,
        predictive: bool = False,
        approximate: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield the steps of the forward algorithm for t = 0 .. T - 1 of ``tokens (batch, T)``.

        Args:
            tokens: the observed sequences.
            known: ``(batch,)``, the joint states at t = 0 if they are known.
            predictive: whether to compute the distribution of each next token.
            approximate: maps each belief ``(S, batch)`` to the one from which the next step starts; None keeps it.
        """
        columns = tokens.T.contiguous().unbind()
        belief, evidence = self.start(columns[0], known)
        yield Step(belief, evidence, None)
        for previous, likelihood in zip(columns[:-1], self.emission.likelihoods(tokens), strict=True):
            belief = self.move(belief if approximate is None else approximate(belief), previous)
            distribution = self.predict(belief, previous) if predictive else None
            belief, evidence = self.emission.update(belief, likelihood)
            yield Step(belief, evidence, distribution)

    def start(self, first: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """P(z_0 | x_0) as ``(S, batch)`` and P(x_0) as ``(batch,)``, from the first tokens ``(batch,)``.

        If the joint states at t = 0 are ``known (batch,)``, the belief is certain and the probability is P(z_0, x_0).
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

    def predict(self, belief: Tensor, previous: Tensor) -> Tensor:
        """P(x_t = v | x_<t), ``(batch, V)``, from P(z_t | x_<t) ``(S, batch)`` and ``x_{t-1} (batch,)``."""
        return self.emission.predict(self.emission.parents(belief), previous)

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
    sizes, latents = oracle.emission.sizes, oracle.process.graph.latents
    evidences, predictives, marginals, joints = [], [], [], []
    for belief, evidence, distribution in oracle.forward(tokens, known, predictive=predictive):
        evidences.append(evidence)
        predictives.append(distribution)
        if beliefs:
            marginals.append(marginals_of(belief, sizes))
        if joint:
            joints.append(belief)
    first, nll = evidences[0].log(), nll_of(torch.stack(evidences[1:], 1))
    if known is None:  # with a known start, later tokens are conditioned on it even if its probability is 0
        nll = mark_impossible_start(nll, first)
    return Filtered(
        nll,
        sequence_log_likelihood(first - nll.sum(1)),
        torch.stack(predictives[1:], 1) if predictive else None,
        by_name(latents, marginals) if beliefs else None,
        torch.stack(joints).permute(2, 0, 1).reshape(*tokens.shape, *sizes) if joint else None,
    )


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
