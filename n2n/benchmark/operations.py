"""Timings of the parallel recurrences next to their sequential twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from n2n.benchmark.timing import Settings, medians, peak_memory
from n2n.models import ops
from n2n.utils.cpu import keep_freed_memory
from n2n.utils.progress import track

MAX_LENGTH_FACTOR = 64  # longest sequence, as a multiple of ``length``: 16,384 tokens for the default of 256
MAX_TWIN_FACTOR = 4  # longest sequence on which the twins are timed, as a multiple of ``length``
WARM = 5  # untimed runs, after which the memory that is kept between runs is allocated
HEADS, STATE = 4, 64  # heads and state size of ``ssd``


def operation_table(settings: Settings) -> pd.DataFrame:
    """Time forward and backward passes of ``linear_scan`` and ``ssd`` next to their token-by-token twins.

    Returns:
        A row for each operation, number of sequences and length: milliseconds, nanoseconds per token, peak memory in
        MiB, the speed-up over the twin (nan where the twin is not timed), and the target speed-up for one sequence of
        ``length``. The twin works on all sequences of a batch at once, so its time per token falls with the batch.
    """
    keep_freed_memory()
    batches = [(count, settings.length) for count in (1, *settings.batches)]
    lengths = [(1, settings.length * 4**i) for i in range(1, 10) if 4**i <= MAX_LENGTH_FACTOR]
    rows = []
    for name, (make, fast, twin, target) in track(_OPERATIONS.items(), "operation"):
        for count, length in batches + lengths:
            inputs = make(count, length, settings)
            run = _forward_and_backward(fast, inputs)
            row = {"operation": name, "sequences": count, "length": length}
            (seconds,) = medians(settings.repeats, run, warm=WARM)
            peak = peak_memory(run, settings.device)
            row |= {"ms": 1e3 * seconds, "ns/token": 1e9 * seconds / (count * length), "MiB": peak}
            row |= {"times the twin": float("nan")}
            if length <= MAX_TWIN_FACTOR * settings.length:
                (slow,) = medians(min(3, settings.repeats), _forward_and_backward(twin, inputs))
                row["times the twin"] = slow / seconds
            rows.append(row | {"target": target})
    return pd.DataFrame(rows)


def _scan_inputs(count: int, length: int, settings: Settings) -> tuple[Tensor, ...]:
    values = torch.randn(2, count, length, settings.dim, generator=torch.Generator().manual_seed(0))
    return _ready(settings, values[0].sigmoid(), values[1])


def _ssd_inputs(count: int, length: int, settings: Settings) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, length, HEADS, 2 * settings.dim // HEADS, generator=generator)
    step = torch.rand(count, length, HEADS, generator=generator)
    b, c = torch.randn(2, count, length, STATE, generator=generator)
    return _ready(settings, x, step, torch.ones(HEADS), b, c)


def _ready(settings: Settings, *values: Tensor) -> tuple[Tensor, ...]:
    return tuple(value.to(settings.device).requires_grad_() for value in values)


def _forward_and_backward(operation: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Callable[[], None]:
    def run() -> None:
        outputs = operation(*inputs)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        torch.autograd.grad(outputs, inputs, torch.ones_like(outputs))

    return run


_OPERATIONS = {
    "linear_scan": (_scan_inputs, ops.linear_scan, ops.linear_scan_sequential, 10),
    "ssd": (_ssd_inputs, ops.ssd, ops.ssd_sequential, 5),
}
