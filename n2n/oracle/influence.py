"""How much each past token tells the oracle about the next one: what it would predict without having seen it."""

from __future__ import annotations

import torch
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_tokens, rows_at_once
from n2n.oracle.filtering import Oracle
from n2n.process.process import Process
from n2n.utils.threads import torch_threads

RESOLUTION = 1e-24  # nats; what is less is told apart from rounding by nobody, and is 0


@torch_threads(1)
def token_influence(process: Process, tokens, *, memory_budget: int = MEMORY_BUDGET) -> Tensor:
    """``KL(P(x_{q+1} | x_0 .. x_q) || P(x_{q+1} | x_0 .. x_q without x_s))`` for each query q and key s, nats.

    Exact: the second law is that of an oracle from whom x_s alone is hidden, who averages over what it may have been
    given all others. It asks what the one token adds to the others; two tokens that say the same have little influence
    each. With ``initial="zero"`` the first token is always 0, and its influence too.

    A sequence costs T^2 / 2 steps of the filter, and where a node sees the previous token V T more.

    Args:
        process: the process that the tokens are judged by.
        tokens: ``(batch, T)`` integers, T at least 2, each row a sequence from its start.
        memory_budget: bytes, inside which the work is cut; what is returned comes on top.

    Returns:
        ``(batch, T - 1, T - 1)``, float64, [query q, key s], 0 where s > q and where it is under 1e-24; aligned with
        ``model.inspect(tokens[:, :-1]).mixing``. Nan from a token on that the process cannot emit.

    Raises:
        ValueError: what ``n2n.filter`` refuses.
    """
    tokens = check_tokens(process, tokens)
    oracle = Oracle.of(process, tokens.device, torch.float64, memory_budget)
    # Beliefs at once: half of what a filter takes, for those without a token are kept while the next one is hidden.
    columns = max(1, rows_at_once(process.graph, memory_budget, tokens.device, torch.float64) // 2)
    queries = tokens.shape[1] - 1
    rows = max(1, columns // queries)
    first = 1 if oracle.initial is None else 0
    at_once = max(1, columns // rows)
    parts = []
    for part in tokens.split(rows):
        found = torch.zeros(len(part), queries, queries, dtype=torch.float64, device=tokens.device)
        for start in range(first, queries, at_once):
            keys = range(start, min(start + at_once, queries))
            found[..., keys.start : keys.stop] = _influence_of(oracle, part, keys, columns)
        parts.append(found)
    return torch.cat(parts)


def _influence_of(oracle: Oracle, tokens: Tensor, keys: range, columns: int) -> Tensor:
    """The influence of some keys, ``(batch, queries, keys)``: a belief of every token, and one without each key."""
    emission, x = oracle.emission, tokens.T.contiguous()
    count, queries = len(tokens), len(x) - 1
    found = torch.zeros(count, queries, len(keys), dtype=torch.float64, device=tokens.device)
    before, whole = None, oracle.start(x[0])[0]  # P(z_t | x_<t), P(z_t | x_<=t)
    without: list[Tensor] = []  # of each key before t, P(z_t | x_<=t without it)
    for t in range(queries):
        beliefs = torch.cat([whole, *without], dim=1)  # (S, (1 + keys) * count), keys before sequences
        copies = beliefs.shape[1] // count
        moved = oracle.move(beliefs, x[t].repeat(copies))
        laws = emission.predict(emission.parents(moved), x[t].repeat(copies)).view(copies, count, -1)
        likelihood = next(emission.likelihoods(torch.stack([x[t], x[t + 1]], 1)))  # (P, count)
        updated = emission.update(moved, likelihood.repeat(1, copies))[0]
        without = [updated[:, count:]] if copies > 1 else []
        if t in keys:
            law, belief = _hide(oracle, before, x, t, columns)
            laws = torch.cat([laws, law[None]])
            without.append(belief)
        found[:, t, : len(laws) - 1] = _divergence(laws[0], laws[1:]).T
        before, whole = moved[:, :count].contiguous(), updated[:, :count]
    return found


def _hide(oracle: Oracle, before: Tensor | None, x: Tensor, t: int, columns: int) -> tuple[Tensor, Tensor]:
    """Without x_t: the law of x_{t+1}, ``(count, V)``, and the belief once it is seen, ``(S, count)``.

    Where a node sees the previous token every value that x_t may have is carried on by itself, until z_{t+1} and
    x_{t+1} have been drawn given it, with the probability that it has; else one belief serves all.
    """
    emission, count = oracle.emission, x.shape[1]
    values = torch.arange(oracle.process.graph.vocab_size, device=x.device)
    parts = values.split(max(1, columns // count)) if oracle.process.graph.uses_previous_token else [None]
    law, belief = 0.0, 0.0
    for part in parts:
        hidden = x[t] if part is None else part.repeat_interleave(count)  # if it is seen by none, any will do
        moved = oracle.move(_weighed(oracle, before, x, t, part), hidden)
        likelihood = next(emission.likelihoods(torch.stack([hidden, x[t + 1].repeat(len(hidden) // count)], 1)))
        law = law + emission.predict(emission.parents(moved), hidden).view(-1, count, len(values)).sum(0)
        belief = belief + emission.weigh(moved, likelihood).view(len(moved), -1, count).sum(1)
    return law, belief / belief.sum(0)


def _weighed(oracle: Oracle, before: Tensor | None, x: Tensor, t: int, values: Tensor | None) -> Tensor:
    """P(z_t, x_t = v | x_<t) of each of ``values``, ``(S, values * count)``; of None P(z_t | x_<t), ``(S, count)``."""
    count = x.shape[1]
    if t == 0:
        law = oracle.initial.sum(0, keepdim=True) if values is None else oracle.initial[values]
        return law.T.repeat_interleave(count, dim=1)
    if values is None:
        return before
    shown = torch.stack([x[t - 1].repeat(len(values)), values.repeat_interleave(count)], 1)
    return oracle.emission.weigh(before.repeat(1, len(values)), next(oracle.emission.likelihoods(shown)))


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) over the last axis, nats, to a precision far under that of p and q where they are close."""
    excess = (q - p) / p
    near = p * (excess - excess.log1p())
    far = torch.where(p > 0, p * (p / q).log(), 0.0) - p + q
    divergence = torch.where(excess.abs() < 0.5, near, far).sum(-1)
    return torch.where(divergence < RESOLUTION, 0.0, divergence)
