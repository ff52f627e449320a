"""Settings of the benchmarks, and how they measure: median times, peak memory, the rate of matrix products."""

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

from n2n.monitor.profiler import product_rate
from n2n.oracle.checks import check_device
from n2n.utils.configuration import Configuration
from n2n.utils.strict import Count, Ordered

MATRIX = 2048  # rows and columns of the matrices in ``matrix_rate``
PRODUCTS = 5  # matrix products in one timing
_PROCESS = Path("/proc/self")


class Settings(Configuration):
    """Sizes and device of the timings.

    Args:
        sequences: number of sequences that the filters run on at once.
        length: number of tokens in a sequence.
        repeats: number of timings; tables report their median.
        largest: number of binary latents of the largest graph in ``growth_table``; 20 have 1,048,576 joint states.
        dim: width of the transformers, a multiple of 8. The other learners get the same number of parameters.
        layers: number of blocks of every learner.
        batches: batch sizes: numbers of sequences in a training step.
        compile: whether to compile the learners with ``torch.compile``.
        device: device of the filters and the learners.

    Raises:
        ValueError: if a value is out of range, or the device does not exist.
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
    def _existing(cls, device: str) -> str:
        return check_device(device)


def medians(repeats: int, *work: Callable[[], Any], warm: int = 1) -> list[float]:
    """The median seconds of each piece of work.

    Args:
        repeats: number of timings of each piece. The pieces take turns.
        *work: functions to call.
        warm: number of rounds before the timed ones.
    """
    for _ in range(warm):
        for piece in work:
            _seconds(piece)
    rounds = [[_seconds(piece) for piece in work] for _ in range(repeats)]
    return [statistics.median(seconds) for seconds in zip(*rounds, strict=True)]


def _seconds(piece: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    piece()
    _wait()
    return time.perf_counter() - begun


def peak_memory(work: Callable[[], Any], device: str) -> float:
    """Peak memory of a piece of work in MiB, beyond what was in use before.

    On a CUDA GPU it is the memory of tensors, on Linux the physical memory of the process. Elsewhere it is nan.
    """
    gc.collect()
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        ctypes.CDLL(None).malloc_trim(0)  # gives freed memory back, which the work would reuse unnoticed
        (_PROCESS / "clear_refs").write_text("5")  # resets the peak; see man proc_pid_clear_refs
    except (AttributeError, OSError, TypeError):
        return float("nan")
    before = _kib("VmRSS")
    work()
    return (_kib("VmHWM") - before) / 2**10


def matrix_rate(settings: Settings, precision: str = "float32") -> float:
    """Floating-point operations per second of large matrix products; a multiplication and an addition count as two.

    Args:
        settings: device and number of repeats.
        precision: name of a torch type.
    """
    return product_rate(
        settings.device, precision, size=MATRIX, products=PRODUCTS, repeats=settings.repeats, summary=statistics.median
    )


def _wait() -> None:
    """Wait until the GPU has finished its work, if one is in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _kib(name: str) -> int:
    """A value in KiB from the status that Linux keeps of this process."""
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
