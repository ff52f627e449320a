"""Beliefs given the whole sequence: the forward-backward algorithm without the S x S transition matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_tables, check_tokens, rows_at_once, table_bytes
from n2n.oracle.compiled.backward import smooth_sequences
from n2n.oracle.compiled.program import backward_moves, numpy_dtype, program_of
from n2n.oracle.filtering import by_name, marginals_of, sequence_log_likelihood, split_marginals
from n2n.oracle.forward import Oracle
from n2n.process.process import Process
from n2n.utils.threads import torch_threads

STEP_COPIES = 5  # beliefs alive at once within a step, in addition to the one stored for each token


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Beliefs about the latents given the whole sequence.

    Attributes:
        beliefs: ``{name: (batch, T, n)}``, ``P(z_t | x_0, .., x_{T-1})`` for each latent node. It is nan at every t of
            a sequence that the process cannot emit, because it is then undefined.
        joint: ``(batch, T, n_1, .., n_K)``, the same for all latents jointly, in ``graph.latents`` order, or None if
            not requested.
        log_likelihood: ``(batch,)``, ``log P(x_0, .., x_{T-1})``, nats. It includes the first token, whose probability
            is 1 with ``initial="zero"``. It is minus infinity for a sequence that the process cannot emit.
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
    """Run the normalised forward-backward algorithm, one block of latents at a time.

    A token costs several times as much as in ``filter``. The belief after each token is stored for the backward pass.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2. Each row is a sequence from its start (which is 0 with
            ``initial="zero"``). If this is a tensor, the computation runs on its device.
        joint: whether to return the belief about all latents jointly.
        dtype: ``torch.float64`` or ``torch.float32``, used for the computation and the results.
        memory_budget: bytes. The batch is split to stay within it; a sequence takes T + 5 beliefs over the joint
            states, and the tables come once. The results need memory in addition.

    Returns:
        Beliefs at every t including 0, and the log-likelihood. At the last t the beliefs equal those of ``filter``.

    Raises:
        ValueError: if the process redraws kernels for every sequence; if the tokens have a wrong shape or type, lie
            outside the vocabulary or, with ``initial="zero"``, do not start with 0; if the dtype is not supported; or
            if the tables and the beliefs of one sequence exceed the budget.

    Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (1989), section III.A, on a factored state.
    """
    tokens = check_tokens(process, tokens)
    copies = tokens.shape[1] + STEP_COPIES
    run = _smooth_compiled if tokens.device.type == "cpu" else smooth_torch
    return run(process, tokens, joint, dtype, memory_budget, copies)


def _smooth_compiled(
    process: Process, tokens: Tensor, joint: bool, dtype: torch.dtype, memory_budget: int, copies: int
) -> Smoothed:
    graph = process.graph
    check_tables(graph, dtype, memory_budget, copies)
    backward, memory = backward_moves(process, numpy_dtype(dtype)), memory_budget - table_bytes(graph, dtype)
    program = program_of(process, numpy_dtype(dtype))
    outputs = smooth_sequences(program, backward, tokens.numpy(), joint=joint, memory=memory)
    evidence, _, marginals, beliefs = map(torch.from_numpy, outputs)
    return Smoothed(
        split_marginals(graph, marginals),
        beliefs.view(*tokens.shape, *graph.latent_sizes) if joint else None,
        sequence_log_likelihood(evidence.log().sum(1)),
    )


def smooth_torch(
    process: Process, tokens: Tensor, joint: bool, dtype: torch.dtype, memory_budget: int, copies: int
) -> Smoothed:
    """Run the forward-backward algorithm in torch: on other devices than CPUs, and as the compiled one's twin."""
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
    beliefs, log_likelihood = _forward(oracle, tokens)
    message, marginals = torch.ones_like(beliefs[-1]), [marginals_of(beliefs[-1], emission.sizes)]
    for t in reversed(range(tokens.shape[1] - 1)):
        likelihood = next(emission.likelihoods(tokens[:, t : t + 2]))
        message = oracle.move_back(emission.weigh(message, likelihood), tokens[:, t])
        beliefs[t], message = _combine(beliefs[t], message)
        marginals.append(marginals_of(beliefs[t], emission.sizes))
    return Smoothed(
        by_name(latents, marginals[::-1]),
        torch.stack([belief.T for belief in beliefs], 1).view(*tokens.shape, *emission.sizes) if joint else None,
        log_likelihood,
    )


def _forward(oracle: Oracle, tokens: Tensor) -> tuple[list[Tensor], Tensor]:
    """``P(z_t | x_<=t)`` as ``(S, batch)`` for every t, and ``log P(x_0, .., x_{T-1})``, ``(batch,)``."""
    beliefs, evidences = zip(*((step.belief, step.evidence) for step in oracle.forward(tokens)), strict=True)
    return list(beliefs), sequence_log_likelihood(torch.stack(evidences).log().sum(0))


def _combine(belief: Tensor, message: Tensor) -> tuple[Tensor, Tensor]:
    """Combine a forward belief and a backward message, both ``(S, batch)``: the smoothed belief and the scaled message.

    The message is divided by its mean under the belief, so that it is at most 1 / belief. It is set to 0 where the
    belief has no mass: a state that the past rules out may explain the future better at every step, and its message
    would grow without bound.
    """
    message = message.where(belief >= torch.finfo(belief.dtype).tiny, 0.0)
    smoothed = belief * message
    total = smoothed.sum(0)
    return smoothed / total, message / total
