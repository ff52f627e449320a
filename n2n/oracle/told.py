"""The told oracle, which knows the kernels that are redrawn for each sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_tokens
from n2n.oracle.filtering import filter
from n2n.process.process import Process, Split
from n2n.utils.arrays import integer_tensor


def told_nll(
    process: Process, tokens, sequences, *, split: Split = "train", memory_budget: int = MEMORY_BUDGET
) -> Tensor:
    """Compute the loss of the predictor that knows the kernels of each sequence, those of its context nodes too.

    A learner must find out the kernels of context nodes from the sequence itself, so on average its loss is at least
    that of ``n2n.in_context_nll``, which is at least this one. Without context nodes the result is that of
    ``n2n.filter``.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2, as for ``n2n.filter``. If this is a tensor, the filter runs on
            its device.
        sequences: ``(batch,)`` integers, the index of each sequence within its split. They select the kernels.
        split: the split that the sequences belong to.
        memory_budget: bytes; the results need memory in addition.

    Returns:
        ``(batch, T - 1)``, float64, ``-log P(x_t | x_<t, kernels)`` for t = 1 .. T - 1, nats. As with ``n2n.filter`` it
        is infinite at a token that the process cannot emit and nan after it.

    Raises:
        ValueError: if ``n2n.filter`` rejects the tokens or the budget, the sequences are not one integer from 0 for
            each row of the tokens, or the split is unknown.
    """
    tokens, sequences = check_tokens(process, tokens), check_sequences(sequences, len(tokens))
    losses = [
        filter(process.of_sequence(index, split=split), row[None], memory_budget=memory_budget).nll
        for index, row in zip(sequences.tolist(), tokens, strict=True)
    ]
    return torch.cat(losses)


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
