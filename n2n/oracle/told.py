"""The told oracle, which knows the kernels that are redrawn for each sequence."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.checks import MEMORY_BUDGET, check_budget, check_tokens, table_bytes
from n2n.oracle.compiled.forward import filter_sequences
from n2n.oracle.compiled.program import stacked_program
from n2n.oracle.filtering import filter, mark_impossible_start, nll_of
from n2n.process.process import Process, Split
from n2n.utils.arrays import integer_tensor
from n2n.utils.threads import torch_threads

TABLES_AT_ONCE = 2**26  # bytes for tables, unless the budget is smaller


@torch_threads(1)
def told_nll(
    process: Process, tokens, sequences, *, split: Split = "train", memory_budget: int = MEMORY_BUDGET
) -> Tensor:
    """Compute the loss of the predictor that knows the kernels of each sequence, those of its context nodes too.

    A learner must find out the kernels of context nodes from the sequence itself, so on average its loss is at least
    that of ``n2n.in_context_nll``, which is at least this one. Without context nodes the result is that of
    ``n2n.filter``.

    The kernels of many sequences are drawn at once, and one compiled filter runs with the kernels of each sequence.
    Sequences that share kernels of a pool share their tables too. Both run on the CPU, on all cores, also if the tokens
    are on another device. A sequence's result is the same to the bit in every batch.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2, as for ``n2n.filter``.
        sequences: ``(batch,)`` integers, the index of each sequence within its split. They select the kernels.
        split: the split that the sequences belong to.
        memory_budget: bytes. The batch is split to stay within it; the results need memory in addition.

    Returns:
        ``(batch, T - 1)``, float64, ``-log P(x_t | x_<t, kernels)`` for t = 1 .. T - 1, nats, on the tokens' device. As
        with ``n2n.filter`` it is infinite at a token that the process cannot emit and nan after it.

    Raises:
        ValueError: if ``n2n.filter`` rejects the tokens, the sequences are not one integer from 0 for each row of the
            tokens, the split is unknown, or the tables and the belief of one sequence exceed the budget.
    """
    tokens = check_tokens(process, tokens)
    sequences = check_sequences(sequences, len(tokens))
    if not process.graph.context_nodes:
        return filter(process, tokens, memory_budget=memory_budget).nll
    check_budget(process.graph, memory_budget)
    evidence = _evidence(process, tokens.numpy(force=True), sequences.numpy(force=True), split, memory_budget)
    evidence = torch.from_numpy(evidence).to(tokens.device)
    return mark_impossible_start(nll_of(evidence[:, 1:]), evidence[:, 0].log())


def check_sequences(sequences, count: int) -> Tensor:
    """Return the indices of ``count`` sequences as an int64 tensor, or raise a ``ValueError``."""
    sequences = integer_tensor(sequences, "sequences")
    if sequences.shape != (count,):
        raise ValueError(
            f"sequences: saw shape {tuple(sequences.shape)}; ({count},) is needed, an index for each row of the tokens"
        )
    negative = sequences[sequences < 0]
    if len(negative):
        raise ValueError(f"sequences: saw {negative[0]}; the index of a sequence is a whole number from 0")
    return sequences


def _evidence(
    process: Process, tokens: np.ndarray, sequences: np.ndarray, split: Split, memory_budget: int
) -> np.ndarray:
    """``P(x_t | x_<t, kernels)``, ``(batch, T)``; each set of kernels is drawn once."""
    evidence = np.empty(tokens.shape)
    sets, place = np.unique(process.sets_of(sequences, split), return_inverse=True)  # place of each sequence's set
    rows = np.argsort(place, kind="stable")
    each = _bytes_of_set(process.graph)
    at_once = max(1, min(TABLES_AT_ONCE, memory_budget // 2) // each)
    for first in range(0, len(sets), at_once):
        drawn = sets[first : first + at_once]
        program = stacked_program(process, process.context_kernels(drawn, split))
        part = rows[slice(*np.searchsorted(place[rows], [first, first + len(drawn)]))]
        memory = memory_budget - each * len(drawn)
        evidence[part] = filter_sequences(program, tokens[part], sets=place[part] - first, memory=memory).evidence
    return evidence


def _bytes_of_set(graph: Graph) -> int:
    """Bytes of one set of kernels, and of its tables and initial law with the copies that are made of them."""
    kernels = 8 * sum(graph.kernel_size(node) for node in graph.context_nodes)
    law = 0 if graph.initial == "zero" else 8 * graph.num_joint_states * graph.vocab_size
    return kernels + 3 * (table_bytes(graph, torch.float64) + law)
