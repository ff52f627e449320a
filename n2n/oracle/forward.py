"""The forward algorithm in torch, on a factored belief; it never builds the S x S transition matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from n2n.oracle.checks import COPIES, MEMORY_BUDGET, check_tables
from n2n.oracle.emission import Emission
from n2n.oracle.transition import Block, Feedback, transition_steps
from n2n.process.process import Process


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
        check_tables(process.graph, dtype, memory_budget, copies)
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
