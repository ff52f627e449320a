"""Fewer points of long curves, with every peak in its place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

MOST = 2000  # points of a curve; a screen has about as many columns


def thinned(*curves: np.ndarray, most: int = MOST) -> np.ndarray:
    """Which points to draw of curves that share an axis: in each part of it the least and the largest of each curve.

    Args:
        curves: values at the same points, ``(points,)`` each.
        most: points to draw; where there are no more, all are.

    Returns:
        rising indices: the first point, the last, and the extremes between them.
    """
    points = len(curves[0])
    if points <= most:
        return np.arange(points)
    parts = max(1, (most - 2) // (2 * len(curves)))
    edges = np.linspace(0, points, parts + 1).astype(int)
    found = [0, points - 1]
    for curve in curves:
        for begin, end in pairwise(edges):
            part = curve[begin:end]
            found += [begin + int(np.argmin(part)), begin + int(np.argmax(part))]
    return np.unique(found)
