"""Run a model on many sequences, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from n2n.models.lm import LanguageModel
from n2n.process.process import Process
from n2n.utils.arrays import integer_tensor

BATCH_SIZE = 64  # sequences in one forward pass


@torch.no_grad()
def run_in_batches(
    model: LanguageModel, tokens: ArrayLike, compute: Callable[[Tensor], Tensor], batch_size: int = BATCH_SIZE
) -> np.ndarray:
    """Apply ``compute`` to batches of sequences, on the model's device and in evaluation mode, and join the results.

    Args:
        model: a model on any device and in any mode; neither changes.
        tokens: ``(sequences, T)`` integers.
        compute: maps ``(batch, T)`` to a tensor whose first axis is the batch.
        batch_size: sequences in a batch.

    Returns:
        the results of ``compute``, joined along their first axis.

    Raises:
        ValueError: tokens of another shape or type, or tokens that ``compute`` refuses.
    """
    tokens = integer_tensor(tokens)
    if tokens.ndim != 2:
        raise ValueError(f"tokens: saw shape {tuple(tokens.shape)}; (sequences, T) is needed")
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        return torch.cat([compute(batch.to(device)).cpu() for batch in tokens.split(batch_size)]).numpy()
    finally:
        model.train(training)


def model_nll(model: LanguageModel, tokens: ArrayLike) -> np.ndarray:
    """A model's ``-log P(x_t | x_<t)``, ``(sequences, T - 1)``, float64, nats; arguments as for ``run_in_batches``."""
    return run_in_batches(model, tokens, lambda part: model.nll(part).double())


def check_vocabulary(model: LanguageModel, process: Process) -> None:
    """Raise a ``ValueError`` if a model and a process differ in vocabulary."""
    if model.config.vocab_size != process.graph.vocab_size:
        raise ValueError(f"saw a model of {model.config.vocab_size} symbols, a process of {process.graph.vocab_size}")
