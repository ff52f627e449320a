"""Steps of the compiled particle filter, on blocks of particles side by side.

``n2n.oracle.learned.kernel_counts`` and ``n2n.oracle.learned.particle_filter`` say the same in torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from n2n.oracle.compiled.particle_program import CountProgram
from n2n.oracle.compiled.particle_vectors import GROUP, draw, grow, read_counts, read_reciprocals
from n2n.oracle.compiled.vectors import look_up
from n2n.utils.compilation import compiled_part
from n2n.utils.emitters import address


class Block(NamedTuple):
    """Working memory of a block of particles, with the lanes as last axis, flat."""

    members: np.ndarray  # (lanes,) int64, the particles
    before: np.ndarray  # (lanes,) int64, their previous joint states
    after: np.ndarray  # (lanes,) int64, their next joint states
    own: np.ndarray  # (lanes,) int64, the state that a sticky node keeps
    cells: np.ndarray  # (lanes,) int64, where the slab of each particle begins
    totals: np.ndarray  # (lanes,) int64, where its row totals begin
    uniforms: np.ndarray  # (lanes,)
    ones: np.ndarray  # (lanes,)
    factors: np.ndarray  # (longest, lanes) the entries of a slab
    scale: np.ndarray  # (longest, lanes) a factor for each row of the slab
    law: np.ndarray  # (S, lanes)

    @classmethod
    def of(cls, program: CountProgram, lanes: int) -> Block:
        """Working memory for this number of lanes."""
        states = program.own.shape[1]
        integers = [np.zeros(lanes, np.int64) for _ in range(6)]
        slabs = [np.empty((program.longest + GROUP) * lanes) for _ in range(2)]
        return cls(*integers, np.empty(lanes), np.ones(lanes), *slabs, np.empty(states * lanes))


@compiled_part
def start(program, token, cloud, block):
    """Draw the latents at t = 0 given the first token.

    If X's kernel emits the first token and must be learned, it is counted.
    """
    cloud.counts[:] = 0
    cloud.before[:] = 0
    cloud.after[:] = 0
    cloud.weights[:] = 1 / cloud.weights.size
    if not program.start.size:
        return
    states, x, total = program.own.shape[1], program.sizes.size - 1, 0.0
    for s in range(states):
        seen = program.start[s]  # a kernel without counts gives all tokens the same probability
        if program.shows_start and not program.learned[x]:
            seen *= program.tables[program.cells[x, 0] + program.cells[x, 2] * token + program.entries[x, s]]
        total += seen
        block.law[s] = total
    for i in range(cloud.after.size):
        while cloud.after[i] < states - 1 and block.law[cloud.after[i]] <= cloud.uniforms[i] * total:
            cloud.after[i] += 1
    if program.shows_start and program.learned[x]:
        count(program, x, token, token, cloud)
    for i in range(cloud.after.size):
        cloud.before[i] = cloud.after[i]


@compiled_part
def advance(program, before, token, members, cloud, block):
    """Draw the next states of some particles, and write the probability of the token for each of them.

    Args:
        program: the kernels.
        before, token: the tokens at t - 1 and t.
        members: the particles.
        cloud: the particles, and a random number for each of them.
        block: working memory.
    """
    lanes, states, last = block.members.size, program.own.shape[1], program.sizes.size - 1
    for first in range(0, members.size, lanes):
        for lane in range(lanes):
            i = members[min(first + lane, members.size - 1)]
            block.members[lane], block.before[lane] = i, cloud.before[i]
            block.uniforms[lane] = cloud.uniforms[i]
        read_law(program, before, token, cloud.counts, block)
        for lane in range(0, lanes, GROUP):
            draw(
                states, address(block.law, lane), address(block.scale, lane), address(block.factors, lane),
                address(program.entries, last * states), address(block.uniforms, lane), address(block.after, lane),
                lanes,
            )  # fmt: skip
        for lane in range(lanes):
            i = block.members[lane]
            cloud.after[i], cloud.evidence[i] = block.after[lane], block.law[(states - 1) * lanes + lane]


@compiled_part
def read_law(program, before, token, counts, block):
    """Write the probabilities of the next states of the particles ``block.members``, and the token's in those states.

    ``block.law`` holds those of the states. The token's probability in state s is ``block.factors`` at X's entry of s
    times ``block.scale`` of its row; X has one column, so that entry and row are the same.
    """
    lanes, last = block.members.size, program.sizes.size - 1
    for lane in range(lanes):
        block.law[lane] = 1
    prefixes = 1
    for k in range(last):
        _read(program, k, before, token, counts, block)
        _expand(program, k, prefixes, block)
        prefixes *= program.num_states[k]
    _read(program, last, before, token, counts, block)


@compiled_part
def _read(program, k, before, token, counts, block):
    """Write the probabilities of the entries of a node's slab: ``block.factors`` times ``block.scale`` of the row."""
    size, columns, lanes = program.sizes[k], program.columns[k], block.members.size
    cells = program.cells[k, 0] + program.cells[k, 1] * before + program.cells[k, 2] * token
    totals = program.totals[k, 0] + program.totals[k, 1] * before + program.totals[k, 2] * token
    width = program.width if program.learned[k] else 0
    for lane in range(lanes):
        i, state = block.members[lane] * width, block.before[lane]
        block.cells[lane] = i + cells + program.cells_before[k, state]
        block.totals[lane] = i + totals + program.totals_before[k, state]
    if not program.learned[k]:
        for i in range(size // columns * lanes):
            block.scale[i] = 1
        for lane in range(0, lanes, GROUP):
            for e in range(0, size, GROUP):
                look_up(
                    address(program.tables, e), address(block.cells, lane), address(block.ones, lane),
                    address(block.factors, e * lanes + lane), lanes,
                )  # fmt: skip
        return
    alpha, moves = program.alpha[k], 1 - program.stickiness[k]
    for lane in range(0, lanes, GROUP):
        read_counts(
            size, address(counts, 0), address(block.cells, lane), alpha, 1.0, address(block.factors, lane), lanes
        )
        read_reciprocals(
            size // columns, address(counts, 0), address(block.totals, lane), alpha * program.num_states[k], moves,
            address(block.scale, lane), lanes,
        )  # fmt: skip
    if program.stickiness[k]:
        _stay(program, k, before == token, block)


@compiled_part
def _stay(program, k, is_repeated, block):
    """Add the probability that a sticky node keeps its state."""
    lanes, columns, stickiness = block.members.size, program.columns[k], program.stickiness[k]
    is_x = k == program.sizes.size - 1
    for lane in range(lanes):
        block.own[lane] = program.own[k, block.before[lane]]
        if is_x and not is_repeated:
            block.own[lane] = -1  # no entry keeps the previous token
    for e in range(program.sizes[k]):
        for lane in range(lanes):
            drawn = block.factors[e * lanes + lane] * block.scale[e // columns * lanes + lane]
            block.factors[e * lanes + lane] = drawn + (stickiness if e % columns == block.own[lane] else 0)
    for i in range(program.sizes[k] // columns * lanes):
        block.scale[i] = 1


@compiled_part
def _expand(program, k, prefixes, block):
    """Multiply the law of the first latents by the probabilities of the next one's states, in place."""
    states, lanes, law = program.num_states[k], block.members.size, block.law
    after = program.own.shape[1] // prefixes
    for prefix in range(prefixes - 1, -1, -1):
        row = program.rows[k, prefix * after]
        for lane in range(0, lanes, GROUP):
            grow(
                states, address(law, prefix * lanes + lane), address(block.scale, row * lanes + lane),
                address(block.factors, row * states * lanes + lane), address(law, prefix * states * lanes + lane),
                lanes,
            )  # fmt: skip


@compiled_part
def count(program, k, before, token, cloud):
    """Count the step of a node from ``cloud.before`` to ``cloud.after`` for all particles.

    If a sticky node keeps its state, ``cloud.uniforms`` decide whether that was a draw, which is counted, or a stay.
    """
    cells = program.cells[k, 0] + program.cells[k, 1] * before + program.cells[k, 2] * token
    totals = program.totals[k, 0] + program.totals[k, 1] * before + program.totals[k, 2] * token
    counts, stickiness, is_x = cloud.counts, program.stickiness[k], k == program.sizes.size - 1
    alpha, total_alpha = program.alpha[k], program.alpha[k] * program.num_states[k]
    for i in range(cloud.before.size):
        old, new = np.uint64(cloud.before[i]), np.uint64(cloud.after[i])
        cell = np.uint64(i * program.width + cells + program.cells_before[k, old] + program.entries[k, new])
        row = np.uint64(i * program.width + totals + program.totals_before[k, old] + program.rows[k, new])
        if stickiness and (before == token if is_x else program.own[k, old] == program.own[k, new]):
            drawn = (1 - stickiness) * (counts[cell] + alpha) / (counts[row] + total_alpha)
            if cloud.uniforms[i] * (stickiness + drawn) >= drawn:
                continue
        counts[cell] += 1
        counts[row] += 1
