"""Memory that stays with the process; work on several threads."""

import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from n2n.utils.cpu import run_parts

REPEATED_STEPS = """
import resource, torch
from n2n.utils.cpu import keep_freed_memory

def faults():
    def step():
        return [torch.ones(2**20) for _ in range(20)]
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
print(keep_freed_memory(), first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_a_repeated_step_asks_for_no_new_pages():
    # Left alone, glibc moves its threshold as it goes, and then gives back every piece or none; a threshold set from
    # outside stays, so that before the call each of the 100 pieces is new, in pages small or huge.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    command = [sys.executable, "-c", REPEATED_STEPS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    accepted, before, after = done.stdout.split()
    assert accepted == "True"
    assert int(before) >= 100 > 10 * int(after)


@pytest.mark.parametrize("threads", [1, 2, 5, 50])
def test_each_part_is_worked_on_once(threads):
    seen, before = [], threading.active_count()
    run_parts(seen.append, range(30), threads)
    assert sorted(seen) == list(range(30))
    assert threading.active_count() == before


def test_parts_run_side_by_side():
    """Two parts that wait for each other end only if two threads work on them."""
    barrier = threading.Barrier(2, timeout=20)
    run_parts(lambda part: barrier.wait(), range(2), 2)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_a_part_is_raised(threads):
    def fail(part: int) -> None:
        if part == 5:
            raise KeyError("of part 5")

    with pytest.raises(KeyError, match="of part 5"):
        run_parts(fail, range(9), threads)


def test_an_error_stops_the_other_threads():
    """An interrupt ends the call after the parts that are being worked on, not after all of them."""
    seen, failed = [], threading.Event()

    def work(part: int) -> None:
        if threading.current_thread() is threading.main_thread():
            failed.set()
            raise KeyboardInterrupt
        failed.wait(20)
        time.sleep(0.01)
        seen.append(part)

    with pytest.raises(KeyboardInterrupt):
        run_parts(work, range(500), 2)
    assert len(seen) < 100
