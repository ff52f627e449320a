"""The end of a Mamba's mixer, compiled for the CPU in float32: skip connection, gate and norm in one pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from n2n.models.ops.sharing import blocks_of_rows, run_shares
from n2n.utils.compilation import compiled
from n2n.utils.emitters import address, along_row

BLOCK = 64  # rows whose gradients of the weights have a sum of their own, so that threads share none

_NUMBERS = types.CPointer(types.float32)


@intrinsic
def _gate(typing, channels, y, x, z, skip, gated):
    """``gated = (y + skip x) silu(z)`` for one row; return the sum of its squares."""

    def generate(context, builder, signature, arguments):
        channels, y, x, z, skip, gated = arguments

        def step(vectors, place):
            total = vectors.multiply_add(vectors.load(skip, place), vectors.load(x, place), vectors.load(y, place))
            value = builder.fmul(total, vectors.silu(vectors.load(z, place))[0])
            vectors.store(value, gated, place)
            return [builder.fmul(value, value)]

        return along_row(context, builder, channels, step, sums=1)[0]

    return types.float32(types.intp, *(5 * [_NUMBERS])), generate


@intrinsic
def _scale(typing, channels, factor, weight, values):
    """``values *= factor weight`` for one row."""

    def generate(context, builder, signature, arguments):
        channels, factor, weight, values = arguments

        def step(vectors, place):
            scaled = builder.fmul(vectors.load(values, place), vectors.fill(factor))
            vectors.store(builder.fmul(scaled, vectors.load(weight, place)), values, place)

        along_row(context, builder, channels, step)
        return context.get_dummy_value()

    return types.void(types.intp, types.float32, *(2 * [_NUMBERS])), generate


@intrinsic
def _along(typing, channels, y, x, z, skip, weight, grad, d_y, d_z):
    """The sum over a row of grad weight gated.

    ``d_y`` and ``d_z`` become the derivatives of the gated values with respect to y and z.
    """

    def generate(context, builder, signature, arguments):
        channels, y, x, z, skip, weight, grad, d_y, d_z = arguments

        def step(vectors, place):
            total = vectors.multiply_add(vectors.load(skip, place), vectors.load(x, place), vectors.load(y, place))
            gate, slope = vectors.silu(vectors.load(z, place))
            vectors.store(gate, d_y, place)
            vectors.store(builder.fmul(total, slope), d_z, place)
            along = builder.fmul(vectors.load(grad, place), vectors.load(weight, place))
            return [builder.fmul(along, builder.fmul(total, gate))]

        return along_row(context, builder, channels, step, sums=1)[0]

    return types.float32(types.intp, *(8 * [_NUMBERS])), generate


@intrinsic
def _gate_back(typing, channels, factor, mean, y, x, skip, weight, grad, d_y, d_x, d_z, d_skip, d_weight):
    """The gradients of one row, of which those of ``skip`` and ``weight`` are added to sums.

    ``d_y`` and ``d_z`` come from ``_along``; ``mean`` is the mean of grad weight gated factor over the row.
    """

    def generate(context, builder, signature, arguments):
        channels, factor, mean, y, x, skip, weight, grad, d_y, d_x, d_z, d_skip, d_weight = arguments

        def add(vectors, value, sums, place):
            vectors.store(builder.fadd(vectors.load(sums, place), value), sums, place)

        def step(vectors, place):
            gate, values, own_skip = vectors.load(d_y, place), vectors.load(x, place), vectors.load(skip, place)
            gated = builder.fmul(vectors.multiply_add(own_skip, values, vectors.load(y, place)), gate)
            normal = builder.fmul(gated, vectors.fill(factor))
            reached = vectors.load(grad, place)
            add(vectors, builder.fmul(reached, normal), d_weight, place)
            d_normal = builder.fmul(reached, vectors.load(weight, place))
            d_normal = builder.fsub(d_normal, builder.fmul(normal, vectors.fill(mean)))
            d_gated = builder.fmul(d_normal, vectors.fill(factor))
            d_total = builder.fmul(d_gated, gate)
            vectors.store(d_total, d_y, place)
            vectors.store(builder.fmul(d_total, own_skip), d_x, place)
            vectors.store(builder.fmul(d_gated, vectors.load(d_z, place)), d_z, place)
            add(vectors, builder.fmul(d_total, values), d_skip, place)

        along_row(context, builder, channels, step)
        return context.get_dummy_value()

    return types.void(types.intp, types.float32, types.float32, *(10 * [_NUMBERS])), generate


@compiled
def _forward(blocks, y, x, x_stride, z, skip, weight, eps, scales, result):
    channels = y.shape[1]
    for row in range(blocks[0] * BLOCK, min(blocks[1] * BLOCK, len(y))):
        at = row * channels
        squares = _gate(
            channels, address(y, at), address(x, row * x_stride), address(z, at), address(skip, 0), address(result, at)
        )  # fmt: skip
        scales[row] = np.float32(1.0) / math.sqrt(squares / np.float32(channels) + np.float32(eps))
        _scale(channels, scales[row], address(weight, 0), address(result, at))


@compiled
def _backward(blocks, y, x, x_stride, z, skip, weight, scales, grad, sums, d_y, d_x, d_z):
    """``sums`` is ``(blocks, 2, channels)``: the gradients of skip and weight."""
    channels = y.shape[1]
    for row in range(blocks[0] * BLOCK, min(blocks[1] * BLOCK, len(y))):
        at, of_sums = row * channels, row // BLOCK * 2 * channels
        along = _along(
            channels, address(y, at), address(x, row * x_stride), address(z, at), address(skip, 0), address(weight, 0),
            address(grad, at), address(d_y, at), address(d_z, at),
        )  # fmt: skip
        mean = along * scales[row] / np.float32(channels)
        _gate_back(
            channels, scales[row], mean, address(y, at), address(x, row * x_stride),
            address(skip, 0), address(weight, 0), address(grad, at), address(d_y, at), address(d_x, at),
            address(d_z, at), address(sums, of_sums), address(sums, of_sums + channels),
        )  # fmt: skip


@torch.library.custom_op("n2n::gated_norm", mutates_args=(), device_types="cpu")
def gated_norm(y: Tensor, x: Tensor, z: Tensor, skip: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``norm((y + skip x) silu(z)) weight`` of rows ``(rows, channels)``, and the norm's factor for each row.

    All are float32; the rows of x may lie apart in memory.
    """
    scales, result = torch.empty(len(y), dtype=y.dtype), torch.empty(y.shape, dtype=y.dtype)
    run_shares(_forward, blocks_of_rows(y, BLOCK), y, *_flat(x), z, skip, weight, eps, scales, result)
    return result, scales


@torch.library.custom_op("n2n::gated_norm_backward", mutates_args=(), device_types="cpu")
def gated_norm_backward(
    grad: Tensor, y: Tensor, x: Tensor, z: Tensor, skip: Tensor, weight: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients with respect to y, x, z, skip and weight."""
    d_y, d_x, d_z = (torch.empty(y.shape, dtype=y.dtype) for _ in range(3))
    sums = torch.zeros(-(-len(y) // BLOCK), 2, y.shape[1], dtype=y.dtype)
    shares = blocks_of_rows(y, BLOCK)
    run_shares(_backward, shares, y, *_flat(x), z, skip, weight, scales, grad, sums, d_y, d_x, d_z)
    d_skip, d_weight = sums.sum(0)
    return d_y, d_x, d_z, d_skip.clone(), d_weight.clone()


@gated_norm.register_fake
def _(y: Tensor, x: Tensor, z: Tensor, skip: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return y.new_empty(y.shape), y.new_empty(len(y))


@gated_norm_backward.register_fake
def _(
    grad: Tensor, y: Tensor, x: Tensor, z: Tensor, skip: Tensor, weight: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return tuple(value.new_empty(value.shape) for value in (y, x, z, skip, weight))


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, _ = inputs
    ctx.save_for_backward(*tensors, output[1])


def _gradients(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    return *gated_norm_backward(grad, *ctx.saved_tensors), None


gated_norm.register_autograd(_gradients, setup_context=_keep)


def _flat(rows: Tensor) -> tuple[Tensor, int]:
    """Rows as one line of memory, and the stride from one to the next."""
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    stride = rows.stride(0)
    return rows.as_strided(((len(rows) - 1) * stride + rows.shape[1],), (1,)), stride
