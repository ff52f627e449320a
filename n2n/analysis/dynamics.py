"""How a run develops: its checkpoints in order, starting from the untrained model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from n2n.analysis.agreement import mixing_by_lag
from n2n.analysis.comparison import Comparison, by_position, summary
from n2n.analysis.evaluation import held_out
from n2n.analysis.held_out import HeldOut
from n2n.analysis.mixing import token_mixing
from n2n.analysis.of_runs import probe_data
from n2n.analysis.probes import ProbeData, variance_explained
from n2n.models.lm import LanguageModel
from n2n.runs.run import Run
from n2n.utils.progress import track
from n2n.utils.strict import as_integer


@dataclass(frozen=True, eq=False)
class Dynamics:
    """Tables with a column ``step``; step 0 is the untrained model.

    Attributes:
        steps: steps of the checkpoints, increasing.
        excess: a row for each step: ``excess_loss``, ``low``, ``high`` (95%), nats per token.
        positions: the same for each ``position`` t = 1 .. T - 1.
        beliefs: ``r2``, ``r2_low``, ``r2_high`` of a linear probe for each ``layer`` (0: the embedding, l: the stream
            after block l) and ``latent``.
        mixing: by ``layer`` (l: block l), ``head`` and ``lag``, with the columns of ``n2n.mixing_by_lag``.
    """

    steps: list[int]
    excess: pd.DataFrame
    positions: pd.DataFrame
    beliefs: pd.DataFrame
    mixing: pd.DataFrame


def spread(run: Run, max_steps: int) -> list[int]:
    """Steps of at most ``max_steps`` checkpoints of a run, evenly spaced from the first to the last, after step 0.

    Raises:
        ValueError: a number under 2, or a run without a checkpoint.
    """
    as_integer("max_steps", max_steps, 2)
    saved = run.some_steps
    places = np.unique(np.linspace(0, len(saved) - 1, min(max_steps, len(saved))).round().astype(int))
    return [0, *(saved[i] for i in places)]


def checkpoints(run: Run, steps: Sequence[int]) -> Iterator[tuple[int, LanguageModel]]:
    """Each of the steps with the model at its checkpoint; step 0 is the untrained model.

    Raises:
        ValueError: no steps, or no such checkpoint.
    """
    if not len(steps):
        raise ValueError("steps: saw none; at least one is needed, such as those of n2n.dynamics.spread")
    for step in track(steps, "checkpoint"):
        yield step, run.model(step) if step else run.config.build_model()


def trace(run: Run, steps: Sequence[int], sequences: int) -> Dynamics:
    """Measure the models at several checkpoints on the same held-out sequences.

    Args:
        run: a run whose graph has a latent.
        steps: steps of the checkpoints; 0 is the untrained model.
        sequences: number of sequences of the ``test`` split; probes are fitted on the same number of ``valid``.

    Raises:
        ValueError: no steps, no such checkpoint, fewer than 2 sequences, or a process without latents.
    """
    probed, data = probe_data(run, sequences), held_out(run.config, sequences=sequences)
    rows = [_at(step, model, probed, data) for step, model in checkpoints(run, steps)]
    tables = [pd.concat(parts, ignore_index=True) for parts in zip(*rows, strict=True)]
    return Dynamics(list(steps), *tables)


def _at(step: int, model: LanguageModel, probed: ProbeData, data: HeldOut) -> list[pd.DataFrame]:
    comparison = Comparison(data, {"model": model})
    stream = probed.residual(model)
    tables = [
        summary(comparison)[["excess_loss", "low", "high"]],
        by_position(comparison).drop(columns=["model", "tokens"]),
        pd.concat([variance_explained(probed, part).assign(layer=layer) for layer, part in enumerate(stream)]),
        mixing_by_lag(token_mixing(model, data.tokens)),
    ]
    return [table.assign(step=step) for table in tables]
