"""The gated linear recurrence compiled for the CPU, as operators that torch.compile can call."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor

from n2n.utils.compilation import compiled
from n2n.utils.cpu import cores

_MIN_SHARED = 2**16  # number of entries below which one thread is faster than several
_MIN_CHANNELS = 32  # channels in a thread's share, at least, because they are neighbours in memory


@compiled
def _forward(rows, channels, a, b, h0, h):
    first, last = channels
    running = np.empty(last - first, a.dtype)  # separate from h, so that the innermost loop is vectorised
    for i in range(rows[0], rows[1]):
        running[:] = h0[i, first:last]
        for t in range(a.shape[1]):
            a_t, b_t, h_t = a[i, t, first:last], b[i, t, first:last], h[i, t, first:last]
            for c in range(last - first):
                value = a_t[c] * running[c] + b_t[c]
                running[c] = value
                h_t[c] = value


@compiled
def _backward(rows, channels, grad, a, h, h0, d_a, d_b):
    """d_b is the gradient with respect to each h: the same recurrence, backwards in time."""
    first, last = channels
    running = np.empty(last - first, a.dtype)
    for i in range(rows[0], rows[1]):
        running[:] = 0.0
        for t in range(a.shape[1] - 1, -1, -1):
            a_t, grad_t = a[i, t, first:last], grad[i, t, first:last]
            d_a_t, d_b_t = d_a[i, t, first:last], d_b[i, t, first:last]
            before = h[i, t - 1, first:last] if t > 0 else h0[i, first:last]
            for c in range(last - first):
                reached = grad_t[c] + running[c]
                d_b_t[c] = reached
                d_a_t[c] = reached * before[c]
                running[c] = a_t[c] * reached


@torch.library.custom_op("n2n::linear_scan", mutates_args=(), device_types="cpu")
def scan(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """``h_t = a_t h_{t-1} + b_t`` for a, b ``(batch, T, channels)`` and h0 ``(batch, channels)``, all of one type."""
    h = torch.empty(a.shape, dtype=a.dtype)
    _run_on_all_cores(_forward, a, b, h0, h)
    return h


@torch.library.custom_op("n2n::linear_scan_backward", mutates_args=(), device_types="cpu")
def scan_backward(grad: Tensor, a: Tensor, h: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients with respect to a and b."""
    d_a, d_b = torch.empty(a.shape, dtype=a.dtype), torch.empty(a.shape, dtype=a.dtype)
    _run_on_all_cores(_backward, grad, a, h, h0, d_a, d_b)
    return d_a, d_b


@scan.register_fake
def _(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    return a.new_empty(a.shape)


@scan_backward.register_fake
def _(grad: Tensor, a: Tensor, h: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), a.new_empty(a.shape)


def _keep(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    a, _, h0 = inputs
    ctx.save_for_backward(a, output, h0)


def _gradients(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, h, h0 = ctx.saved_tensors
    d_a, d_b = scan_backward(grad, a, h, h0)
    return d_a, d_b, a[:, 0] * d_b[:, 0]


scan.register_autograd(_gradients, setup_context=_keep)


def _run_on_all_cores(kernel: Callable[..., None], *tensors: Tensor) -> None:
    """Run a kernel on all cores; each takes some sequences and channels, which are independent."""
    arrays = [np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors]
    batch, _, channels = arrays[-1].shape
    threads = 1 if arrays[-1].size < _MIN_SHARED else cores()
    across = max(1, min(threads // max(1, min(threads, batch)), channels // _MIN_CHANNELS))
    shares = list(product(_parts(batch, min(threads, batch)), _parts(channels, across)))
    if len(shares) == 1:
        return kernel(*shares[0], *arrays)
    for job in [_pool().submit(kernel, *share, *arrays) for share in shares]:
        job.result()
    return None


def _parts(size: int, number: int) -> list[tuple[int, int]]:
    edges = [size * i // number for i in range(number + 1)]
    return list(pairwise(edges))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="n2n-scan")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child does not have the threads of the pool
