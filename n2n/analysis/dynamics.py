"""How a run came to what it is: its checkpoints one after another, from the untrained model on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from n2n.analysis.agreement import mixing_by_lag
from n2n.analysis.comparison import Comparison, by_position, summary
from n2n.analysis.mixing import token_mixing
from n2n.analysis.probes import ProbeData, variance_explained
from n2n.models.lm import LanguageModel
from n2n.runs.run import Run
from n2n.utils.progress import track
from n2n.utils.strict import as_integer


@dataclass(frozen=True, eq=False)
class Dynamics:
    """Tables with a column ``step``, 0 being the untrained model.

    Attributes:
        steps: that were looked at, rising.
        excess: a row for each step: ``excess_loss``, ``low``, ``high`` (95%), nats per token.
        positions: the same for each ``position`` t = 1 .. T - 1.
        beliefs: ``r2``, ``r2_low``, ``r2_high`` of a linear probe for each ``layer`` (0: the embedding, l: the stream
            after block l) and ``latent``.
        mixing: by ``layer`` (l: block l), ``head`` and ``lag``, as ``n2n.mixing_by_lag`` gives it.
    """

    steps: list[int]
    excess: pd.DataFrame
    positions: pd.DataFrame
    beliefs: pd.DataFrame
    mixing: pd.DataFrame


def spread(run: Run, most: int) -> list[int]:
    """0 and at most ``most`` of a run's checkpoints, spread evenly over them, the first and the last among them.

    Raises:
        ValueError: a number under 2, or a run without a checkpoint.
    """
    as_integer("most", most, 2)
    saved = run.some_steps
    some = np.unique(np.linspace(0, len(saved) - 1, min(most, len(saved))).round().astype(int))
    return [0, *(saved[i] for i in some)]


def trace(run: Run, steps: Sequence[int], sequences: int) -> Dynamics:
    """Look at the models of some checkpoints on the same held-out sequences.

    Args:
        run: with a latent in its graph.
        steps: of checkpoints; 0 is the untrained model.
        sequences: of the ``test`` split that all are judged by; probes are fitted on as many of ``valid``.

    Raises:
        ValueError: no steps, no such checkpoint, fewer than 2 sequences, or a process without latents.
    """
    config = run.config
    if not len(steps):
        raise ValueError("steps: saw none; at least one is needed, such as those of n2n.dynamics.spread")
    data = ProbeData(config.process, sequences, config.seq_len - 1)
    found = Comparison(config.process, {"0": config.build_model()}, sequences, config.seq_len)
    rows = [
        _at(step, run.model(step) if step else config.build_model(), data, found) for step in track(steps, "checkpoint")
    ]
    tables = [pd.concat(parts, ignore_index=True) for parts in zip(*rows, strict=True)]
    return Dynamics(list(steps), *tables)


def _at(step: int, model: LanguageModel, data: ProbeData, on: Comparison) -> list[pd.DataFrame]:
    found = on.of({"model": model})
    probed = [variance_explained(data, part).assign(layer=layer) for layer, part in enumerate(data.residual(model))]
    tables = [
        summary(found)[["excess_loss", "low", "high"]],
        by_position(found).drop(columns=["model", "tokens"]),
        pd.concat(probed),
        mixing_by_lag(token_mixing(model, found.tokens)),
    ]
    return [table.assign(step=step) for table in tables]
