"""Measure where the time of a step goes and how close training comes to the machine's limits."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch

MATRIX = 1024  # rows and columns of the matrices in ``matrix_rate``
ATTEMPTS = 5  # products in ``matrix_rate``, of which the fastest counts


class Clock:
    """Seconds spent in each named section since ``take`` was last called.

    On a CUDA GPU the time of a section is measured by two events in the GPU's own queue. They are read only by
    ``take``, so that measuring does not block.

    Args:
        device: where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._spent: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, name: str, *, on_device: bool = False) -> Iterator[None]:
        """Add the time of the block to a section; ``on_device`` if the block only queues work for the GPU."""
        if on_device and self._cuda:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self._events.append((name, begin, end))
            return
        start = time.perf_counter()
        yield
        self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> tuple[dict[str, float], float]:
        """Seconds in each section and in total since the last call; the clock starts again."""
        for name, begin, end in self._events:
            end.synchronize()
            self._spent[name] = self._spent.get(name, 0.0) + begin.elapsed_time(end) / 1e3
        now = time.perf_counter()
        spent, total = self._spent, now - self._start
        self._spent, self._events, self._start = {}, [], now
        return spent, total


@lru_cache
def matrix_rate(device: str, precision: str = "float32") -> float:
    """Floating-point operations per second of large matrix products on this machine.

    It is measured once per process, in a few hundredths of a second. ``n2n.benchmark.matrix_rate`` takes longer and is
    more accurate.

    Args:
        device: where to multiply.
        precision: name of a torch type.
    """
    return product_rate(device, precision, size=MATRIX, products=1, repeats=ATTEMPTS, summary=min)


def product_rate(
    device: str,
    precision: str,
    *,
    size: int,
    products: int,
    repeats: int,
    summary: Callable[[Sequence[float]], float],
) -> float:
    """Floating-point operations per second of matrix products; a multiplication and an addition count as two.

    Args:
        device: where to multiply.
        precision: name of a torch type.
        size: rows and columns of the matrices.
        products: number of products in one timing.
        repeats: number of timings, after one that does not count.
        summary: what to make of the timings, such as ``min``.
    """
    values = torch.ones(size, size, dtype=getattr(torch, precision), device=device)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for _ in range(products):
            torch.matmul(values, values)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 * products / summary(seconds[1:])


def peak_memory(device: torch.device) -> float:
    """Peak memory so far, MiB: that of tensors on a CUDA GPU, else that of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes in a unit of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


class Trace:
    """A trace of some steps by ``torch.profiler``, which Perfetto and Chrome open.

    Args:
        path: the ``.json.gz`` file.
        steps: first step and the one after the last; None traces nothing.
    """

    def __init__(self, path: Path, steps: tuple[int, int] | None) -> None:
        self._path, self._steps = path, steps
        self._profile: torch.profiler.profile | None = None

    def before_step(self, step: int) -> None:
        """Start or end the trace if this step is its first or the one after its last."""
        if self._steps is None:
            return
        if self._profile is None and self._steps[0] <= step < self._steps[1]:
            self._profile = torch.profiler.profile(profile_memory=True)
            self._profile.start()
        elif self._profile is not None and step >= self._steps[1]:
            self.close()

    def close(self) -> None:
        """Write the trace."""
        if self._profile is not None:
            self._profile.stop()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._profile.export_chrome_trace(str(self._path))
            self._profile, self._steps = None, None
