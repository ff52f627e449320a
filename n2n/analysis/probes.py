"""Linear probes: is a latent's belief written in a learner's residual stream, and is it more than a control gives?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from n2n.analysis.batched import run_in_batches
from n2n.analysis.probe_fits import Parts, classify, divergence, explained, regress
from n2n.models.lm import LanguageModel
from n2n.oracle.filtering import filter
from n2n.oracle.mean_field import mean_field
from n2n.process.process import Process, Split
from n2n.utils.progress import track
from n2n.utils.strict import as_integer

FITTED, JUDGED = "valid", "test"  # splits that probes are fitted on and judged on
CONSTANT = "constant"  # the source that knows nothing
_LEAST = 1e-6  # beliefs enter logarithms as at least this much


@dataclass(frozen=True)
class ProbeData:
    """Sequences of a process with the oracle's beliefs, which probes are to find.

    Positions ``first`` to ``length - 1`` count. ``first`` is 0, or 1 where the process starts in one known state
    (``initial="zero"``), so that the belief at position 0 is the same in every sequence.

    Args:
        process: the truth.
        sequences: how many of each of the splits ``valid`` (fitted on) and ``test`` (judged on), at least 2.
        length: tokens that are read of each, at least 2.

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
            raise ValueError("process: saw no latents, so there is no belief for a probe to find")

    @cached_property
    def tokens(self) -> Parts:
        """``(sequences, length)``, int64, of both splits."""
        return Parts(self._drawn(FITTED), self._drawn(JUDGED))

    @property
    def first(self) -> int:
        """The first position that counts."""
        return 1 if self.process.graph.initial == "zero" else 0

    @cached_property
    def beliefs(self) -> dict[str, Parts]:
        """P(z_t | x_<=t) of each latent, ``(sequences, length - first, n)``.

        The latent of a classic process, whose states are pairs, is summed to the process's own states.
        """
        fitted, judged = (filter(self.process, part, beliefs=True).beliefs for part in self.tokens)
        sums = {name: np.eye(max(own) + 1)[own] for name, own in self.process.own_states.items()}
        return {
            name: Parts(*(part[name][:, self.first :].numpy() @ s for part in (fitted, judged)))
            for name, s in sums.items()
        }

    def residual(self, model: LanguageModel) -> list[Parts]:
        """The residual stream before each block and after the last, each ``(sequences, length - first, dim)``."""
        fitted, judged = (_stream(model, part)[:, :, self.first :] for part in self.tokens)
        return [Parts(fitted[:, layer], judged[:, layer]) for layer in range(fitted.shape[1])]

    def last_tokens(self, last: int) -> Parts:
        """An indicator for each of the ``last`` tokens and each symbol; all are 0 before the start.

        Raises:
            ValueError: fewer than 1 token or more than ``length``.
        """
        last, vocab_size = as_integer("last", last, 1, self.length), self.process.graph.vocab_size
        return Parts(*(_indicators(part, last, vocab_size)[:, self.first :] for part in self.tokens))

    def mean_field(self) -> Parts:
        """Beliefs about all latents of the filter that takes them for independent, and their logarithms."""
        return Parts(*(_of_mean_field(self.process, part)[:, self.first :] for part in self.tokens))

    def _drawn(self, split: Split) -> np.ndarray:
        drawn = self.process.sample(self.sequences, length=self.length, split=split, latents=False)
        return drawn.tokens.astype(np.int64)


def probe(data: ProbeData, sources: Mapping[str, Parts | list[Parts]]) -> pd.DataFrame:
    """Linear probes from each source of features onto each latent's belief.

    R^2 is of least squares onto the belief's values; KL, in nats, is from the belief to a softmax of a linear map that
    was fitted to it.

    Args:
        data: what is to be found.
        sources: features by name, of one layer or of several.

    Returns:
        a row for each source, layer (0: the embedding, l: the stream after block l; none of a single one) and latent:
        ``r2``, ``kl``, each with the ends ``_low`` and ``_high`` of a 95% interval over judged sequences. The source
        "constant" always predicts the mean belief.
    """
    constant = Parts(*(np.zeros((*part[:, data.first :].shape, 1)) for part in data.tokens))
    rows = []
    for source, given in track({**sources, CONSTANT: constant}.items(), "source"):
        for layer, features in enumerate(given) if isinstance(given, list) else [(None, given)]:
            rows += [{"source": source, "layer": layer, **found} for found in _probed(data, features)]
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def regressed(data: ProbeData, features: Parts) -> dict[str, np.ndarray]:
    """Each latent's belief on the judged sequences as least squares gives it, ``(sequences, length - first, n)``."""
    sizes = [part.judged.shape[-1] for part in data.beliefs.values()]
    together = Parts(*(np.concatenate(parts, -1) for parts in zip(*data.beliefs.values(), strict=True)))
    found = np.split(regress(features, together), np.cumsum(sizes)[:-1], axis=-1)
    return dict(zip(data.beliefs, found, strict=True))


def variance_explained(data: ProbeData, features: Parts) -> pd.DataFrame:
    """R^2 of least squares onto each latent's belief, a row for each: ``latent``, ``r2``, ``r2_low``, ``r2_high``."""
    values = regressed(data, features)
    found = {name: explained(values[name], part) for name, part in data.beliefs.items()}
    return pd.DataFrame([{"latent": name, **_columns("r2", interval)} for name, interval in found.items()])


def simplex(data: ProbeData, features: Parts, most: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Beliefs about three states, and what least squares makes of the features: ``(points, 3)`` of both.

    Args:
        data: of a process that has a latent of three states; the first one counts.
        features: of one layer.
        most: points, spread evenly over the judged sequences.

    Raises:
        ValueError: a process without such a latent.
    """
    sizes = {name: part.judged.shape[-1] for name, part in data.beliefs.items()}
    name = next((name for name, size in sizes.items() if size == 3), None)
    if name is None:
        raise ValueError(f"process: saw latents of {sizes} states; the belief simplex needs one of 3")
    belief, image = (values.reshape(-1, 3) for values in (data.beliefs[name].judged, regressed(data, features)[name]))
    some = np.linspace(0, len(belief) - 1, min(most, len(belief))).astype(int)
    return belief[some], image[some]


def _probed(data: ProbeData, features: Parts) -> list[dict]:
    laws = classify(features, data.beliefs)
    rows = variance_explained(data, features).to_dict("records")
    return [
        {**row, **_columns("kl", divergence(laws[name], part.judged))}
        for row, (name, part) in zip(rows, data.beliefs.items(), strict=True)
    ]


def _columns(name: str, interval: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))


def _stream(model: LanguageModel, tokens: np.ndarray) -> np.ndarray:
    """``(sequences, layers + 1, length, dim)``, float32."""
    return run_in_batches(model, tokens, lambda part: model.inspect(part, mixing=False).residual.float())


def _indicators(tokens: np.ndarray, count: int, vocab_size: int) -> np.ndarray:
    padded = np.pad(tokens, ((0, 0), (count - 1, 0)), constant_values=vocab_size)
    windows = np.lib.stride_tricks.sliding_window_view(padded, count, axis=1)  # (sequences, length, count)
    return np.eye(vocab_size + 1, vocab_size, dtype=np.float32)[windows].reshape(*windows.shape[:2], -1)


def _of_mean_field(process: Process, tokens: np.ndarray) -> np.ndarray:
    beliefs = np.concatenate([law.numpy() for law in mean_field(process, tokens).beliefs.values()], -1)
    return np.concatenate([beliefs, np.log(np.maximum(beliefs, _LEAST))], -1)
