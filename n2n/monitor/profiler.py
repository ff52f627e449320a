"""Where the time of a step goes, and how near the machine's limits it is."""

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
    """Seconds spent in each named section since they were last taken.

    On a CUDA GPU a section's time is that between two events of the GPU's own queue, read when they are taken, so that
    measuring makes nobody wait.

    Args:
        device: where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._spent: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, name: str, *, on_device: bool = False) -> Iterator[None]:
        """Add the time of the block to a section; ``on_device`` where the block only queues work for the GPU."""
        if on_device and self._cuda:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self._events.append((name, begin, end))
            return
        begun = time.perf_counter()
        yield
        self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - begun

    def take(self) -> tuple[dict[str, float], float]:
        """Seconds in each section and in all since the last time, and begin anew."""
        for name, begin, end in self._events:
            end.synchronize()
            self._spent[name] = self._spent.get(name, 0.0) + begin.elapsed_time(end) / 1e3
        now = time.perf_counter()
        spent, total = self._spent, now - self._since
        self._spent, self._events, self._since = {}, [], now
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
        begun = time.perf_counter()
        for _ in range(products):
            torch.matmul(values, values)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 * products / summary(seconds[1:])


def memory_held(device: torch.device) -> float:
    """The most memory that was held so far, MiB: a CUDA GPU's by tensors, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


class Trace:
    """A trace of some steps by ``torch.profiler``, which Perfetto and Chrome open.

    Args:
        path: of the ``.json.gz`` file.
        steps: first step and the one after the last; None traces nothing.
    """

    def __init__(self, path: Path, steps: tuple[int, int] | None) -> None:
        self._path, self._steps = path, steps
        self._profile: torch.profiler.profile | None = None

    def before(self, step: int) -> None:
        """To be told of each step before it."""
        if self._steps is None:
            return
        if self._profile is None and self._steps[0] <= step < self._steps[1]:
            self._profile = torch.profiler.profile(profile_memory=True)
            self._profile.start()
        elif self._profile is not None and step >= self._steps[1]:
            self.close()

    def close(self) -> None:
        """Write what was traced."""
        if self._profile is not None:
            self._profile.stop()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._profile.export_chrome_trace(str(self._path))
            self._profile, self._steps = None, None
