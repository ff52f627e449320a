"""Emits LLVM's vector operations, from which ``vectors`` builds the functions of the compiled oracle."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir
from numba.core import cgutils

INT32, INT64 = ir.IntType(32), ir.IntType(64)


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
