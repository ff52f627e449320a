"""Vector instructions for the compiled particle filter, on as many particles as a vector has numbers.

Values have the flat layout ``(entries, lanes)`` with one particle in each lane, float64, and ``stride`` is the number
of lanes. Pointers come from ``emitters.address`` and point to the first of the particles.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from n2n.oracle.compiled.vectors import NARROW
from n2n.utils.emitters import INT32, INT64, Vectors

GROUP = NARROW // 8  # particles in a vector

_NUMBERS = types.CPointer(types.float64)


def _read_of(reciprocal: bool):
    @intrinsic
    def read(typing, entries, counts, places, addend, factor, results, stride):
        """``results[e, lane] = factor * (counts[places[lane] + e] + addend)``, or ``factor`` over that sum.

        ``entries`` is rounded up to a multiple of ``GROUP``: entries beyond the last are read and written as well.
        """

        def generate(context, builder, signature, arguments):
            entries, counts, places, addend, factor, results, stride = arguments
            vectors = Vectors(context, builder, types.float64, NARROW)
            number = context.get_value_type(signature.args[1].dtype)
            addends, factors = vectors.fill(addend), vectors.fill(factor)
            particles = [builder.gep(counts, [vectors.number(places, INT64(lane))]) for lane in range(GROUP)]

            def step(i, nothing):
                first = builder.mul(i, INT64(GROUP))
                for e, column in enumerate(_square(builder, number, particles, first)):
                    column = builder.sitofp(_widened(builder, column), vectors.type)
                    total = builder.fadd(column, addends)
                    value = builder.fdiv(factors, total) if reciprocal else builder.fmul(factors, total)
                    vectors.store(value, results, builder.mul(builder.add(first, INT64(e)), stride))
                return []

            vectors.loop(builder.udiv(builder.add(entries, INT64(GROUP - 1)), INT64(GROUP)), [], step)
            return context.get_dummy_value()

        places_type = types.CPointer(types.int64)
        return types.void(types.intp, counts, places_type, types.float64, types.float64, _NUMBERS, types.intp), generate

    return read


def _square(builder: ir.IRBuilder, number: ir.IntType, rows: list, first) -> list:
    """``GROUP`` numbers from ``first`` on of each of ``GROUP`` rows, transposed."""
    kind = ir.VectorType(number, GROUP)
    parts = []
    for row in rows:
        place = builder.bitcast(builder.gep(row, [first]), kind.as_pointer())
        parts.append(builder.load(place, align=number.width // 8))
    while len(parts) > 1:  # one vector of all numbers, whose transposition is a single shuffle
        length = 2 * parts[0].type.count
        parts = [builder.shuffle_vector(*parts[i : i + 2], _constants(range(length))) for i in range(0, len(parts), 2)]
    whole = builder.shuffle_vector(
        parts[0], parts[0], _constants([lane * GROUP + e for e in range(GROUP) for lane in range(GROUP)])
    )
    slices = [_constants(range(e * GROUP, (e + 1) * GROUP)) for e in range(GROUP)]
    return [builder.shuffle_vector(whole, whole, indices) for indices in slices]


def _constants(indices) -> ir.Constant:
    return ir.Constant(ir.VectorType(INT32, len(indices)), list(indices))


def _widened(builder: ir.IRBuilder, integers):
    """Integers of 32 bits; those of fewer bits have no sign."""
    kind = ir.VectorType(INT32, GROUP)
    return integers if integers.type == kind else builder.zext(integers, kind)


read_counts, read_reciprocals = _read_of(False), _read_of(True)


@intrinsic
def grow(typing, states, weights, scale, factors, results, stride):
    """``results[z, lane] = weights[lane] * scale[lane] * factors[z, lane]`` for each of a latent's ``states``.

    The results may overwrite the weights.
    """

    def generate(context, builder, signature, arguments):
        states, weights, scale, factors, results, stride = arguments
        vectors = Vectors(context, builder, types.float64, NARROW)
        weight = builder.fmul(vectors.load(weights, INT64(0)), vectors.load(scale, INT64(0)))

        def step(z, nothing):
            place = builder.mul(z, stride)
            vectors.store(builder.fmul(weight, vectors.load(factors, place)), results, place)
            return []

        vectors.loop(states, [], step)
        return context.get_dummy_value()

    return types.void(types.intp, *(4 * [_NUMBERS]), types.intp), generate


@intrinsic
def draw(typing, states, law, scale, factors, entries, uniforms, results, stride):
    """Draw an index ``s`` with probability in proportion to ``law[s] * scale[e] * factors[e]``, e = entries[s].

    ``law`` becomes the cumulative sums. ``results[lane]`` is the number of sums up to ``uniforms[lane]`` times the last
    one, at most ``states - 1``.
    """

    def generate(context, builder, signature, arguments):
        states, law, scale, factors, entries, uniforms, results, stride = arguments
        vectors = Vectors(context, builder, types.float64, NARROW)

        def add(s, sums):
            place, entry = builder.mul(s, stride), builder.sext(vectors.number(entries, s), INT64)
            entry = builder.mul(entry, stride)
            factor = builder.fmul(vectors.load(scale, entry), vectors.load(factors, entry))
            total = vectors.multiply_add(vectors.load(law, place), factor, sums[0])
            vectors.store(total, law, place)
            yield total

        (total,) = vectors.loop(states, [vectors.zero], add)
        target = builder.fmul(vectors.load(uniforms, INT64(0)), total)

        def count(s, below):
            is_below = builder.fcmp_ordered("<=", vectors.load(law, builder.mul(s, stride)), target)
            yield builder.sub(below[0], builder.sext(is_below, below[0].type))

        (below,) = vectors.loop(states, [vectors.fill_index(INT64(0))], count)
        last = vectors.fill_index(builder.sub(states, INT64(1)))
        below = builder.select(builder.icmp_signed("<", below, last), below, last)
        vectors.store_index(below, results, INT64)
        return context.get_dummy_value()

    integers, indices = types.CPointer(types.int64), types.CPointer(types.int32)
    return types.void(types.intp, *(3 * [_NUMBERS]), indices, _NUMBERS, integers, types.intp), generate
