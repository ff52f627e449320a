"""The Bayesian who knows that a sequence comes from one of several given processes, but not from which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_budget, check_fixed, check_process, check_tokens
from n2n.oracle.filtering import filter, log_first, mark_impossible_start
from n2n.process.process import Process
from n2n.utils.arrays import SUM_TOLERANCE, probabilities
from n2n.utils.progress import track
from n2n.utils.strict import short_repr
from n2n.utils.threads import torch_threads


@torch_threads(1)
def mixture_nll(
    processes: Sequence[Process],
    tokens,
    weights: ArrayLike | None = None,
    *,
    memory_budget: int = MEMORY_BUDGET,
) -> Tensor:
    """Compute the exact loss of the predictor that knows a finite set of processes, one of which drew the sequence.

    Its prediction is the mean of the processes' predictions, weighted by the posterior of the processes given the
    tokens so far. ``P(x_0)`` counts too. This is the oracle of task retrieval: no predictor has a smaller mean loss if
    a process is drawn for each sequence by ``weights``.

    A frozen latent, ``Node(.., stickiness=1)``, makes such a mixture a graph of its own, which can be sampled. Its
    oracle is ``n2n.filter``.

    The cost is that of ``n2n.filter`` for each process. Besides that, memory grows with the tokens only.

    Args:
        processes: processes with fixed kernels and the same vocabulary; their graphs and initial laws may differ.
        tokens: ``(batch, T)`` integers, T at least 2. If this is a tensor, the filters run on its device.
        weights: ``(processes,)``, the probability of each process; None if they are equally probable.
        memory_budget: bytes of each filter, as for ``n2n.filter``; the results need memory in addition.

    Returns:
        ``(batch, T - 1)``, float64, ``-log P(x_t | x_<t)`` for t = 1 .. T - 1, nats. It is infinite at a token that no
        process consistent with the earlier tokens can emit, and nan after it. If no process can emit x_0, it is
        infinite at t = 1.

    Raises:
        ValueError: if there is no process, a process redraws kernels or has another vocabulary, the weights are not
            one probability for each process with a sum of 1, or ``n2n.filter`` rejects the tokens or the budget. With
            ``initial="zero"`` in all processes every sequence must begin with 0.
    """
    processes = _check_processes(processes, memory_budget)
    shares = _check_weights(weights, len(processes))
    from_anywhere = [process for process in processes if process.graph.initial != "zero"]
    tokens = check_tokens((from_anywhere or processes)[0], tokens)
    likely = [(process, share) for process, share in zip(processes, shares, strict=True) if share > 0]
    return running_mixture(track(likely, "process"), tokens, memory_budget)[0]


def _check_processes(processes: Sequence[Process], memory_budget: int) -> list[Process]:
    if isinstance(processes, Process) or not isinstance(processes, Iterable):
        raise ValueError(f"processes: saw a {type(processes).__name__}; a list of processes is needed")
    processes = list(processes)
    if not processes:
        raise ValueError("processes: saw none; at least one is needed")
    for index, process in enumerate(processes):
        check_process(process)
        check_fixed(process.graph)
        check_budget(process.graph, memory_budget)
        sizes = process.graph.vocab_size, processes[0].graph.vocab_size
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"processes: saw a vocabulary of {sizes[0]} in process {index} and {sizes[1]} in process 0"
            )
    return processes


def _check_weights(weights: ArrayLike | None, count: int) -> np.ndarray:
    if weights is None:
        return np.full(count, 1 / count)
    weights = probabilities(weights, "weights")
    if weights.shape != (count,):
        raise ValueError(f"weights: saw shape {weights.shape}; ({count},) is needed, a probability for each process")
    if not (weights >= 0).all() or abs(weights.sum() - 1) > SUM_TOLERANCE:
        raise ValueError(f"weights: saw {short_repr(weights.tolist())}; probabilities with a sum of 1 are needed")
    return weights


def running_mixture(
    weighted: Iterable[tuple[Process, float]], tokens: Tensor, memory_budget: int
) -> tuple[Tensor, Tensor]:
    """Losses of the mixture of processes, each given with its weight, ``(batch, T - 1)``.

    Returns:
        The losses, and log P(x_0, .., x_{T-1}) under the mixture, ``(batch,)``.
    """
    total = torch.full(tokens.shape, -torch.inf, dtype=torch.float64, device=tokens.device)
    for process, weight in weighted:
        total = torch.logaddexp(total, running_log_likelihood(process, tokens, memory_budget) + log(weight))
    nll = (total[:, :-1] - total[:, 1:]).clamp_min(0.0)
    return mark_impossible_start(nll, total[:, 0]), total[:, -1].clamp_max(0.0)


def running_log_likelihood(process: Process, tokens: Tensor, memory_budget: int) -> Tensor:
    """log P(x_0, .., x_t) for each t, ``(batch, T)``; minus infinity where the process cannot emit the tokens."""
    running = torch.full(tokens.shape, -torch.inf, dtype=torch.float64, device=tokens.device)
    rows = (tokens[:, 0] == 0).nonzero()[:, 0] if process.graph.initial == "zero" else slice(None)
    begun = tokens[rows]
    if len(begun) > 0:
        losses = filter(process, begun, memory_budget=memory_budget).nll
        steps = torch.cat([log_first(process, begun)[:, None], -losses], 1)
        running[rows] = steps.cumsum(1).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    return running
