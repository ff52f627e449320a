"""Vector instructions for functions that numba compiles: small products, lookups and sums over lanes.

A lane is one sequence. Arrays over joint states have the layout ``(states, lanes)``: neighbouring numbers belong to
neighbouring lanes, and one instruction serves several sequences. Loops that numba itself vectorises reach about a third
of a core's multiply-adds on products as small as these. The functions below are written in LLVM's vector types, with
the sums of a product in registers, and reach nearly all. LLVM translates them for every processor.

Each result depends on its own lane only, with sums in a fixed order, so a sequence's result does not depend on the
sequences next to it, on the width of the vectors or on the number of threads.

Pointers come from ``emitters.address``. Strides and offsets count numbers, not bytes.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from n2n.utils.emitters import INT64, Vectors

WIDE, NARROW = 64, 32  # bytes of lanes in one product: two registers of AVX2, and one
WIDE_ROWS, NARROW_ROWS = 7, 8  # most rows of one product: enough sums to keep the units busy, and in 16 registers


def _product_of(width: int, max_rows: int):
    @intrinsic
    def product(typing, rows, depth, table, row_stride, values, stride, results, result_stride):
        """``results[r, lane] = sum over p of table[r, p] * values[p, lane]`` for 1 to ``max_rows`` rows.

        Denormal results become 0, because arithmetic on them is slow.
        """
        dtype = results.dtype
        pointer = types.CPointer(dtype)

        def generate(context, builder, signature, arguments):
            builder.call(_product_function(context, builder.module, dtype, (width, max_rows), arguments), arguments)
            return context.get_dummy_value()

        of_values, of_table = (pointer, types.intp), (pointer, types.intp)
        return types.void(types.intp, types.intp, *of_table, *of_values, pointer, types.intp), generate

    return product


def _product_function(context, module: ir.Module, dtype, shape: tuple[int, int], arguments) -> ir.Function:
    """A function of its own, because each copy in a function that uses it would be compiled again."""
    width, max_rows = shape
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(module, kind, f"n2n_product_{width}_{dtype}")
    if function.is_declaration:
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        function.attributes.add("optsize")  # LLVM would unroll loops that keep the units busy already
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        end = function.append_basic_block("end")
        cases = builder.switch(function.args[0], end)
        for rows in range(1, max_rows + 1):
            case = function.append_basic_block(f"rows_{rows}")
            cases.add_case(INT64(rows), case)
            builder.position_at_end(case)
            _product(Vectors(context, builder, dtype, width), rows, *function.args[1:])
            builder.branch(end)
        builder.position_at_end(end)
        builder.ret_void()
    return function


def _product(vectors: Vectors, rows: int, depth, table, row_stride, values, stride, results, result_stride) -> None:
    builder = vectors.builder

    def step(p, sums):
        lanes = vectors.load(values, builder.mul(p, stride))
        for row, total in enumerate(sums):
            factor = vectors.number(table, builder.add(p, builder.mul(INT64(row), row_stride)))
            yield vectors.multiply_add(vectors.fill(factor), lanes, total)

    for row, total in enumerate(vectors.loop(depth, [vectors.zero] * rows, step)):
        vectors.store(vectors.without_denormals(total), results, builder.mul(INT64(row), result_stride))


single_product, narrow_product = _product_of(0, NARROW_ROWS), _product_of(NARROW, NARROW_ROWS)
wide_product = _product_of(WIDE, WIDE_ROWS)


def _best_sum_of(width: int):
    @intrinsic
    def best_sum(typing, depth, table, values, results, pointers, stride):
        """``results[lane] = max over p of table[p] + values[p, lane]``; ``pointers[lane]`` is the first such p.

        ``stride`` leads from one row of ``values`` to the next.
        """
        dtype, pointer_type = results.dtype, pointers.dtype
        numbers, integers = types.CPointer(dtype), types.CPointer(pointer_type)

        def generate(context, builder, signature, arguments):
            depth, table, values, results, pointers, stride = arguments
            vectors = Vectors(context, builder, dtype, width)

            def step(p, best):
                total = builder.fadd(
                    vectors.fill(vectors.number(table, p)), vectors.load(values, builder.mul(p, stride))
                )
                better = builder.fcmp_ordered(">", total, best[0])
                yield builder.select(better, total, best[0])
                yield builder.select(better, vectors.fill_index(p), best[1])

            start = [vectors.constant(-math.inf), vectors.fill_index(INT64(0))]
            largest, places = vectors.loop(depth, start, step)
            vectors.store(largest, results, INT64(0))
            vectors.store_index(places, pointers, context.get_value_type(pointer_type))
            return context.get_dummy_value()

        return types.void(types.intp, numbers, numbers, numbers, integers, types.intp), generate

    return best_sum


single_best_sum, narrow_best_sum = _best_sum_of(0), _best_sum_of(NARROW)


@intrinsic
def lane_product(typing, depth, factors, factor_stride, values, stride, results):
    """``results[lane] = sum over p of factors[p, lane] * values[p, lane]`` for ``NARROW`` bytes of lanes.

    Denormal results become 0.
    """
    dtype = results.dtype
    pointer = types.CPointer(dtype)

    def generate(context, builder, signature, arguments):
        depth, factors, factor_stride, values, stride, results = arguments
        vectors = Vectors(context, builder, dtype, NARROW)

        def step(p, sums):
            factor = vectors.load(factors, builder.mul(p, factor_stride))
            yield vectors.multiply_add(factor, vectors.load(values, builder.mul(p, stride)), sums[0])

        (total,) = vectors.loop(depth, [vectors.zero], step)
        vectors.store(vectors.without_denormals(total), results, INT64(0))
        return context.get_dummy_value()

    return types.void(types.intp, pointer, types.intp, pointer, types.intp, pointer), generate


@intrinsic
def look_up(typing, table, rows, scale, results, stride):
    """``results[i, lane] = table[rows[lane] + i] * scale[lane]`` for as many i and lanes as ``NARROW`` bytes hold."""
    dtype = results.dtype
    pointer = types.CPointer(dtype)

    def generate(context, builder, signature, arguments):
        table, rows, scale, results, stride = arguments
        vectors = Vectors(context, builder, dtype, NARROW)
        factors = vectors.load(scale, INT64(0))
        places = [vectors.number(rows, INT64(lane)) for lane in range(vectors.count)]
        for i, entries in enumerate(vectors.transposed([vectors.load(table, place) for place in places])):
            vectors.store(builder.fmul(entries, factors), results, builder.mul(INT64(i), stride))
        return context.get_dummy_value()

    return types.void(pointer, types.CPointer(types.int64), pointer, pointer, types.intp), generate


@intrinsic
def weigh(typing, count, values, factors, rows, stride, total):
    """``values[s, lane] *= factors[rows[s], lane]`` for ``NARROW`` bytes of lanes; ``total[lane]`` is the sum over s.

    Denormal products become 0.
    """
    dtype = values.dtype
    pointer = types.CPointer(dtype)

    def generate(context, builder, signature, arguments):
        count, values, factors, rows, stride, total = arguments
        vectors = Vectors(context, builder, dtype, NARROW)

        def step(s, sums):
            place, row = builder.mul(s, stride), builder.sext(vectors.number(rows, s), INT64)
            factor = vectors.load(factors, builder.mul(row, stride))
            product = vectors.without_denormals(builder.fmul(vectors.load(values, place), factor))
            vectors.store(product, values, place)
            yield builder.fadd(sums[0], product)

        vectors.store(vectors.loop(count, [vectors.zero], step)[0], total, INT64(0))
        return context.get_dummy_value()

    return types.void(types.intp, pointer, pointer, types.CPointer(types.int32), types.intp, pointer), generate


@intrinsic
def add_rows(typing, count, values, stride, total):
    """``total[lane] += sum over s of values[s, lane]`` for ``NARROW`` bytes of lanes."""
    dtype = values.dtype
    pointer = types.CPointer(dtype)

    def generate(context, builder, signature, arguments):
        count, values, stride, total = arguments
        vectors = Vectors(context, builder, dtype, NARROW)

        def step(s, sums):
            yield builder.fadd(sums[0], vectors.load(values, builder.mul(s, stride)))

        vectors.store(vectors.loop(count, [vectors.load(total, INT64(0))], step)[0], total, INT64(0))
        return context.get_dummy_value()

    return types.void(types.intp, pointer, types.intp, pointer), generate
