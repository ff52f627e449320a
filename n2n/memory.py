"""Memory that the process keeps instead of asking the system for it anew at every step."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt's parameters, from malloc.h
LARGEST_KEPT = 2**25  # bytes of one piece: the most that glibc allows
KEPT = 2**30  # bytes of freed memory in all that stay with the process


def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GiB of freed memory for the process, which is what a step of training reuses.

    By default glibc gives large pieces back to the system as soon as they are freed, and every page of the next one
    costs an interruption: on two cores a step of a Mamba took a third longer. It holds for the whole process, whose
    memory then falls less when it is freed; numbers do not change.

    Returns:
        whether the C library took it; others than glibc do not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all([mallopt(_MMAP_THRESHOLD, LARGEST_KEPT), mallopt(_TRIM_THRESHOLD, KEPT)])
