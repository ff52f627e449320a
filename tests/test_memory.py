"""Freed memory stays with the process."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, torch
from n2n.memory import keep_freed_memory

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
    command = [sys.executable, "-c", CODE]
    taken, before, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert taken == "True"
    assert int(after) < 500 <= int(before)  # 100 pieces of 1,024 pages
