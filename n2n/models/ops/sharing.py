"""Compiled operations on all cores of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from n2n.utils.cpu import cores, run_parts

Range = tuple[int, int]  # the first, and the one after the last

_MIN_COMPILED = 2**18  # number of entries below which torch is faster, because its operators cost less to call
_MIN_SHARED = 2**16  # number of entries below which one thread is faster than several
_MIN_CHANNELS = 32  # channels in a thread's share, at least, because they are neighbours in memory


def rows_and_channels(tensor: Tensor) -> list[tuple[Range, Range]]:
    """Divide ``(rows, .., channels)`` among the cores; the channels too, if the rows are few."""
    rows, channels, threads = tensor.shape[0], tensor.shape[-1], _threads(tensor)
    across = max(1, min(threads // max(1, min(threads, rows)), channels // _MIN_CHANNELS))
    return list(product(_ranges(rows, threads), _ranges(channels, across)))


def blocks_of_rows(tensor: Tensor, size: int) -> list[tuple[Range]]:
    """Divide the blocks of ``size`` rows of ``(rows, channels)`` among the cores."""
    return [(block,) for block in _ranges(-(-tensor.shape[0] // size), _threads(tensor))]


def run_shares(kernel: Callable[..., None], shares: list[tuple[Range, ...]], *arguments: Any) -> None:
    """Run ``kernel(*share, *arguments)``, a compiled function, for all shares of its work, which are independent."""
    arrays = [
        np.ascontiguousarray(value.detach().numpy()) if isinstance(value, Tensor) else value for value in arguments
    ]
    run_parts(lambda share: kernel(*share, *arrays), shares, len(shares))


def runs_compiled(values: Tensor, *tensors: Tensor) -> bool:
    """Whether these tensors, the largest first, are for operations that are compiled for float32 on the CPU.

    torch.compile makes its own from the operations of torch.
    """
    if torch.compiler.is_compiling() or values.numel() < _MIN_COMPILED:
        return False
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (values, *tensors))


def _threads(tensor: Tensor) -> int:
    return 1 if tensor.numel() < _MIN_SHARED else cores()


def _ranges(size: int, number: int) -> list[Range]:
    number = max(1, min(size, number))
    edges = [size * i // number for i in range(number + 1)]
    return list(pairwise(edges))
