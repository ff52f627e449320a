"""The influence of past tokens on the oracle: how much its next prediction changes if one of them is hidden."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_tables, check_tokens, rows_at_once, table_bytes
from n2n.oracle.compiled.hiding import NEGLIGIBLE, RESOLUTION, influence_of
from n2n.oracle.compiled.program import program_of
from n2n.oracle.forward import Oracle
from n2n.process.process import Process
from n2n.utils.threads import torch_threads


@torch_threads(1)
def token_influence(process: Process, tokens, *, memory_budget: int = MEMORY_BUDGET) -> Tensor:
    """``KL(P(x_{q+1} | x_0 .. x_q) || P(x_{q+1} | x_0 .. x_q without x_s))`` for each query q and key s, nats.

    The result is exact: the second distribution marginalises x_s given all the other tokens. It measures what one token
    adds to the others, so each of two tokens that carry the same information has little influence. With
    ``initial="zero"`` the first token is always 0 and has no influence.

    A sequence costs T^2 / 2 steps of the filter, plus V T steps if a node sees the previous token.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2, each row a sequence from its start.
        memory_budget: bytes. The work is split to stay within it; the results, and the distributions of all next tokens
            ``(batch, T - 1, V)``, need memory in addition.

    Returns:
        ``(batch, T - 1, T - 1)``, float64, indexed by [query q, key s]. It is 0 if s > q or if the influence is below
        1e-24. From a token that the process cannot emit onwards, it is nan. The axes match those of
        ``model.inspect(tokens[:, :-1]).mixing``.

    Raises:
        ValueError: under the same conditions as ``n2n.filter``.
    """
    tokens = check_tokens(process, tokens)
    check_tables(process.graph, torch.float64, memory_budget)
    if tokens.device.type != "cpu":
        return influence_torch(process, tokens, memory_budget)
    memory, feedback = memory_budget - table_bytes(process.graph, torch.float64), process.graph.uses_previous_token
    program = program_of(process, np.dtype(np.float64))
    return torch.from_numpy(influence_of(program, tokens.numpy(), feedback=feedback, memory=memory))


def influence_torch(process: Process, tokens: Tensor, memory_budget: int) -> Tensor:
    """Compute the influence in torch: on other devices than CPUs, and as the readable twin of the compiled path."""
    oracle = Oracle.of(process, tokens.device, torch.float64, memory_budget)
    # Half as many beliefs at once as in a filter: the beliefs without earlier keys stay in memory while _hide runs.
    columns = max(1, rows_at_once(process.graph, memory_budget, tokens.device, torch.float64) // 2)
    queries = tokens.shape[1] - 1
    rows = max(1, columns // queries)
    first = 1 if oracle.initial is None else 0
    at_once = max(1, columns // rows)
    parts = []
    for part in tokens.split(rows):
        influence = torch.zeros(len(part), queries, queries, dtype=torch.float64, device=tokens.device)
        for start in range(first, queries, at_once):
            keys = range(start, min(start + at_once, queries))
            influence[..., keys.start : keys.stop] = _influence_of(oracle, part, keys, columns)
        parts.append(influence)
    return torch.cat(parts)


def _influence_of(oracle: Oracle, tokens: Tensor, keys: range, columns: int) -> Tensor:
    """The influence of some keys, ``(batch, queries, keys)``, from one belief with all tokens and one without each key.

    All beliefs step together. The belief without a key joins them at the key's position.
    """
    emission, x = oracle.emission, tokens.T.contiguous()
    count, queries = len(tokens), len(x) - 1
    influence = torch.zeros(count, queries, len(keys), dtype=torch.float64, device=tokens.device)
    predicted, belief = None, oracle.start(x[0])[0]  # P(z_t | x_<t), P(z_t | x_<=t)
    without: list[Tensor] = []  # P(z_t | x_<=t without the key), for each key before t
    for t in range(queries):
        beliefs = torch.cat([belief, *without], dim=1)  # (S, (1 + keys) * count), keys before sequences
        copies = beliefs.shape[1] // count
        likelihood = next(emission.likelihoods(torch.stack([x[t], x[t + 1]], 1)))  # (P, count)
        previous = x[t].repeat(copies)
        moved = oracle.move(beliefs, previous)
        predictives = oracle.predict(moved, previous).view(copies, count, -1)
        updated = emission.update(moved, likelihood.repeat(1, copies))[0]
        without = [updated[:, count:]] if copies > 1 else []
        if t in keys:
            predictive, hidden = _hide(oracle, predicted, x, t, columns)
            predictives = torch.cat([predictives, predictive[None]])
            without.append(hidden)
        influence[:, t, : len(predictives) - 1] = _divergence(predictives[0], predictives[1:]).T
        predicted, belief = moved[:, :count].contiguous(), updated[:, :count]
    return influence


def _hide(oracle: Oracle, predicted: Tensor | None, x: Tensor, t: int, columns: int) -> tuple[Tensor, Tensor]:
    """Hide x_t: return the distribution ``(count, V)`` of x_{t+1}, and the belief ``(S, count)`` after x_{t+1}.

    If a node sees the previous token, z_{t+1} and x_{t+1} depend on x_t. Each value of x_t then has a belief of its
    own, weighted by the value's probability, and the beliefs are summed after x_{t+1}. Otherwise one belief is enough.
    """
    emission, count = oracle.emission, x.shape[1]
    values = torch.arange(oracle.process.graph.vocab_size, device=x.device)
    parts = values.split(max(1, columns // count)) if oracle.process.graph.uses_previous_token else [None]
    predictive, belief = 0.0, 0.0
    for part in parts:
        hidden = x[t] if part is None else part.repeat_interleave(count)  # if no node sees x_t, its value is irrelevant
        moved = oracle.move(_weighted(oracle, predicted, x, t, part), hidden)
        likelihood = next(emission.likelihoods(torch.stack([hidden, x[t + 1].repeat(len(hidden) // count)], 1)))
        of_part = oracle.predict(moved, hidden).view(-1, count, len(values)).sum(0)
        predictive = predictive + of_part
        belief = belief + emission.weigh(moved, likelihood).view(len(moved), -1, count).sum(1)
    return predictive, belief / belief.sum(0)


def _weighted(oracle: Oracle, predicted: Tensor | None, x: Tensor, t: int, values: Tensor | None) -> Tensor:
    """P(z_t, x_t = v | x_<t) for each v in ``values``, ``(S, values * count)``.

    If ``values`` is None, return P(z_t | x_<t), ``(S, count)``.
    """
    count = x.shape[1]
    if t == 0:
        law = oracle.initial.sum(0, keepdim=True) if values is None else oracle.initial[values]
        return law.T.repeat_interleave(count, dim=1)
    if values is None:
        return predicted
    pairs = torch.stack([x[t - 1].repeat(len(values)), values.repeat_interleave(count)], 1)
    return oracle.emission.weigh(predicted.repeat(1, len(values)), next(oracle.emission.likelihoods(pairs)))


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) over the last axis, nats; if p and q are close, it is accurate far below their own precision."""
    excess = (q - p) / p
    near = p * (excess - excess.log1p())
    far = torch.where(p > NEGLIGIBLE, p * (p / q).log(), 0.0) - p + q
    divergence = torch.where(excess.abs() < 0.5, near, far).sum(-1)
    return torch.where(divergence < RESOLUTION, 0.0, divergence)
