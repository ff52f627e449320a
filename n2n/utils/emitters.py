"""Emits LLVM's vector operations, from which compiled functions are built that numba does not vectorise well itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INT32, INT64 = ir.IntType(32), ir.IntType(64)
WIDTHS = (64, 16, 0)  # bytes of the vectors that cover a row, the widest first; 0 is a single number

# exp(x) = 2^k exp(r), with k the integer nearest to x / ln 2. The coefficients are those of Cephes' expf (S. Moshier).
_ROUNDING = 1.5 * 2**23  # x + _ROUNDING has no bits for fractions, and the integer in its lowest bits
_LN2 = (0.693359375, -2.12194440e-4)  # a part with few bits, whose multiples are exact, and the rest
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_MAX_EXPONENT = 87.0  # the results are normal numbers


@intrinsic
def address(typing, array, offset):
    """Pointer to ``array.ravel()[offset]`` of a contiguous array."""

    def generate(context, builder, signature, arguments):
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(data, [arguments[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


class Vectors:
    """Emits operations on vectors of ``width`` bytes, or on single numbers if ``width`` is 0."""

    def __init__(self, context, builder: ir.IRBuilder, dtype, width: int) -> None:
        self.builder, self.bytes = builder, dtype.bitwidth // 8
        self.count = width // self.bytes
        number = context.get_value_type(dtype)
        self.type = ir.VectorType(number, self.count) if width else number
        self.zero = self.constant(0.0)
        self.smallest = self.constant(2.0**-126 if self.bytes == 4 else 2.0**-1022)  # the smallest normal number

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.type, [value] * self.count if self.count else value)

    def _indices(self, indices: Sequence[int]) -> ir.Constant:
        return ir.Constant(ir.VectorType(INT32, len(indices)), list(indices))

    def _place(self, pointer, offset):
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), self.type.as_pointer())

    def number(self, pointer, offset):
        return self.builder.load(self.builder.gep(pointer, [offset]))

    def load(self, pointer, offset):
        return self.builder.load(self._place(pointer, offset), align=self.bytes)

    def store(self, vector, pointer, offset) -> None:
        self.builder.store(vector, self._place(pointer, offset), align=self.bytes)

    def fill(self, number):
        """The number in every lane."""
        if not self.count:
            return number
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, number, INT32(0))
        return self.builder.shuffle_vector(first, undefined, self._indices([0] * self.count))

    def fill_index(self, index):
        """An integer in every lane, with as many bits as a number."""
        kind = ir.IntType(8 * self.bytes)
        index = index if self.bytes == 8 else self.builder.trunc(index, kind)
        if not self.count:
            return index
        undefined = ir.Constant(ir.VectorType(kind, self.count), ir.Undefined)
        first = self.builder.insert_element(undefined, index, INT32(0))
        return self.builder.shuffle_vector(first, undefined, self._indices([0] * self.count))

    def store_index(self, indices, pointer, kind: ir.IntType) -> None:
        """Store integers of ``fill_index`` in a smaller type."""
        kind = ir.VectorType(kind, self.count) if self.count else kind
        smaller = indices if indices.type == kind else self.builder.trunc(indices, kind)
        self.builder.store(smaller, self.builder.bitcast(pointer, kind.as_pointer()), align=1)

    def multiply_add(self, a, b, c):
        """``a * b + c``, rounded once if the processor can do so."""
        suffix = f"v{self.count}f{8 * self.bytes}" if self.count else f"f{8 * self.bytes}"
        kind = ir.FunctionType(self.type, [self.type] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.{suffix}")
        return self.builder.call(function, [a, b, c])

    def without_denormals(self, vector):
        return self.builder.select(self.builder.fcmp_ordered("<", vector, self.smallest), self.zero, vector)

    def sum(self, vector):
        """The sum of all lanes, halves first."""
        builder, size = self.builder, self.count
        while size > 1:
            size //= 2
            halves = [
                builder.shuffle_vector(vector, vector, self._indices(range(first, first + size))) for first in (0, size)
            ]
            vector = builder.fadd(*halves)
        return builder.extract_element(vector, INT32(0)) if self.count else vector

    def loop(self, count, start: list, step) -> list:
        """The values after ``count`` steps, at least one; ``step`` yields the next values from an index and these."""
        builder, before = self.builder, self.builder.block
        body, after = builder.append_basic_block("step"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        index, values = builder.phi(INT64), [builder.phi(value.type) for value in start]
        results = list(step(index, values))
        next_index = builder.add(index, INT64(1))
        for value, first, later in zip([index, *values], [INT64(0), *start], [next_index, *results], strict=True):
            value.add_incoming(first, before)
            value.add_incoming(later, body)
        builder.cbranch(builder.icmp_signed("<", next_index, count), body, after)
        builder.position_at_end(after)
        return results

    def transposed(self, vectors: list) -> list:
        """``count`` vectors as the rows of a square, transposed: each round swaps blocks of twice the size."""
        vectors, half = list(vectors), 1
        while half < self.count:
            low = [j + self.count - half if j & half else j for j in range(self.count)]
            high = [j + self.count if j & half else j + half for j in range(self.count)]
            for i in (i for i in range(self.count) if not i & half):
                pair = vectors[i], vectors[i + half]
                vectors[i] = self.builder.shuffle_vector(*pair, self._indices(low))
                vectors[i + half] = self.builder.shuffle_vector(*pair, self._indices(high))
            half *= 2
        return vectors

    def exp(self, x):
        """exp in float32, within 2 units of the last place; x outside [-87, 87] counts as the nearer bound."""
        builder = self.builder
        bound = self.constant(_MAX_EXPONENT)
        x = builder.select(builder.fcmp_ordered("<", x, bound), x, bound)
        bound = self.constant(-_MAX_EXPONENT)
        x = builder.select(builder.fcmp_ordered(">", x, bound), x, bound)
        shifted = self.multiply_add(x, self.constant(1.4426950408889634), self.constant(_ROUNDING))
        k = builder.fsub(shifted, self.constant(_ROUNDING))
        for part in _LN2:
            x = self.multiply_add(k, self.constant(-part), x)
        total = self.constant(_EXP[0])
        for coefficient in _EXP[1:]:
            total = self.multiply_add(total, x, self.constant(coefficient))
        total = self.multiply_add(total, builder.fmul(x, x), builder.fadd(x, self.constant(1.0)))
        integers = ir.VectorType(INT32, self.count) if self.count else INT32
        exponent = builder.shl(builder.bitcast(shifted, integers), self._integers(23))
        power = builder.bitcast(builder.add(exponent, self._integers(0x3F800000)), self.type)
        return builder.fmul(total, power)

    def sigmoid(self, x):
        one = self.constant(1.0)
        return self.builder.fdiv(one, self.builder.fadd(one, self.exp(self.builder.fneg(x))))

    def silu(self, x) -> tuple:
        """``x * sigmoid(x)`` and its derivative."""
        one, gate = self.constant(1.0), self.sigmoid(x)
        slope = self.builder.fmul(gate, self.multiply_add(x, self.builder.fsub(one, gate), one))
        return self.builder.fmul(x, gate), slope

    def _integers(self, value: int) -> ir.Constant:
        return ir.Constant(ir.VectorType(INT32, self.count), [value] * self.count) if self.count else INT32(value)


def along_row(context, builder: ir.IRBuilder, size, step: Callable, sums: int = 0) -> list:
    """Emit ``step(vectors, place)`` for vectors of float32 that cover a row of ``size`` numbers.

    Returns:
        The sums over the row of the values that ``step`` returns, ``sums`` of them.
    """
    totals, start = [ir.Constant(ir.FloatType(), 0.0)] * sums, INT64(0)
    for width in WIDTHS:
        vectors = Vectors(context, builder, types.float32, width)
        count = INT64(max(1, vectors.count))
        steps = builder.udiv(builder.sub(size, start), count)
        partial = [cgutils.alloca_once_value(builder, vectors.zero) for _ in range(sums)]
        with cgutils.for_range(builder, steps) as loop:
            values = step(vectors, builder.add(start, builder.mul(loop.index, count))) or ()
            for place, value in zip(partial, values, strict=True):
                builder.store(builder.fadd(builder.load(place), value), place)
        parts = [vectors.sum(builder.load(place)) for place in partial]
        totals = [builder.fadd(total, part) for total, part in zip(totals, parts, strict=True)]
        start = builder.add(start, builder.mul(steps, count))
    return totals
