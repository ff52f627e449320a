"""How fast the recurrences run in parallel, beside their sequential twins."""

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

MAX_LENGTH_FACTOR = 64  # times ``length``, in steps of 4; with 256 tokens up to 16,384
MAX_TWINS = 4  # times ``length``, beyond which the twins are left out
WARM = 5  # unmeasured runs: memory that is kept from one to the next is found by then
HEADS, STATE = 4, 64  # of ``ssd``


def operation_table(settings: Settings) -> pd.DataFrame:
    """Forward and backward of ``linear_scan`` and ``ssd``, beside the same token by token.

    Returns:
        a row for each operation, number of sequences and length: milliseconds, nanoseconds a token, MiB held
        meanwhile, how many times as fast as the twin (nan where that is left out), and the target for one sequence of
        ``length``. The twin's cost of a token falls with the batch, which it does side by side.
    """
    keep_freed_memory()
    batches = [(count, settings.length) for count in (1, *settings.batches)]
    lengths = [(1, settings.length * 4**i) for i in range(1, 10) if 4**i <= MAX_LENGTH_FACTOR]
    rows = []
    for name, (make, fast, twin, target) in track(_OPERATIONS.items(), "operation"):
        for count, length in batches + lengths:
            inputs = make(count, length, settings)
            ours = _there_and_back(fast, inputs)
            row = {"operation": name, "sequences": count, "length": length}
            (seconds,) = medians(settings.repeats, ours, warm=WARM)
            held = peak_memory(ours, settings.device)
            row |= {"ms": 1e3 * seconds, "ns/token": 1e9 * seconds / (count * length), "MiB": held}
            row |= {"times the twin": float("nan")}
            if length <= MAX_TWINS * settings.length:
                (slow,) = medians(min(3, settings.repeats), _there_and_back(twin, inputs))
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


def _there_and_back(operation: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Callable[[], None]:
    def run() -> None:
        found = operation(*inputs)
        outputs = found[0] if isinstance(found, tuple) else found
        torch.autograd.grad(outputs, inputs, torch.ones_like(outputs))

    return run


_OPERATIONS = {
    "linear_scan": (_scan_inputs, ops.linear_scan, ops.linear_scan_sequential, 10),
    "ssd": (_ssd_inputs, ops.ssd, ops.ssd_sequential, 5),
}
