"""State-space duality: the recurrence of Mamba-2 as matrix products."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from n2n.models.ops.kernels import Kernels, fused

MIN_LOG_DECAY = -60.0  # a smaller decay counts as 0


def ssd(
    x: Tensor,
    step: Tensor,
    rate: Tensor,
    b: Tensor,
    c: Tensor,
    chunk: int = 64,
    state: Tensor | None = None,
    kernels: Kernels = "auto",
) -> tuple[Tensor, Tensor]:
    """``h_t = exp(-step_t rate) h_{t-1} + step_t x_t b_t^T`` and ``y_t = h_t c_t``, by chunks.

    Within a chunk it is linear attention with a decay mask; the state carries on from chunk to chunk. Both are matrix
    products.

    Args:
        x: ``(batch, T, heads, p)``.
        step: ``(batch, T, heads)``, at least 0.
        rate: ``(heads,)``, at least 0; -A in the paper.
        b, c: ``(batch, T, n)``, the same for all heads.
        chunk: number of tokens in a chunk; it changes only the speed.
        state: h before the first token, ``(batch, heads, p, n)``; None means zeros.
        kernels: ``"torch"``; ``"fused"``, the Triton kernels of mamba-ssm; or ``"auto"``, which uses the fused
            kernels if they are available.

    Returns:
        y ``(batch, T, heads, p)``, and h after the last token, at least float32.

    Source: Dao and Gu, "Transformers are SSMs", arXiv:2405.21060, section 6 and algorithm 1.
    """
    kernel = fused("mamba_chunk_scan_combined", kernels, x)
    if kernel:
        b, c = (value[:, :, None].to(x.dtype) for value in (b, c))  # (batch, T, 1, n)
        return kernel(x, step, -rate, b, c, chunk, initial_states=state, return_final_states=True)
    if state is None:
        wide = torch.promote_types(x.dtype, torch.float32)
        state = x.new_zeros(x.shape[0], *x.shape[2:], b.shape[-1], dtype=wide)
    if x.shape[1] == 1:
        y, state = _advance(state, x[:, 0], step[:, 0], rate, b[:, 0], c[:, 0])
        return y[:, None], state
    return _chunked(x, step, rate, b, c, min(chunk, x.shape[1]), state)


def ssd_sequential(
    x: Tensor, step: Tensor, rate: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Slow twin of ``ssd``: the recurrence, one token at a time."""
    if state is None:
        state = x.new_zeros(x.shape[0], *x.shape[2:], b.shape[-1])
    outputs = []
    for x_t, step_t, b_t, c_t in zip(x.unbind(1), step.unbind(1), b.unbind(1), c.unbind(1), strict=True):
        y, state = _advance(state, x_t, step_t, rate, b_t, c_t)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def ssd_matrix(step: Tensor, rate: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The matrix M of ``y = M x``, ``(batch, heads, T, T)``.

    Its entry (t, s) is ``c_t . b_s step_s exp(-rate (step_{s+1} + .. + step_t))``.

    Source: arXiv:2405.21060, eq. 3 and 6.
    """
    decay = decay_matrix((-step * rate).transpose(1, 2))
    return (c @ b.transpose(1, 2))[:, None] * decay * step.transpose(1, 2)[:, :, None]


def decay_matrix(log_decay: Tensor) -> Tensor:
    """exp(sum of log_decay over s < k <= t) at (.., t, s) of ``log_decay (.., T)``, 0 above the diagonal.

    The cumulative sums are subtracted in float64: in float32 a strong decay would hide the weak ones after it.
    """
    total = log_decay.cumsum(-1, dtype=torch.float64)
    between = (total[..., :, None] - total[..., None, :]).to(log_decay.dtype)
    above = torch.ones(between.shape[-2:], dtype=torch.bool, device=between.device).triu(1)
    return _decay(between.masked_fill_(above, -torch.inf))


def _decay(log_decay: Tensor) -> Tensor:
    """exp, but 0 below e^-60: denormal float32 numbers make arithmetic many times slower."""
    return log_decay.masked_fill(log_decay < MIN_LOG_DECAY, -torch.inf).exp_()


def _advance(state: Tensor, x: Tensor, step: Tensor, rate: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Take in one token: x ``(batch, heads, p)``, step ``(batch, heads)``, b, c ``(batch, n)``, state as in ``ssd``."""
    decay = (-step * rate).exp()[..., None, None]
    state = decay * state + (step[..., None] * x)[..., None] * b[:, None, None, :]
    return (state * c[:, None, None, :]).sum(-1), state


def _chunked(
    x: Tensor, step: Tensor, rate: Tensor, b: Tensor, c: Tensor, chunk: int, state: Tensor
) -> tuple[Tensor, Tensor]:
    length, device = x.shape[1], x.device.type
    x, step, b, c = (_in_chunks(value.to(state.dtype), chunk) for value in (x, step, b, c))
    with torch.autocast(device, enabled=False):
        y, state = _ByChunks.apply(x, step, -step * rate, b, c, state)
    return y.flatten(1, 2)[:, :length], state


class _ByChunks(torch.autograd.Function):
    """``ssd`` on x ``(batch, chunks, chunk, heads, p)``, step and log_decay ``(.., heads)``, b and c ``(.., n)``.

    This derivative makes half as many passes over memory as torch's. Let L_t be the cumulative sum of log_decay in a
    chunk. All of y_t is proportional to exp(L_t), the input of token s to exp(-L_s), and the final state to
    exp(L_end). So each derivative with respect to L is the product of a value and its gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        chunks, sizes = x.shape[:2], x.shape[-2:]  # (batch, chunks), (heads, p)
        x, step, log_decay, b, c = (value.flatten(0, 1) for value in (x, step, log_decay, b, c))
        decay = decay_matrix(log_decay.transpose(1, 2))  # (all, heads, chunk, chunk)
        since = _decay(log_decay.cumsum(1))[..., None]  # decay of the state since before the chunk
        whole = since[:, -1, :, :, None].unflatten(0, chunks)  # (batch, chunks, heads, 1, 1)
        taken = (x * step[..., None]).transpose(1, 2).contiguous()  # (all, heads, chunk, p)
        left = x * (step * decay[:, :, -1].transpose(1, 2))[..., None]  # of each token's input, at the chunk's end
        matrix = decay * torch.bmm(c, b.transpose(1, 2))[:, None]
        added = torch.bmm(left.flatten(2).transpose(1, 2), b)  # (all, heads * p, n)
        before, last = _carry(added.view(*chunks, *sizes, -1), whole, state)
        y = torch.bmm(c, before.view(added.shape).transpose(1, 2)).view(x.shape)
        y.mul_(since).add_((matrix @ taken).transpose(1, 2))
        ctx.save_for_backward(x, step, b, c, decay, since, whole, taken, left, matrix, before, last, y)
        return y.view(*chunks, *y.shape[1:]), last

    @staticmethod
    def backward(ctx: Any, d_y: Tensor, d_last: Tensor) -> tuple[Tensor, ...]:
        # torch.compile traces the backward under the autocast of the forward's caller
        with torch.autocast(d_y.device.type, enabled=False):
            return _gradients(ctx.saved_tensors, d_y, d_last)


def _gradients(saved: tuple[Tensor, ...], d_y: Tensor, d_last: Tensor) -> tuple[Tensor, ...]:
    """Gradients with respect to the inputs of ``_ByChunks``."""
    x, step, b, c, decay, since, whole, taken, left, matrix, before, last, y = saved
    chunks, d_y = d_y.shape[:2], d_y.flatten(0, 1)
    flat = (len(x), -1, b.shape[-1])  # shape of states: (all, heads * p, n)
    by_head = d_y.transpose(1, 2).contiguous()
    from_before = (d_y * since).flatten(2)  # (all, chunk, heads * p)
    through = torch.bmm(from_before.transpose(1, 2), c).view(before.shape)
    d_after, d_state = _carry_back(through, whole, d_last)
    d_added = d_after.view(flat)
    d_taken = torch.bmm(b, d_added.transpose(1, 2)).view(x.shape)
    d_taken.mul_(decay[:, :, -1].transpose(1, 2)[..., None]).add_((matrix.mT @ by_head).transpose(1, 2))
    d_scores = (by_head @ taken.mT).mul_(decay).sum(1)  # (all, chunk, chunk)
    d_b = torch.bmm(d_scores.transpose(1, 2), c).baddbmm_(left.flatten(2), d_added)
    d_c = torch.bmm(d_scores, b).baddbmm_(from_before, before.view(flat))
    d_step = (d_taken * x).sum(-1)
    d_total = (d_y * y).sum(-1) - step * d_step  # (all, chunk, heads)
    after = torch.cat([before[:, 1:], last[:, None]], dim=1)
    d_total[:, -1] += torch.linalg.vecdot(d_added.view(*flat[:1], x.shape[2], -1), after.flatten(0, 1).flatten(2))
    d_log_decay = d_total.flip(1).cumsum(1).flip(1)
    d_x = d_taken.mul_(step[..., None])
    whole_batch = (value.unflatten(0, chunks) for value in (d_x, d_step, d_log_decay, d_b, d_c))
    return (*whole_batch, d_state)


def _in_chunks(value: Tensor, chunk: int) -> Tensor:
    """Reshape (batch, T, ..) to (batch, chunks, chunk, ..); zeros, which change no state, fill the last chunk."""
    missing = -value.shape[1] % chunk
    padded = F.pad(value, (0, 0) * (value.ndim - 2) + (0, missing)) if missing else value
    return padded.unflatten(1, (-1, chunk))


def _carry(added: Tensor, decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The state before each chunk, ``(batch, chunks, heads, p, n)``, and the state after the last one."""
    before = torch.empty_like(added)
    for i, (own, kept) in enumerate(zip(added.unbind(1), decay.unbind(1), strict=True)):
        before[:, i] = state
        state = torch.addcmul(own, kept, state)
    return before, state


def _carry_back(through: Tensor, decay: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients with respect to the state after each chunk and to the first state.

    Args:
        through: gradients with respect to the state before each chunk, through the outputs of that chunk only.
        decay: factor by which each chunk multiplies the state.
        last: gradient with respect to the last state.
    """
    after, grad = torch.empty_like(through), last
    for i in reversed(range(through.shape[1])):
        after[:, i] = grad
        grad = torch.addcmul(through[:, i], decay[:, i], grad)
    return after, grad
