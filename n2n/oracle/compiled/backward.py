"""The compiled forward-backward algorithm, on chunks of sequences like the forward algorithm."""

from __future__ import annotations

import numpy as np

from n2n.oracle.compiled.chunks import Work, multiply_adds, run_chunks
from n2n.oracle.compiled.forward import Outputs, empty_outputs, filter_chunk, keep
from n2n.oracle.compiled.program import Moves, Program
from n2n.oracle.compiled.steps import marginals, move, update
from n2n.utils.compilation import compiled, compiled_part


@compiled
def smooth_chunk(program, backward, tokens, first, work, outputs):
    """Smooth the beliefs that ``filter_chunk`` kept in ``work.history``, from the last token to the first."""
    message, spare, previous, current = work.values, work.spare, work.previous, work.current
    length, lanes = tokens.shape[0], current.size
    count = min(lanes, tokens.shape[1] - first)
    for i in range(message.size):
        message[i] = 1
    for lane in range(lanes):
        work.scale[lane] = 1
        previous[lane] = tokens[length - 1, first + min(lane, count - 1)]
    for t in range(length - 1, -1, -1):
        if t < length - 1:
            previous, current = current, previous
            for lane in range(lanes):
                previous[lane] = tokens[t, first + min(lane, count - 1)]
            update(program, message, previous, current, work)
            if move(backward, message, spare, previous, work):
                message, spare = spare, message
            _combine(work.history[t], message, work)
        marginals(program.sizes, work.history[t], work)
        keep(work.marginals, work.scale, outputs.beliefs, first, count, t)
        keep(work.history[t], work.scale, outputs.joint, first, count, t)


@compiled_part
def _combine(belief, message, work):
    """Multiply a belief and a message; divide both by the sum of the product, so that the belief sums to 1.

    The message is set to 0 where the belief has no mass: there it could grow without bound.
    """
    total, lanes, smallest = work.total, work.total.size, np.finfo(belief.dtype).tiny
    for lane in range(lanes):
        total[lane] = 0
    for i in range(belief.size):
        if not belief[i] >= smallest:
            message[i] = 0
        belief[i] *= message[i]
        total[i % lanes] += belief[i]
    for lane in range(lanes):
        total[lane] = 1 / total[lane] if total[lane] != 0 else np.inf
    for i in range(belief.size):
        belief[i] *= total[i % lanes]
        message[i] *= total[i % lanes]


def smooth_sequences(
    program: Program, backward: Moves, tokens: np.ndarray, *, joint: bool = False, memory: int = 2**30
) -> Outputs:
    """Smooth ``tokens (batch, T)``, int64, on all cores; each result depends on its own sequence only.

    Args:
        program: the tables, in the type of the results.
        backward: the moves of messages back.
        tokens: the observed sequences.
        joint: whether to keep the beliefs about all latents jointly.
        memory: bytes for the working memory of all threads. One sequence at a time is always worked on.

    Returns:
        The evidence of each token, and beliefs given the whole sequence.
    """
    outputs = empty_outputs(program, tokens, predictive=False, beliefs=True, joint=joint)
    nothing = np.empty((0, 0, 0), program.emission.dtype)
    filtered = outputs._replace(beliefs=nothing, joint=nothing)
    columns, not_given = np.ascontiguousarray(tokens.T), np.empty(0, np.int64)

    def work(first: int, space: Work) -> None:
        filter_chunk(program, columns, not_given, not_given, first, False, space, filtered)
        smooth_chunk(program, backward, columns, first, space, outputs)

    length = tokens.shape[1]
    run_chunks(work, program, len(tokens), memory, 2 * multiply_adds(program) * length, history=length)
    return outputs
