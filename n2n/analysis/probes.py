"""Linear probes: is a latent's belief linear in a model's residual stream, and how do control features compare?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from n2n.analysis.batched import run_in_batches
from n2n.analysis.held_out import HeldOut
from n2n.analysis.probe_fits import Interval, Parts, classify, divergence, explained, regress
from n2n.models.lm import LanguageModel
from n2n.oracle.mean_field import mean_field
from n2n.process.process import Process
from n2n.utils.progress import track
from n2n.utils.strict import as_integer

CONSTANT = "constant"  # the source without information
_MIN_BELIEF = 1e-6  # beliefs are raised to this before their logarithm is taken


@dataclass(frozen=True)
class ProbeData:
    """Held-out sequences with the oracle's beliefs, the targets of probes.

    Probes use positions ``first`` to ``length - 1``. ``first`` is 1 if the process starts in one known state
    (``initial="zero"``), because the belief at position 0 is then the same in every sequence; otherwise it is 0.

    Args:
        process: the process that generates the sequences.
        sequences: number of sequences of the split ``valid`` (probes are fitted on them) and of ``test`` (probes are
            judged on them), at least 2.
        length: tokens in each sequence, at least 2.

    Raises:
        ValueError: a number that is not whole or too small, or a process without latents.
    """

    process: Process
    sequences: int
    length: int

    def __post_init__(self) -> None:
        as_integer("sequences", self.sequences, 2)
        as_integer("length", self.length, 2)
        if not self.process.graph.latents:
            raise ValueError("process: saw no latents, so there is no belief to probe")

    @cached_property
    def data(self) -> tuple[HeldOut, HeldOut]:
        """The sequences that probes are fitted on, and those that they are judged on."""
        fitted, judged = (HeldOut(self.process, self.sequences, self.length, split) for split in ("valid", "test"))
        return fitted, judged

    @property
    def tokens(self) -> Parts:
        """``(sequences, length)``, int64, of both splits."""
        return Parts(*(data.tokens for data in self.data))

    @property
    def first(self) -> int:
        """The first position that probes use."""
        return 1 if self.process.graph.initial == "zero" else 0

    @property
    def beliefs(self) -> dict[str, Parts]:
        """P(z_t | x_<=t) of each latent, ``(sequences, length - first, n)``; for a classic process, its own states."""
        fitted, judged = (data.beliefs for data in self.data)
        return {name: Parts(fitted[name][:, self.first :], judged[name][:, self.first :]) for name in judged}

    def residual(self, model: LanguageModel) -> list[Parts]:
        """The residual stream before each block and after the last, each ``(sequences, length - first, dim)``."""
        fitted, judged = (_stream(model, tokens)[:, :, self.first :] for tokens in self.tokens)
        return [Parts(fitted[:, layer], judged[:, layer]) for layer in range(fitted.shape[1])]

    def last_tokens(self, count: int) -> Parts:
        """One indicator for each of the last ``count`` tokens and each symbol; all are 0 before the first token.

        Raises:
            ValueError: fewer than 1 token or more than ``length``.
        """
        count, vocab_size = as_integer("count", count, 1, self.length), self.process.graph.vocab_size
        return Parts(*(_indicators(tokens, count, vocab_size)[:, self.first :] for tokens in self.tokens))

    def mean_field(self) -> Parts:
        """Beliefs of the filter that treats latents as independent, and their logarithms, of all latents together."""
        return Parts(*(_mean_field_features(self.process, tokens)[:, self.first :] for tokens in self.tokens))


def probe(data: ProbeData, sources: Mapping[str, Parts | list[Parts]]) -> pd.DataFrame:
    """Linear probes from each source of features to each latent's belief.

    R^2 is that of least squares onto the belief. KL, in nats, is from the belief to a softmax of a linear map that is
    fitted to it.

    Args:
        data: sequences and beliefs.
        sources: features by name, of one layer or of several.

    Returns:
        a row for each source, layer (0: the embedding, l: the stream after block l; missing for a source of one layer)
        and latent: ``r2`` and ``kl``, with the ends ``_low`` and ``_high`` of their 95% intervals over judged
        sequences. The source "constant" always predicts the mean belief.
    """
    constant = Parts(*(np.zeros((*tokens[:, data.first :].shape, 1)) for tokens in data.tokens))
    rows = []
    for source, features in track({**sources, CONSTANT: constant}.items(), "source"):
        for layer, part in enumerate(features) if isinstance(features, list) else [(None, features)]:
            rows += [{"source": source, "layer": layer, **row} for row in _probe_rows(data, part)]
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def regressed(data: ProbeData, features: Parts) -> dict[str, np.ndarray]:
    """Least-squares prediction of each latent's belief on the judged sequences, ``(sequences, length - first, n)``."""
    sizes = [part.judged.shape[-1] for part in data.beliefs.values()]
    together = Parts(*(np.concatenate(parts, -1) for parts in zip(*data.beliefs.values(), strict=True)))
    predicted = np.split(regress(features, together), np.cumsum(sizes)[:-1], axis=-1)
    return dict(zip(data.beliefs, predicted, strict=True))


def variance_explained(data: ProbeData, features: Parts) -> pd.DataFrame:
    """R^2 of least squares onto each latent's belief, a row for each: ``latent``, ``r2``, ``r2_low``, ``r2_high``."""
    predicted = regressed(data, features)
    rows = [{"latent": name, **_columns("r2", explained(predicted[name], part))} for name, part in data.beliefs.items()]
    return pd.DataFrame(rows)


def simplex(data: ProbeData, features: Parts, max_points: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Beliefs about a latent of three states and their least-squares predictions, ``(points, 3)`` each.

    Args:
        data: sequences and beliefs; of several latents of three states, the first one is used.
        features: features of one layer.
        max_points: number of points at most, evenly spaced over the judged sequences.

    Raises:
        ValueError: a process without such a latent.
    """
    sizes = {name: part.judged.shape[-1] for name, part in data.beliefs.items()}
    name = next((name for name, size in sizes.items() if size == 3), None)
    if name is None:
        raise ValueError(f"process: saw latents of {sizes} states; the belief simplex needs one of 3")
    belief, image = (values.reshape(-1, 3) for values in (data.beliefs[name].judged, regressed(data, features)[name]))
    points = np.linspace(0, len(belief) - 1, min(max_points, len(belief))).astype(int)
    return belief[points], image[points]


def _probe_rows(data: ProbeData, features: Parts) -> list[dict]:
    predicted = classify(features, data.beliefs)
    rows = variance_explained(data, features).to_dict("records")
    return [
        {**row, **_columns("kl", divergence(predicted[name], part.judged))}
        for row, (name, part) in zip(rows, data.beliefs.items(), strict=True)
    ]


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _stream(model: LanguageModel, tokens: np.ndarray) -> np.ndarray:
    """``(sequences, layers + 1, length, dim)``, float32."""
    return run_in_batches(model, tokens, lambda batch: model.inspect(batch, mixing=False).residual.float())


def _indicators(tokens: np.ndarray, count: int, vocab_size: int) -> np.ndarray:
    padded = np.pad(tokens, ((0, 0), (count - 1, 0)), constant_values=vocab_size)
    windows = np.lib.stride_tricks.sliding_window_view(padded, count, axis=1)  # (sequences, length, count)
    return np.eye(vocab_size + 1, vocab_size, dtype=np.float32)[windows].reshape(*windows.shape[:2], -1)


def _mean_field_features(process: Process, tokens: np.ndarray) -> np.ndarray:
    beliefs = np.concatenate([law.numpy() for law in mean_field(process, tokens).beliefs.values()], -1)
    return np.concatenate([beliefs, np.log(np.maximum(beliefs, _MIN_BELIEF))], -1)
