"""Steps of the exact recursion over hypotheses; ``n2n.oracle.compiled.hypotheses`` says what they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from n2n.oracle.compiled.particle_program import count_dtype
from n2n.oracle.compiled.particle_steps import read_law
from n2n.utils.compilation import compiled_part


class Hypotheses(NamedTuple):
    """Hypotheses after two successive tokens, with a hash table of the later ones.

    The first axis is t modulo 2. The hash of a hypothesis is a sum with a random number for each counted cell, so
    that a step only adds to it.
    """

    counts: np.ndarray  # (2, limit * width) and a few more numbers
    states: np.ndarray  # (2, limit) int64
    weights: np.ndarray  # (2, limit)
    hashes: np.ndarray  # (2, limit) uint64
    slots: np.ndarray  # (limit,) int64, where each of the later hypotheses stands in the table
    table: np.ndarray  # int64, a power of two of slots: 0, or 1 + a hypothesis
    random: np.ndarray  # (width,) uint64
    cells: np.ndarray  # (nodes,) int64, the cell of each node's step
    rows: np.ndarray  # (nodes,) int64, its row
    counted: np.ndarray  # (nodes,) int64, how often the step is counted: 0 or 1
    history: np.ndarray  # (T,) int64, the number of hypotheses after each token
    staying: np.ndarray  # (nodes,) the probability that a node that kept its state did so without a draw

    @classmethod
    def of(cls, width: int, nodes: int, limit: int, length: int) -> Hypotheses:
        """Memory for this number of hypotheses of this width over sequences of this length."""
        random = np.random.default_rng(0).integers(2**63, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        integers = [np.zeros((2, limit), dtype) for dtype in (np.int64, np.float64, np.uint64)]
        slots = 2 ** (2 * limit - 1).bit_length()
        counts = np.zeros((2, limit * width + 16), count_dtype(length))  # vectors reach beyond the last
        step = [np.zeros(nodes, np.int64) for _ in range(3)]
        slots, table, history = (np.zeros(size, np.int64) for size in (limit, slots, length))
        return cls(counts, *integers, slots, table, random, *step, history, np.zeros(nodes))


@compiled_part
def normalise(number, new, found):
    """Divide the weights of the new hypotheses by their sum, and return that."""
    total = 0.0
    for i in range(number):
        total += found.weights[new, i]
    for i in range(number):
        found.weights[new, i] /= total
    return total


@compiled_part
def start(program, token, found):
    """Fill in the hypotheses at t = 0 given the first token, which is counted if X's learned kernel emits it.

    Returns:
        Their number, or -1 if it would exceed the limit.
    """
    x, number, width = program.sizes.size - 1, 0, program.width
    for s in range(max(program.start.size, 1)):
        # a kernel without counts gives all tokens the same probability
        weight = program.start[s] if program.start.size else 1.0
        if program.shows_start and not program.learned[x]:
            weight *= program.tables[program.cells[x, 0] + program.cells[x, 2] * token + program.entries[x, s]]
        if weight == 0:
            continue
        if number == found.slots.size:
            return -1
        found.states[0, number], found.weights[0, number], found.hashes[0, number] = s, weight, 0
        for c in range(width):
            found.counts[0, number * width + c] = 0
        if program.shows_start and program.learned[x]:
            cell = program.cells[x, 0] + program.cells[x, 2] * token + program.entries[x, s]
            row = program.totals[x, 0] + program.totals[x, 2] * token + program.rows[x, s]
            found.counts[0, number * width + cell] = found.counts[0, number * width + row] = 1
            found.hashes[0, number] = found.random[cell]
        number += 1
    normalise(number, 0, found)
    return number


@compiled_part
def step(program, before, token, number, old, new, found, block):
    """Advance all hypotheses by one token; return their number, or -1 if it would exceed the limit."""
    count = 0
    for first in range(0, number, block.members.size):
        lanes = _read(program, before, token, first, number, old, found, block)
        for lane in range(lanes):
            count = _follow(program, before, token, lane, count, old, new, found, block)
            if count < 0:
                break
        if count < 0:
            break
    for i in range(count if count >= 0 else found.slots.size):
        found.table[found.slots[i]] = 0
    return count


@compiled_part
def evidence(program, before, token, number, old, found, block):
    """The probability of the last token, after which no hypotheses are needed."""
    total = 0.0
    for first in range(0, number, block.members.size):
        lanes = _read(program, before, token, first, number, old, found, block)
        for lane in range(lanes):
            for s in range(program.own.shape[1]):
                total += _weight(program, lane, s, old, found, block)
    return total


@compiled_part
def _read(program, before, token, first, number, old, found, block):
    """Fill the block with the hypotheses from ``first`` on and the laws of their next states; return their number."""
    lanes = block.members.size
    for lane in range(lanes):
        i = min(first + lane, number - 1)
        block.members[lane], block.before[lane] = i, found.states[old, i]
    read_law(program, before, token, found.counts[old], block)
    return min(lanes, number - first)


@compiled_part
def _weight(program, lane, s, old, found, block):
    """The weight of the hypothesis of a lane, times the probability of its next state ``s`` and of the token."""
    lanes = block.members.size
    entry = program.entries[program.sizes.size - 1, s] * lanes + lane
    seen = block.law[s * lanes + lane] * block.scale[entry] * block.factors[entry]
    return seen * found.weights[old, block.members[lane]]


@compiled_part
def _follow(program, before, token, lane, count, old, new, found, block):
    """Add the hypotheses that follow that of a lane; return the number of all so far, or -1 if there are too many."""
    i = block.members[lane]
    for s in range(program.own.shape[1]):
        weight = _weight(program, lane, s, old, found, block)
        if weight > 0:
            choices = _find_cells(program, before, token, i, s, old, found)
            for choice in range(choices):
                share = _choose(choice, found) if choices > 1 else 1.0
                if share > 0:
                    count = _add(program.width, i, s, weight * share, count, old, new, found)
                if count < 0:
                    return count
    return count


@compiled_part
def _find_cells(program, before, token, i, s, old, found):
    """Find the cells that the step from hypothesis ``i`` to state ``s`` counts.

    Returns:
        The number of choices: a sticky node that keeps its state stayed, which is not counted, or was drawn again.
    """
    earlier, base, choices = found.states[old, i], i * program.width, 1
    for k in range(program.sizes.size):
        found.counted[k], found.staying[k] = program.learned[k], 0
        if not program.learned[k]:
            continue
        cell = program.cells[k, 0] + program.cells[k, 1] * before + program.cells[k, 2] * token
        row = program.totals[k, 0] + program.totals[k, 1] * before + program.totals[k, 2] * token
        found.cells[k] = base + cell + program.cells_before[k, earlier] + program.entries[k, s]
        found.rows[k] = base + row + program.totals_before[k, earlier] + program.rows[k, s]
        stickiness, is_x = program.stickiness[k], k == program.sizes.size - 1
        if stickiness and (before == token if is_x else program.own[k, earlier] == program.own[k, s]):
            drawn = (1 - stickiness) * (found.counts[old, found.cells[k]] + program.alpha[k])
            drawn /= found.counts[old, found.rows[k]] + program.num_states[k] * program.alpha[k]
            found.staying[k] = stickiness / (stickiness + drawn)
            choices *= 2
    return choices


@compiled_part
def _choose(choice, found):
    """Set which sticky nodes stay, by the bits of ``choice``; return the probability of that."""
    share = 1.0
    for k in range(found.staying.size):
        if found.staying[k] > 0:
            found.counted[k] = choice % 2
            share *= 1 - found.staying[k] if choice % 2 else found.staying[k]
            choice //= 2
    return share


@compiled_part
def _add(width, i, s, weight, count, old, new, found):
    """Add a hypothesis, or only its weight if an equal one is in the table; return the number of all.

    The step's cells are counted in hypothesis ``i`` for the time of the comparison.
    """
    total, mask = found.hashes[old, i], np.uint64(found.table.size - 1)
    for k in range(found.counted.size):
        if found.counted[k]:
            total += found.random[found.cells[k] - i * width]
    _count(1, old, found)
    slot = _mixed(total + np.uint64(s) * np.uint64(0x9E3779B97F4A7C15)) & mask
    while found.table[slot] > 0 and not _equals(width, i, s, total, found.table[slot] - 1, old, new, found):
        slot = (slot + np.uint64(1)) & mask
    if found.table[slot] > 0:
        found.weights[new, found.table[slot] - 1] += weight
    elif count == found.slots.size:
        count = -1
    else:
        found.hashes[new, count], found.states[new, count], found.weights[new, count] = total, s, weight
        for c in range(width):
            found.counts[new, count * width + c] = found.counts[old, i * width + c]
        found.slots[count] = slot
        count += 1
        found.table[slot] = count
    _count(-1, old, found)
    return count


@compiled_part
def _count(change, old, found):
    for k in range(found.counted.size):
        if found.counted[k]:
            found.counts[old, found.cells[k]] += change
            found.counts[old, found.rows[k]] += change


@compiled_part
def _equals(width, i, s, total, j, old, new, found):
    """Whether the new hypothesis ``j`` has state ``s`` and the counts of the old hypothesis ``i``."""
    if found.hashes[new, j] != total or found.states[new, j] != s:
        return False
    different = 0
    for c in range(width):
        different |= found.counts[old, i * width + c] ^ found.counts[new, j * width + c]
    return different == 0


@compiled_part
def _mixed(word):
    """All bits mixed, by the last steps of Steele, Lea and Flood's SplitMix64 (OOPSLA 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
