"""Held-out evaluation: a model and the oracle on the same tokens."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from n2n.analysis.batched import check_vocabulary, model_nll
from n2n.analysis.held_out import HeldOut
from n2n.analysis.in_context_oracle import InContextLosses
from n2n.config.train_config import TrainConfig
from n2n.models.lm import LanguageModel
from n2n.process.splits import Split
from n2n.runs.run import Run
from n2n.utils.statistics import mean_and_error


@dataclass(frozen=True)
class Evaluation:
    """Losses of a model, the oracle and the baselines on held-out sequences, nats per token.

    Attributes:
        split: the split that the sequences come from.
        sequences: number of sequences.
        parameters: number of the model's parameters.
        cross_entropy: the model's mean ``-log P(x_t | x_<t)``.
        oracle_nll: the oracle's mean on the same tokens. It knows the kernels, those of context nodes too.
        excess_loss: their difference. Its expectation is a KL divergence; smaller is better.
        excess_standard_error: standard error of ``excess_loss`` over sequences.
        unigram, bigram: mean losses of the baselines, which are fitted on training sequences; if the graph has context
            nodes, they count the tokens of each sequence (``n2n.context_ngram_nll``).
        excess_by_position: mean excess loss over sequences at t = 1 .. T - 1.
        excess_standard_error_by_position: standard error of ``excess_by_position``.
        in_context_nll: mean loss of the oracle that must learn the kernels of context nodes from each sequence
            (``n2n.in_context_nll``). This and the fields below are None if the graph has no context nodes or
            ``in_context_precision`` is None.
        in_context_method: how that oracle was computed: see ``n2n.oracle.in_context.InContext.method``.
        in_context_monte_carlo_error: standard error of ``in_context_nll`` on these sequences; 0 if it is exact.
        in_context_excess_loss: ``cross_entropy - in_context_nll``. It is 0 for the best learner that there can be.
        in_context_excess_standard_error: its standard error, over sequences and of the oracle's estimate together.
        in_context_excess_by_position, in_context_excess_standard_error_by_position: the same at t = 1 .. T - 1.
        prior_nll: as ``in_context_nll``, of the oracle that does not know the graph's pool, only the prior of the
            kernels; None without a pool.
        prior_excess_loss, prior_excess_standard_error: the excess loss over that oracle, and its standard error.
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
    in_context_nll: float | None = None
    in_context_method: str | None = None
    in_context_monte_carlo_error: float | None = None
    in_context_excess_loss: float | None = None
    in_context_excess_standard_error: float | None = None
    in_context_excess_by_position: list[float] | None = None
    in_context_excess_standard_error_by_position: list[float] | None = None
    prior_nll: float | None = None
    prior_excess_loss: float | None = None
    prior_excess_standard_error: float | None = None

    def as_row(self) -> dict[str, Any]:
        """The fields that are not None, as a run keeps them."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def held_out(config: TrainConfig, split: Split = "test", sequences: int | None = None) -> HeldOut:
    """The sequences that a run's models are evaluated on; ``sequences`` replaces the configuration's number."""
    train_sequences = sequences_seen(config, config.steps)
    count = config.eval_sequences if sequences is None else sequences
    return HeldOut(config.process, count, config.seq_len, split, train_sequences, config.in_context_precision)


def sequences_seen(config: TrainConfig, steps: int) -> int:
    """Number of distinct training sequences in the first ``steps`` steps."""
    count = steps * config.batch_size
    return count if config.sequences is None else min(count, config.sequences)


def evaluate(
    run: Run | str | os.PathLike, *, step: int | None = None, split: Split = "test", sequences: int | None = None
) -> Evaluation:
    """Evaluate a checkpoint of a run, which may still be training. Nothing in its folder changes.

    Args:
        run: the run, or its folder.
        step: step of the checkpoint (None: the last one).
        split: ``"test"`` or ``"valid"``.
        sequences: number of held-out sequences (None: the number that the run itself evaluates on).

    Raises:
        ValueError: no such run or checkpoint, a damaged checkpoint, fewer than 2 sequences, or a split that is not held
            out.
    """
    run = run if isinstance(run, Run) else Run(run)
    return evaluate_model(run.model(step), held_out(run.config, split, sequences))


def evaluate_model(model: LanguageModel, data: HeldOut) -> Evaluation:
    """Evaluate a model in any mode and on any device; neither changes.

    Raises:
        ValueError: the model and the process differ in vocabulary.
    """
    check_vocabulary(model, data.process)
    nll = model_nll(model, data.tokens)
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
        **_in_context(nll, data),
    )


def _in_context(nll: np.ndarray, data: HeldOut) -> dict[str, Any]:
    """The fields of the in-context oracles, from the model's losses ``(sequences, T - 1)``."""
    oracle, prior = data.in_context, data.prior
    if oracle is None:
        return {}
    fields = {
        "in_context_nll": float(oracle.nll.mean()),
        "in_context_method": oracle.method,
        "in_context_monte_carlo_error": oracle.mean_standard_error,
        **excess_over(oracle, nll, "in_context"),
    }
    excess = nll - oracle.nll
    monte_carlo = np.sqrt((oracle.standard_error**2).sum(axis=0)) / len(nll)
    fields["in_context_excess_by_position"] = excess.mean(axis=0).tolist()
    fields["in_context_excess_standard_error_by_position"] = np.hypot(mean_and_error(excess)[1], monte_carlo).tolist()
    return fields | ({"prior_nll": float(prior.nll.mean()), **excess_over(prior, nll, "prior")} if prior else {})


def excess_over(oracle: InContextLosses, nll: np.ndarray, prefix: str) -> dict[str, float]:
    """The mean excess loss over an oracle, and its standard error.

    Monte-Carlo errors that are independent between sequences are part of the variance over sequences already. They are
    added nevertheless, because those of importance sampling are common to all sequences.
    """
    mean, over_sequences = mean_and_error((nll - oracle.nll).mean(axis=1))
    error = math.hypot(over_sequences, oracle.mean_standard_error)
    return {f"{prefix}_excess_loss": float(mean), f"{prefix}_excess_standard_error": error}
