"""How many threads torch works on: few where others keep the cores busy, one where the work is small.

Threads of one operation wait for each other. On a machine with other jobs one of them is often held up, and then all
are: a small operation can take a hundred times as long on two threads as on one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from n2n.utils.cpu import THREADS_VARIABLE, cores, threads_from_environment

ROUNDS = 2  # of timings, at least
SECONDS = 1.0  # that timings may take, once there are so many
SHARE = 0.03  # of the work to come that may be spent on timings, once there are so many
CLEAR = 3.0  # times as long as the fastest: no further timings are needed
WORTH = 0.9  # more threads are taken where they need at most this share of the time of fewer


@dataclass(frozen=True)
class Threads:
    """A number of threads for a run, and why.

    Args:
        number: of threads.
        reason: for the run's log.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        return f"torch threads: {self.number}, {self.reason}"


def choose_threads(work: Callable[[], object], calls: int, most: int, before: int | None = None) -> Threads:
    """The threads that a run on the CPU takes: those that the user names, those of its beginning, or the fastest.

    Numbers come out the same to the bit on as many threads only, so that a resumed run keeps those of its beginning.

    Args:
        work: a step's, which changes nothing; not called where there is nothing to choose.
        calls: steps to come.
        most: threads that it may take; the cores at hand limit them too, unless the user named a number.
        before: those of the run that is resumed, if one is.
    """
    if threads_from_environment():
        return Threads(most, f"by {THREADS_VARIABLE}")
    most = min(most, cores())
    other = f"{THREADS_VARIABLE} sets another number"
    if before is not None:
        few = f" (it began with {before})" if before > most else ""
        return Threads(min(before, most), f"as the run began{few}; {other}")
    if most == 1:
        return Threads(1, "the only one there is")
    seconds = mean_seconds(work, candidates(most), calls)
    told = ", ".join(f"{1e3 * spent:.3g} ms on {number}" for number, spent in seconds.items())
    return Threads(fastest(seconds), f"the fastest: a rehearsed step took {told}; {other}")


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Torch works on so many threads meanwhile; also a decorator.

    Other Python threads that work with torch already keep their own number; one whose first work falls within this
    takes ``threads``, for good.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def candidates(most: int) -> list[int]:
    """Numbers of threads worth a try: one, half of ``most`` and ``most``."""
    return sorted({1, max(1, most // 2), most})


def mean_seconds(
    work: Callable[[], object], numbers: list[int], calls: int, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Mean seconds of ``work`` on each number of threads, taken in turns after one call to warm up.

    Args:
        work: what is timed; it changes nothing.
        numbers: of threads.
        calls: of such work that are to come, which the timings should be small beside.
        clock: tells the seconds.
    """
    spent, rounds = dict.fromkeys(numbers, 0.0), 0
    with torch_threads(min(numbers)):
        work()
    while rounds < ROUNDS or (rounds * len(numbers) < SHARE * calls and sum(spent.values()) < SECONDS):
        if rounds and max(spent.values()) > CLEAR * min(spent.values()):
            break
        for threads in numbers:
            with torch_threads(threads):
                began = clock()
                work()
                spent[threads] += clock() - began
        rounds += 1
    return {threads: seconds / rounds for threads, seconds in spent.items()}


def fastest(seconds: dict[int, float]) -> int:
    """The number of threads to take, by the seconds of each: more of them only where they are worth it."""
    best, *others = sorted(seconds)
    for threads in others:
        if seconds[threads] <= WORTH * seconds[best]:
            best = threads
    return best
