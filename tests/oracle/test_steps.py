"""Products of the compiled oracle against numpy's."""

import numba
import numpy as np
import pytest

from n2n.oracle.compiled.steps import multiply


@numba.njit
def call_multiply(table, row_stride, shape, values, results):
    """Multiply into ``results`` from its second number on."""
    multiply(table, 0, row_stride, shape, values, 0, results, 1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("columns", [1, 3, 4, 7, 8, 12, 17, 33])
def test_products_of_every_shape(columns, dtype):
    """Rows, depth and columns that fill no vector; nothing is written outside the result."""
    rng = np.random.default_rng(columns)
    for rows in range(1, 19):
        depth = int(rng.integers(1, 12))
        table, values = rng.random((rows, depth + 2), dtype), rng.random((depth, columns), dtype)
        results = np.full(rows * columns + 2, dtype(-1))
        call_multiply(table.ravel(), depth + 2, (rows, depth, columns), values.ravel(), results)
        assert results[1:-1].reshape(rows, columns) == pytest.approx(table[:, :depth] @ values, rel=1e-5)
        assert results[[0, -1]].tolist() == [-1, -1]
