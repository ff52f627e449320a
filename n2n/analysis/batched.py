"""A model's work on many sequences, some at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from n2n.models.lm import LanguageModel
from n2n.process.process import Process
from n2n.utils.arrays import integer_tensor

PART = 64  # sequences in one forward pass


@torch.no_grad()
def run_in_batches(
    model: LanguageModel, tokens: ArrayLike, read: Callable[[Tensor], Tensor], part: int = PART
) -> np.ndarray:
    """What ``read`` makes of the sequences, ``part`` of them at a time, on the model's device and in evaluation mode.

    Args:
        model: on any device and in any mode; it is left as it was.
        tokens: ``(sequences, T)`` integers.
        read: from ``(batch, T)`` to a tensor whose first axis is the batch.
        part: sequences at a time.

    Returns:
        what ``read`` gave, joined along its first axis.

    Raises:
        ValueError: tokens of another shape or type, or what ``read`` refuses.
    """
    tokens = integer_tensor(tokens)
    if tokens.ndim != 2:
        raise ValueError(f"tokens: saw shape {tuple(tokens.shape)}; (sequences, T) is needed")
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        return torch.cat([read(some.to(device)).cpu() for some in tokens.split(part)]).numpy()
    finally:
        model.train(training)


def check_vocabulary(model: LanguageModel, process: Process) -> None:
    """Raise a ``ValueError`` if a model reads another vocabulary than a process emits."""
    if model.config.vocab_size != process.graph.vocab_size:
        raise ValueError(f"saw a model of {model.config.vocab_size} symbols, a process of {process.graph.vocab_size}")
