"""Beliefs given the whole sequence: the forward-backward algorithm, block by block, without the S x S matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_tokens, rows_at_once
from n2n.oracle.filtering import Oracle, by_name, likelihood_of_all, marginals_of
from n2n.process.process import Process
from n2n.utils.threads import torch_threads

_COPIES = 5  # beliefs alive at once within a step, besides the one kept for each token


@dataclass(frozen=True, eq=False)
class Smoothed:
    """What a Bayesian who knows the process says of the latents, once the whole sequence is seen.

    Attributes:
        beliefs: ``{name: (batch, T, n)}``, ``P(z_t | x_0, .., x_{T-1})`` of each latent node; nan for every t of a
            sequence that the process cannot emit, where it is undefined.
        joint: ``(batch, T, n_1, .., n_K)``, the same of all latents together, in ``graph.latents`` order, or None.
        log_likelihood: ``(batch,)``, ``log P(x_0, .., x_{T-1})``, nats; the first token counts, and has probability 1
            with ``initial="zero"``. Minus infinity for a sequence that the process cannot emit.
    """

    beliefs: dict[str, Tensor]
    joint: Tensor | None
    log_likelihood: Tensor


@torch_threads(1)
def smooth(
    process: Process,
    tokens,
    *,
    joint: bool = False,
    dtype: torch.dtype = torch.float64,
    memory_budget: int = MEMORY_BUDGET,
) -> Smoothed:
    """The forward-backward algorithm in normalised form, one block of latents at a time.

    A token costs several times what it costs ``filter``; the belief after each token is kept until the way back.

    Args:
        process: the process that the tokens are judged by.
        tokens: ``(batch, T)`` integers, T at least 2, each row a sequence from its start (which is 0 with
            ``initial="zero"``). A tensor's device is where the work is done.
        joint: whether to return the belief over all latents together.
        dtype: ``torch.float64`` or ``torch.float32``, of the work and of what is returned.
        memory_budget: bytes, inside which the batch is cut: T + 5 beliefs over the joint states for each sequence, and
            the tables. What is returned comes on top.

    Returns:
        Beliefs at every t, 0 too, and the log-likelihood. At the last t they are those of ``filter``.

    Raises:
        ValueError: a process whose kernels are redrawn for every sequence, tokens of a wrong shape or type, outside the
            vocabulary or with another start than 0, another dtype, or tables and one sequence's beliefs that exceed the
            budget.

    Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), section III.A, on a factored state.
    """
    tokens = check_tokens(process, tokens)
    copies = tokens.shape[1] + _COPIES
    oracle = Oracle.of(process, tokens.device, dtype, memory_budget, copies)
    rows = rows_at_once(process.graph, memory_budget, tokens.device, dtype, copies)
    parts = [_smooth_part(oracle, part, joint) for part in tokens.split(rows)]
    return Smoothed(
        {name: torch.cat([part.beliefs[name] for part in parts]) for name in parts[0].beliefs},
        torch.cat([part.joint for part in parts]) if joint else None,
        torch.cat([part.log_likelihood for part in parts]),
    )


def _smooth_part(oracle: Oracle, tokens: Tensor, joint: bool) -> Smoothed:
    emission, latents = oracle.emission, oracle.process.graph.latents
    kept, log_likelihood = _forward(oracle, tokens)
    message, marginals = torch.ones_like(kept[-1]), [marginals_of(kept[-1], emission.sizes)]
    for t in reversed(range(tokens.shape[1] - 1)):
        likelihood = next(emission.likelihoods(tokens[:, t : t + 2]))
        message = oracle.move_back(emission.weigh(message, likelihood), tokens[:, t])
        kept[t], message = _meet(kept[t], message)
        marginals.append(marginals_of(kept[t], emission.sizes))
    return Smoothed(
        by_name(latents, marginals[::-1]),
        torch.stack([belief.T for belief in kept], 1).view(*tokens.shape, *emission.sizes) if joint else None,
        log_likelihood,
    )


def _forward(oracle: Oracle, tokens: Tensor) -> tuple[list[Tensor], Tensor]:
    """``P(z_t | x_<=t)`` as ``(S, batch)`` for every t, and ``log P(x_0, .., x_{T-1})``, ``(batch,)``."""
    columns = tokens.T.contiguous().unbind()
    belief, probability = oracle.start(columns[0])
    kept, evidences = [belief], [probability]
    for previous, likelihood in zip(columns, oracle.emission.likelihoods(tokens), strict=False):
        belief, evidence = oracle.emission.update(oracle.move(belief, previous), likelihood)
        kept.append(belief)
        evidences.append(evidence)
    return kept, likelihood_of_all(torch.stack(evidences).log().sum(0))


def _meet(belief: Tensor, message: Tensor) -> tuple[Tensor, Tensor]:
    """A belief from the past times a message from the future, both ``(S, batch)``, normalised; and the message.

    The message is divided by its mean under the belief, so that it is at most 1 / belief. Where the belief has no mass
    it would have no bound: a state already ruled out may explain the future better at every step. There it is dropped.
    """
    message = message.where(belief >= torch.finfo(belief.dtype).tiny, 0.0)
    smoothed = belief * message
    total = smoothed.sum(0)
    return smoothed / total, message / total
