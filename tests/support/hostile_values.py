"""Values that no field and no argument should accept."""

from __future__ import annotations

import math

import numpy as np


class WithoutRepr:
    """An object whose ``repr`` fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list:
    value: list = []
    value.append(value)
    return value


NUMBERS = [-1, 0, 2**40, 2**62, 2**63, 10**400, -(10**400), 10**5000, 1.5, 1e308, math.nan, math.inf, 1j, True]
NUMBERS += [np.float64("nan"), np.int64(3), np.array([1.0, 2.0])]
TEXTS = ["", "x", "1e400", "9" * 5000, "x" * 10**6, "nul\0", "new\nline", "gpu", "../..", "\ud800", b"bytes"]
TEXTS += ["example:", "example:x", "~nouser/x", "s3://b/x"]
SHAPES = [None, (), [], {}, [None], [[1], [2, 3]], ["x" * 10**5] * 3, {1: 2}, {"a": {"b": 1}}, {1, 2}, range(3)]
SHAPES += [nested(3000), endless()]
OBJECTS = [object(), WithoutRepr(), int, len, ValueError("x")]
ALL = [*NUMBERS, *TEXTS, *SHAPES, *OBJECTS]
