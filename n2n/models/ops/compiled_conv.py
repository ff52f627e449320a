"""SiLU of a short causal convolution, compiled for the CPU in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from n2n.models.ops.sharing import rows_and_channels, run_shares
from n2n.utils.compilation import compiled
from n2n.utils.emitters import INT64, Vectors, address, along_row

MAX_WIDTH = 4
REACH = MAX_WIDTH - 1
TILE = 8  # tokens for which the channels of one vector are taken at a time, so that their rows stay in the cache

_NUMBERS = types.CPointer(types.float32)


def _rows(vectors: Vectors, number: int, stride, place) -> list:
    """Places of ``number`` rows of an array with ``stride`` numbers in a row."""
    return [vectors.builder.add(place, vectors.builder.mul(INT64(k), stride)) for k in range(number)]


def _convolved(vectors: Vectors, taps: list, tokens: list):
    """``taps[0] + taps[1] tokens[0] + taps[2] tokens[1] + ..``; the last token is the first."""
    total = taps[0]
    for tap, token in zip(taps[1:], tokens, strict=True):
        total = vectors.multiply_add(tap, token, total)
    return total


@intrinsic
def _convolve(typing, channels, length, stride, taps, x, past, y):
    """``y = silu(convolution of x)`` for some tokens of a sequence.

    ``past (REACH, channels)`` are the tokens before, the last one first, and becomes those before the next tokens;
    ``stride`` leads to the next token and to the next row of taps.
    """

    def generate(context, builder, signature, arguments):
        channels, length, stride, taps, x, past, y = arguments

        def step(vectors, place):
            weights = [vectors.load(taps, row) for row in _rows(vectors, 2 + REACH, stride, place)]
            rows = _rows(vectors, REACH, stride, place)

            def advance(t, before):
                at = builder.add(place, builder.mul(t, stride))
                tokens = [vectors.load(x, at), *before]
                vectors.store(vectors.silu(_convolved(vectors, weights, tokens))[0], y, at)
                return tokens[:-1]

            before = vectors.loop(length, [vectors.load(past, row) for row in rows], advance)
            for row, value in zip(rows, before, strict=True):
                vectors.store(value, past, row)

        along_row(context, builder, channels, step)
        return context.get_dummy_value()

    return types.void(*(3 * [types.intp]), *(4 * [_NUMBERS])), generate


@intrinsic
def _convolve_back(typing, channels, length, stride, taps, x, grad, past, d_x):
    """The gradients of ``_convolve`` for some tokens of a sequence.

    ``past (2 + 3 REACH, channels)`` are the tokens before, the gradients that reached the convolution at these tokens,
    and the sums of the gradients of the taps. ``d_x`` lags by ``REACH`` tokens, because a token's gradient is complete
    when the last token that it enters is done.
    """

    def generate(context, builder, signature, arguments):
        channels, length, stride, taps, x, grad, past, d_x = arguments

        def step(vectors, place):
            weights = [vectors.load(taps, row) for row in _rows(vectors, 2 + REACH, stride, place)]
            rows = _rows(vectors, 2 + 3 * REACH, stride, place)

            def advance(t, values):
                before, reached, sums = values[:REACH], values[REACH : 2 * REACH], values[2 * REACH :]
                at = builder.add(place, builder.mul(t, stride))
                tokens = [vectors.load(x, at), *before]
                _, slope = vectors.silu(_convolved(vectors, weights, tokens))
                reached = [builder.fmul(vectors.load(grad, at), slope), *reached]
                d_token = builder.fmul(weights[1], reached[-1])
                for tap, later in zip(weights[2:], reached[-2::-1], strict=True):
                    d_token = vectors.multiply_add(tap, later, d_token)
                vectors.store(d_token, d_x, at)
                products = [vectors.multiply_add(reached[0], *pair) for pair in zip(tokens, sums[1:], strict=True)]
                return [*tokens[:-1], *reached[:-1], builder.fadd(sums[0], reached[0]), *products]

            results = vectors.loop(length, [vectors.load(past, row) for row in rows], advance)
            for row, value in zip(rows, results, strict=True):
                vectors.store(value, past, row)

        along_row(context, builder, channels, step)
        return context.get_dummy_value()

    return types.void(*(3 * [types.intp]), *(5 * [_NUMBERS])), generate


@compiled
def _forward(rows, channels, taps, x, y):
    _, length, stride = x.shape
    first, last = channels
    past = np.empty((REACH, stride), x.dtype)
    for i in range(rows[0], rows[1]):
        past[:] = 0.0
        for t in range(0, length, TILE):
            at = (i * length + t) * stride + first
            _convolve(
                last - first, min(TILE, length - t), stride, address(taps, first), address(x, at), address(past, first),
                address(y, at),
            )  # fmt: skip


@compiled
def _backward(rows, channels, taps, x, grad, past, d_x):
    """``past`` is for each sequence, so that threads share no sums; ``d_x`` begins with ``REACH`` unused rows."""
    _, length, stride = x.shape
    first, last = channels
    for i in range(rows[0], rows[1]):
        for t in range(0, length, TILE):
            at = (i * length + t) * stride + first
            _convolve_back(
                last - first, min(TILE, length - t), stride, address(taps, first), address(x, at), address(grad, at),
                address(past, i * past.shape[1] * stride + first), address(d_x, at),
            )  # fmt: skip


@torch.library.custom_op("n2n::silu_conv", mutates_args=(), device_types="cpu")
def silu_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``silu(causal_conv1d(x, weight, bias))`` for x ``(batch, T, channels)`` and widths up to 4, all float32."""
    y = torch.empty(x.shape, dtype=x.dtype)
    run_shares(_forward, rows_and_channels(x), _taps(weight, bias), x, y)
    return y


@torch.library.custom_op("n2n::silu_conv_backward", mutates_args=(), device_types="cpu")
def silu_conv_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to x, weight and bias."""
    batch, length, channels = x.shape
    taps, lagging = _taps(weight, bias), torch.empty((batch * length + REACH) * channels, dtype=x.dtype)
    past = torch.zeros(batch, 2 + 3 * REACH, channels, dtype=x.dtype)
    run_shares(_backward, rows_and_channels(x), taps, x, grad, past, lagging)
    d_x = lagging[REACH * channels :].view(x.shape)
    reached, sums = past[:, REACH : 2 * REACH], past[:, 2 * REACH :].sum(0)
    for back in range(REACH):  # the last tokens, which enter fewer outputs
        d_x[:, -1 - back] = (taps[1 : 2 + back] * reached[:, : back + 1].flip(1)).sum(1)
    return d_x, sums[1 : 1 + weight.shape[1]].T.flip(1).contiguous(), sums[0].clone()


@silu_conv.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@silu_conv_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


@register_flop_formula(torch.ops.n2n.silu_conv)
def _flops(x: tuple[int, ...], weight: tuple[int, ...], *_: Any, **__: Any) -> int:
    batch, length, channels = x
    return 2 * batch * length * channels * weight[1]


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return silu_conv_backward(grad, *ctx.saved_tensors)


silu_conv.register_autograd(_gradients, setup_context=_keep)


def _taps(weight: Tensor, bias: Tensor) -> Tensor:
    """The bias, then the weights of the current token, of the one before it, and so on, up to ``MAX_WIDTH``."""
    taps = torch.zeros(1 + MAX_WIDTH, len(bias), dtype=bias.dtype)
    taps[0], taps[1 : 1 + weight.shape[1]] = bias, weight.flip(1).T
    return taps
