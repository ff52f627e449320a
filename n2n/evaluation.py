"""Held-out evaluation: a model against the oracle, on the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from n2n.baselines import fit_ngram
from n2n.difficulty import mean_and_error
from n2n.inference import filter
from n2n.models.lm import LanguageModel
from n2n.process import Process, Split
from n2n.strict import unknown

PART = 64  # sequences in one forward pass
HELD_OUT: tuple[Split, ...] = ("test", "valid")
BASELINE_TOKENS = 2**21  # training tokens that the baselines are fitted on, at most


@dataclass(frozen=True)
class Evaluation:
    """A model beside the oracle and the baselines, nats per token.

    Attributes:
        split: whose sequences these are.
        sequences: how many.
        parameters: of the model.
        cross_entropy: the model's mean ``-log P(x_t | x_<t)``.
        oracle_nll: the oracle's, on the same tokens.
        excess_loss: the difference; its expectation is a KL divergence, and the smaller the better.
        excess_se: standard error of ``excess_loss`` over sequences.
        unigram, bigram: the same loss for the baselines, fitted on training sequences.
        excess_by_position: mean over sequences at t = 1 .. T - 1.
        excess_se_by_position: its standard error.
    """

    split: str
    sequences: int
    parameters: int
    cross_entropy: float
    oracle_nll: float
    excess_loss: float
    excess_se: float
    unigram: float
    bigram: float
    excess_by_position: list[float]
    excess_se_by_position: list[float]


def evaluate(
    model: LanguageModel, process: Process, *, sequences: int, length: int, train_sequences: int, split: Split = "test"
) -> Evaluation:
    """Judge a model by the first ``sequences`` of a split.

    Args:
        model: in any mode and on any device; left as it was.
        process: the truth.
        sequences: held-out sequences, at least 2.
        length: tokens in each.
        train_sequences: the baselines are fitted on the first so many training sequences (2^21 tokens at most).
        split: ``"test"`` or ``"valid"``.

    Raises:
        ValueError: fewer than 2 sequences, a split that is not held out, or a model of another vocabulary.
    """
    _refuse(model, process, sequences, split)
    device = next(model.parameters()).device
    tokens = process.sample(sequences, length=length, split=split, latents=False).tokens.astype(np.int64)
    on_device = torch.from_numpy(tokens).to(device)
    nll = _model_nll(model, on_device)
    oracle = filter(process, on_device).nll
    excess = (nll - oracle).cpu().numpy()  # (sequences, T - 1)
    fitted = process.sample(
        min(train_sequences, max(1, BASELINE_TOKENS // length)), length=length, latents=False
    ).tokens
    unigram, bigram = (fit_ngram(fitted, process.graph.vocab_size, order).nll(tokens).mean() for order in (1, 2))
    return Evaluation(
        split=split,
        sequences=sequences,
        parameters=model.num_parameters,
        cross_entropy=nll.mean().item(),
        oracle_nll=oracle.mean().item(),
        excess_loss=float(excess.mean()),
        excess_se=float(mean_and_error(excess.mean(axis=1))[1]),
        unigram=float(unigram),
        bigram=float(bigram),
        excess_by_position=excess.mean(axis=0).tolist(),
        excess_se_by_position=mean_and_error(excess)[1].tolist(),
    )


def _refuse(model: LanguageModel, process: Process, sequences: int, split: str) -> None:
    if sequences < 2:
        raise ValueError(f"sequences: saw {sequences}; at least 2 are needed for a standard error")
    if split not in HELD_OUT:
        raise ValueError(unknown("held-out split", split, HELD_OUT))
    if model.config.vocab_size != process.graph.vocab_size:
        raise ValueError(f"saw a model of {model.config.vocab_size} symbols, a process of {process.graph.vocab_size}")


@torch.no_grad()
def _model_nll(model: LanguageModel, tokens: torch.Tensor) -> torch.Tensor:
    training = model.training
    model.eval()
    try:
        return torch.cat([model.nll(part) for part in tokens.split(PART)]).double()
    finally:
        model.train(training)
