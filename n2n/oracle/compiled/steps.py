"""Steps of the compiled forward algorithm on a chunk of sequences side by side.

Values over joint states are flat arrays of the layout ``(S, lanes)``, with one lane or a multiple of the numbers in
``NARROW`` bytes. Tests compare each step with ``n2n.oracle.transition`` and ``n2n.oracle.emission``.
"""

from __future__ import annotations

import numpy as np

from n2n.oracle.compiled.vectors import (
    NARROW,
    NARROW_ROWS,
    WIDE,
    WIDE_ROWS,
    add_rows,
    lane_product,
    look_up,
    narrow_product,
    single_product,
    weigh,
    wide_product,
)
from n2n.utils.compilation import compiled_part
from n2n.utils.emitters import address

_ZERO, _ONE = np.int64(0), np.int64(1)  # numba would compile a function again for each literal argument


@compiled_part
def move(moves, values, results, previous, work):
    """Move values by one step, given the previous tokens ``(lanes,)``; both arrays are overwritten.

    ``work.sets`` says which set of kernels each lane has. Return whether the moved values are in ``results``; otherwise
    they are in ``values``.
    """
    lanes = previous.size
    for k in range(moves.shapes.shape[0]):
        before, states, after = moves.shapes[k, 0], moves.shapes[k, 1], moves.shapes[k, 2]
        begin, choices, row_stride = moves.offsets[k, 0], moves.offsets[k, 1], moves.row_strides[k]
        per_token, per_set = moves.offsets[k, 2] * states * row_stride, moves.offsets[k, 3]
        for b in range(before):
            table = begin + moves.choices[choices + b] * states * row_stride
            first = b * states * after * lanes
            if lanes > 1 and (per_token or per_set):
                for lane in range(lanes):
                    work.rows[lane] = table + previous[lane] * per_token + work.sets[lane] * per_set
                shape = (states, states, after)
                _multiply_by_lane(moves.tables, row_stride, shape, values, results, first, work)
            else:
                table += previous[0] * per_token + work.sets[0] * per_set
                shape = (states, states, after * lanes)
                multiply(moves.tables, table, row_stride, shape, values, first, results, first)
        values, results = results, values
    return moves.shapes.shape[0] % 2 == 1


@compiled_part
def multiply(tables, table, row_stride, shape, values, first_value, results, first_result):
    """Multiply a table ``(rows, depth)``, which begins at ``table``, by values ``(depth, columns)``."""
    rows, depth, columns = shape
    wide, narrow, row = WIDE // values.itemsize, NARROW // values.itemsize, 0
    while row < rows:
        if columns < wide:
            count = min(rows - row, NARROW_ROWS)
        else:
            count = rows - row if rows - row <= WIDE_ROWS else WIDE_ROWS // 2 + 1  # never a single row at the end
        factors, to = table + row * row_stride, first_result + row * columns
        column = 0
        while column + wide <= columns:
            wide_product(
                count, depth, address(tables, factors), row_stride, address(values, first_value + column), columns,
                address(results, to + column), columns,
            )  # fmt: skip
            column += wide
        while column < columns and columns >= narrow:
            at = min(column, columns - narrow)  # the last columns twice rather than one by one
            narrow_product(
                count, depth, address(tables, factors), row_stride, address(values, first_value + at), columns,
                address(results, to + at), columns,
            )  # fmt: skip
            column += narrow
        while column < columns:
            single_product(
                count, depth, address(tables, factors), row_stride, address(values, first_value + column), columns,
                address(results, to + column), columns,
            )  # fmt: skip
            column += 1
        row += count


@compiled_part
def _multiply_by_lane(tables, row_stride, shape, values, results, first, work):
    """Multiply a table of its own for each lane, which begins at ``work.rows``, by values ``(depth, after, lanes)``."""
    (rows, depth, after), lanes = shape, work.rows.size
    count = NARROW // values.itemsize
    for row in range(rows):
        for lane in range(0, lanes, count):
            for p in range(0, depth, count):
                look_up(
                    address(tables, p), address(work.rows, lane), address(work.ones, lane),
                    address(work.entries, p * lanes + lane), lanes,
                )  # fmt: skip
            for a in range(after):
                lane_product(
                    depth, address(work.entries, lane), lanes,
                    address(values, first + a * lanes + lane), after * lanes,
                    address(results, first + (row * after + a) * lanes + lane),
                )  # fmt: skip
        for lane in range(lanes):
            work.rows[lane] += row_stride


@compiled_part
def update(program, values, previous, tokens, work):
    """Weigh values by the likelihoods of ``tokens (lanes,)`` times ``work.scale``; their sums go to ``work.total``."""
    lanes, scale, total = tokens.size, work.scale, work.total
    for lane in range(lanes):
        given = previous[lane] * program.per_token + work.sets[lane] * program.per_set
        work.rows[lane] = given + tokens[lane] * program.row_stride
    if lanes == 1:
        total[0] = _weigh_one(program, work.rows[0], scale[0], values)
        return
    count = NARROW // values.itemsize
    for lane in range(0, lanes, count):
        for p in range(0, program.num_seen, count):
            look_up(
                address(program.emission, p), address(work.rows, lane), address(scale, lane),
                address(work.entries, p * lanes + lane), lanes,
            )  # fmt: skip
        weigh(
            program.seen.size, address(values, lane), address(work.entries, lane), address(program.seen, 0), lanes,
            address(total, lane),
        )  # fmt: skip


@compiled_part
def _weigh_one(program, row, scale, values):
    zero = values.dtype.type(0)
    total = zero
    for s in range(program.seen.size):
        weight = values[s] * (program.emission[row + program.seen[s]] * scale)
        values[s] = zero if weight < np.finfo(values.dtype).tiny else weight
        total += values[s]
    return total


@compiled_part
def predict(program, values, previous, work):
    """Write ``P(x_t | x_<t)`` to ``work.predictive``, from values over the joint states and unscaled like them."""
    lanes, results = previous.size, work.predictive
    vocab_size, depth, stride = program.vocab_size, program.num_seen, program.row_stride
    seen = values
    if depth < program.seen.size:
        seen = work.seen
        _sum_unseen(program.seen, values, lanes, seen)
    if lanes > 1 and (program.per_token or program.per_set):
        for lane in range(lanes):
            work.rows[lane] = previous[lane] * program.per_token + work.sets[lane] * program.per_set
        shape = (vocab_size, depth, _ONE)
        _multiply_by_lane(program.emission, stride, shape, seen, results, _ZERO, work)
    else:
        first = previous[0] * program.per_token + work.sets[0] * program.per_set
        shape = (vocab_size, depth, lanes)
        multiply(program.emission, first, stride, shape, seen, _ZERO, results, _ZERO)


@compiled_part
def _sum_unseen(index, values, lanes, sums):
    for i in range(sums.size):
        sums[i] = 0
    for s in range(index.size):
        to, first = index[s] * lanes, s * lanes
        for lane in range(lanes):
            sums[to + lane] += values[first + lane]


@compiled_part
def marginals(sizes, values, work):
    """Write the marginals of all latents, one below the other, to ``work.marginals``, unscaled like the values."""
    lanes, results = work.scale.size, work.marginals
    for i in range(results.size):
        results[i] = 0
    before, after, row, count = 1, values.size // lanes, 0, NARROW // values.itemsize
    for size in sizes:
        after //= size
        for b in range(before):
            for state in range(size):
                first, to = (b * size + state) * after * lanes, (row + state) * lanes
                if lanes == 1:
                    for a in range(after):
                        results[to] += values[first + a]
                else:
                    for lane in range(0, lanes, count):
                        add_rows(after, address(values, first + lane), lanes, address(results, to + lane))
        before *= size
        row += size
