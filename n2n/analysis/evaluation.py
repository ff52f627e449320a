"""Held-out evaluation: a model against the oracle, on the same tokens."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from n2n.analysis.batched import check_vocabulary, run_in_batches
from n2n.config.train_config import TrainConfig
from n2n.difficulty.ngrams import fit_ngram
from n2n.models.lm import LanguageModel
from n2n.oracle.filtering import filter
from n2n.process.process import Process, Split
from n2n.runs.run import Run
from n2n.utils.statistics import mean_and_error
from n2n.utils.strict import unknown

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
        excess_standard_error: standard error of ``excess_loss`` over sequences.
        unigram, bigram: the same loss for the baselines, fitted on training sequences.
        excess_by_position: mean over sequences at t = 1 .. T - 1.
        excess_standard_error_by_position: its standard error.
    """

    split: str
    sequences: int
    parameters: int
    cross_entropy: float
    oracle_nll: float
    excess_loss: float
    excess_standard_error: float
    unigram: float
    bigram: float
    excess_by_position: list[float]
    excess_standard_error_by_position: list[float]


@dataclass(frozen=True)
class HeldOut:
    """Sequences that models are judged by, and what the oracle and the baselines lose on them, computed once.

    Args:
        process: the truth.
        sequences: how many, the first ones of the split, at least 2.
        length: tokens in each.
        train_sequences: the baselines are fitted on the first so many training sequences (2^21 tokens at most).
        split: ``"test"`` or ``"valid"``.

    Raises:
        ValueError: fewer than 2 sequences, or a split that is not held out.
    """

    process: Process
    sequences: int
    length: int
    train_sequences: int
    split: Split = "test"

    def __post_init__(self) -> None:
        if self.sequences < 2:
            raise ValueError(f"sequences: saw {self.sequences}; at least 2 are needed for a standard error")
        if self.split not in HELD_OUT:
            raise ValueError(unknown("held-out split", self.split, HELD_OUT))

    @cached_property
    def tokens(self) -> np.ndarray:
        """``(sequences, length)``, int64."""
        drawn = self.process.sample(self.sequences, length=self.length, split=self.split, latents=False)
        return drawn.tokens.astype(np.int64)

    @cached_property
    def oracle_nll(self) -> np.ndarray:
        """``(sequences, length - 1)``, nats."""
        return filter(self.process, self.tokens).nll.numpy()

    @cached_property
    def baselines(self) -> dict[str, float]:
        """Mean losses of the unigram and the bigram, nats per token."""
        fitted = baseline_tokens(self.process, self.train_sequences, self.length)
        vocab_size = self.process.graph.vocab_size
        orders = {"unigram": 1, "bigram": 2}
        return {name: float(fit_ngram(fitted, vocab_size, k).nll(self.tokens).mean()) for name, k in orders.items()}


def held_out(config: TrainConfig, split: Split = "test", sequences: int | None = None) -> HeldOut:
    """What a run's models are judged by; ``sequences`` in the place of the configuration's."""
    seen = sequences_seen(config, config.steps)
    return HeldOut(config.process, sequences or config.eval_sequences, config.seq_len, seen, split)


def sequences_seen(config: TrainConfig, steps: int) -> int:
    """Distinct training sequences that so many steps see."""
    seen = steps * config.batch_size
    return seen if config.sequences is None else min(seen, config.sequences)


def baseline_tokens(process: Process, train_sequences: int, length: int) -> np.ndarray:
    """What baselines are fitted on, ``(sequences, length)``: the first training sequences, 2^21 tokens at most."""
    count = min(train_sequences, max(1, BASELINE_TOKENS // length))
    return process.sample(count, length=length, latents=False).tokens


def evaluate(
    run: Run | str | os.PathLike, *, step: int | None = None, split: Split = "test", sequences: int | None = None
) -> Evaluation:
    """Judge a run's model at a checkpoint, while the run goes on or after it; nothing is written.

    Args:
        run: the run, or its folder.
        step: of the checkpoint; None is the last.
        split: ``"test"`` or ``"valid"``.
        sequences: held-out sequences (None: as many as the run's own evaluations).

    Raises:
        ValueError: no such run or checkpoint, a damaged checkpoint, fewer than 2 sequences, or a split that is not held
            out.
    """
    run = run if isinstance(run, Run) else Run(run)
    return evaluate_model(run.model(step), held_out(run.config, split, sequences))


def evaluate_model(model: LanguageModel, data: HeldOut) -> Evaluation:
    """Judge a model, in any mode and on any device; it is left as it was.

    Raises:
        ValueError: a model of another vocabulary.
    """
    check_vocabulary(model, data.process)
    nll = run_in_batches(model, data.tokens, lambda part: model.nll(part).double())
    excess = nll - data.oracle_nll  # (sequences, T - 1)
    return Evaluation(
        split=data.split,
        sequences=data.sequences,
        parameters=model.num_parameters,
        cross_entropy=float(nll.mean()),
        oracle_nll=float(data.oracle_nll.mean()),
        excess_loss=float(excess.mean()),
        excess_standard_error=float(mean_and_error(excess.mean(axis=1))[1]),
        **data.baselines,
        excess_by_position=excess.mean(axis=0).tolist(),
        excess_standard_error_by_position=mean_and_error(excess)[1].tolist(),
    )
