"""Freed memory stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """
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
    command = [sys.executable, "-c", CODE]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
    assert told[0] == "True"
    before, after = int(told[1]), int(told[2])
    assert before >= 100 > 10 * after
