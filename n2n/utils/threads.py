"""The number of torch's threads: few if other jobs keep the cores busy, one if the work is small. And their mode.

Threads of one operation wait for each other. On a machine with other jobs one thread is often delayed, which delays
all: a small operation can take a hundred times as long on two threads as on one. threadpoolctl does not help: it sets
the threads of OpenMP and BLAS, but not the number that torch itself keeps.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from n2n.utils.cpu import THREADS_VARIABLE, cores, threads_from_environment

MIN_ROUNDS = 2  # rounds of timings
MAX_SECONDS = 1.0  # seconds of timings after these rounds
MAX_SHARE = 0.03  # fraction of the work to come that timings after these rounds may take
CLEAR_RATIO = 3.0  # ratio of the slowest to the fastest that ends the timings
_SMALLEST, _HALF = np.float32(2.0**-126), np.float32(0.5)  # the smallest normal number; their product is denormal
WORTHWHILE = 0.9  # more threads are used if they take at most this fraction of the time of fewer


@dataclass(frozen=True)
class Threads:
    """A run's number of threads, and the reason for it.

    Args:
        number: number of threads.
        reason: reason in the run's log.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        return f"torch threads: {self.number}, {self.reason}"


def choose_threads(
    prepare: Callable[[], Callable[[], object]], calls: int, max_threads: int, before: int | None = None
) -> Threads:
    """The number of threads of a run on the CPU: the user's, that of the resumed run, or the fastest.

    Results are equal to the bit only for an equal number of threads, so a resumed run keeps its number.

    Args:
        prepare: returns the work of one step, without side effects. It is called once, and not if there is no choice;
            its own time does not count.
        calls: number of steps to come.
        max_threads: largest number of threads; the number of cores also limits it unless the user set a number.
        before: number of threads of the resumed run (None: a new run).
    """
    if threads_from_environment():
        return Threads(max_threads, f"set by {THREADS_VARIABLE}")
    max_threads = min(max_threads, cores())
    other = f"{THREADS_VARIABLE} sets another number"
    if before is not None:
        few = f" (it began with {before})" if before > max_threads else ""
        return Threads(min(before, max_threads), f"as the run began{few}; {other}")
    if max_threads == 1:
        return Threads(1, "the only choice")
    with torch_threads(1):
        work = prepare()
    seconds = mean_seconds(work, candidates(max_threads), calls)
    timings = ", ".join(f"{1e3 * spent:.3g} ms on {number}" for number, spent in seconds.items())
    return Threads(fastest(seconds), f"the fastest: a test step took {timings}; {other}")


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set torch's number of threads within this context; also a decorator.

    Python threads that have used torch before keep their own number. A thread that first uses torch within this context
    keeps ``threads`` for good.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def candidates(max_threads: int) -> list[int]:
    """Numbers of threads to try: one, half of ``max_threads``, and ``max_threads``."""
    return sorted({1, max(1, max_threads // 2), max_threads})


def mean_seconds(
    work: Callable[[], object], numbers: list[int], calls: int, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Mean seconds of ``work`` on each number of threads, timed in turns after one call as a warm-up.

    Args:
        work: work to time, without side effects.
        numbers: numbers of threads.
        calls: number of such calls to come; the timings should take a small fraction of their time.
        clock: function that returns the time in seconds.
    """
    spent, rounds = dict.fromkeys(numbers, 0.0), 0
    with torch_threads(min(numbers)):
        work()
    while rounds < MIN_ROUNDS or (rounds * len(numbers) < MAX_SHARE * calls and sum(spent.values()) < MAX_SECONDS):
        if rounds and max(spent.values()) > CLEAR_RATIO * min(spent.values()):
            break
        for threads in numbers:
            with torch_threads(threads):
                began = clock()
                work()
                spent[threads] += clock() - began
        rounds += 1
    return {threads: seconds / rounds for threads, seconds in spent.items()}


def fastest(seconds: dict[int, float]) -> int:
    """The number of threads to use, from the seconds of each; more threads only if they are clearly faster."""
    best, *others = sorted(seconds)
    for threads in others:
        if seconds[threads] <= WORTHWHILE * seconds[best]:
            best = threads
    return best


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Count denormal numbers as 0 in this thread, within the context; it can decorate functions too.

    Some processors take over a hundred cycles for each operation on them. The thread's mode is restored, so callers do
    not see it. Where the processor has no such mode, nothing changes.
    """
    if _SMALLEST * _HALF == 0:  # the caller's mode already
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
