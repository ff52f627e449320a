"""What is timed, and how: medians, peaks of memory, the rate of the machine."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator

from n2n.oracle.checks import check_device
from n2n.utils.configuration import Configuration
from n2n.utils.strict import Count, Ordered

MATRIX = 2048  # rows and columns of the matrices whose product says how fast the machine multiplies
PRODUCTS = 5  # of them in one timing
_PROCESS = Path("/proc/self")


class Settings(Configuration):
    """What is timed.

    Args:
        sequences: that the filters run on at once.
        length: tokens in a sequence.
        repeats: of which the median is taken.
        largest: binary latents of the largest graph in ``growth_table``; 20 are 1,048,576 joint states.
        dim: width of the transformers, a multiple of 8, whose number of parameters the other learners get.
        layers: number of blocks of every learner.
        batches: sequences in a step of training.
        compile: whether ``torch.compile`` translates the learners.
        device: where filters and learners run.

    Raises:
        ValueError: a value out of range, or a device that is not there.
    """

    sequences: Annotated[Count, Field(le=2**16)] = 64
    length: Annotated[Count, Field(ge=3, le=2**16)] = 256
    repeats: Annotated[Count, Field(le=2**16)] = 5
    largest: Annotated[Count, Field(ge=2, le=24)] = 20
    dim: Annotated[Count, Field(le=2**14, multiple_of=8)] = 128
    layers: Annotated[Count, Field(le=2**8)] = 4
    batches: Annotated[Ordered[Annotated[Count, Field(le=2**16)]], Field(min_length=1)] = (16, 64)
    compile: bool = False
    device: str = "cpu"

    @field_validator("device")
    @classmethod
    def _there(cls, device: str) -> str:
        return check_device(device)


def medians(repeats: int, *work: Callable[[], Any], warm: int = 1) -> list[float]:
    """The median seconds of each piece of work, taken in turns after ``warm`` unmeasured rounds."""
    taken = [[] for _ in work]
    for attempt in range(repeats + warm):
        for piece, seconds in zip(work, taken, strict=True):
            begun = time.perf_counter()
            piece()
            _wait()
            seconds.append(time.perf_counter() - begun) if attempt >= warm else None
    return [statistics.median(seconds) for seconds in taken]


def peak_memory(work: Callable[[], Any], device: str) -> float:
    """The most memory that a piece of work holds beyond what was held before, MiB.

    On a CUDA GPU that of its tensors; on Linux what the process holds in physical memory; elsewhere nan.
    """
    gc.collect()
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before does not hide what is asked for now
        (_PROCESS / "clear_refs").write_text("5")  # the peak so far is forgotten; man proc_pid_clear_refs
    except (AttributeError, OSError, TypeError):
        return float("nan")
    before = _held("VmRSS")
    work()
    return (_held("VmHWM") - before) / 2**10


def matrix_rate(settings: Settings, precision: str = "float32") -> float:
    """Floating-point operations a second of a large matrix product, a multiplication and an addition being two.

    Args:
        settings: whose device and repeats these are.
        precision: name of a torch type.
    """
    values = torch.ones(MATRIX, MATRIX, dtype=getattr(torch, precision), device=settings.device)

    def multiply() -> None:
        for _ in range(PRODUCTS):
            values @ values

    (seconds,) = medians(settings.repeats, multiply)
    return 2 * MATRIX**3 * PRODUCTS / seconds


def _wait() -> None:
    """Until the GPU has done what it was given, if there is one in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _held(name: str) -> int:
    """KiB, from the system's own account of this process."""
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
