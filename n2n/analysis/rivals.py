"""Which simple predictor does a learner behave like? Distances between losses, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from n2n.difficulty.context_ngrams import own_ngram_nll
from n2n.oracle.in_context import in_context_nll
from n2n.oracle.told import told_nll
from n2n.process.process import Process, Split
from n2n.utils.arrays import reals
from n2n.utils.statistics import mean_and_error, mean_interval, student_quantile
from n2n.utils.strict import as_integer

TOLD, IN_CONTEXT, UNIGRAM, BIGRAM, UNIFORM = (
    "told oracle",
    "in-context oracle",
    "in-context unigram",
    "in-context bigram",
    "uniform",
)
_DIGITS = 10  # decimals of a mean squared difference, in nats squared, that are more than rounding errors


@dataclass(frozen=True, eq=False)
class Rivals:
    """Losses of predictors with which a learner is compared on the same tokens.

    The distance of a learner from a rival is the root mean square of the differences of their losses, nats per token.
    Two predictors may have the same mean loss and yet be far apart; a distance of 0 means equal predictions.

    Intervals are 95%, over sequences, by Student's t for the logarithm of a distance (linearised). Squared differences
    are skewed: in simulations the interval of all positions together covers 94% or more from 16 sequences on. That of
    one position needs several hundred sequences if the losses seldom differ there.

    Args:
        losses: ``-log P(x_t | ..)`` by rival, ``(sequences, T - 1)``, nats.

    Raises:
        ValueError: no rival, losses of different shapes, fewer than 2 sequences, or a loss that is not finite.
    """

    losses: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if not self.losses:
            raise ValueError("losses: saw no rival; at least one is needed, such as those of rival_losses")
        shapes = {name: np.shape(nll) for name, nll in self.losses.items()}
        first = next(iter(shapes.values()))
        object.__setattr__(self, "losses", {name: _checked(name, nll, first) for name, nll in self.losses.items()})

    @classmethod
    def of(cls, process: Process, tokens: ArrayLike, sequences: ArrayLike, *, split: Split = "train") -> Rivals:
        """The rivals of ``rival_losses``."""
        return cls(rival_losses(process, tokens, sequences, split=split))

    def distances(self, nll: ArrayLike) -> pd.DataFrame:
        """Distance of a learner's losses ``(sequences, T - 1)`` from each rival, over all positions.

        Returns:
            a row for each ``rival``: ``distance``, with the ends ``low`` and ``high`` of its interval.
        """
        rows = [{"rival": name, **_distance(part.mean(1))} for name, part in self._squares(nll).items()]
        return pd.DataFrame(rows)

    def distances_by_position(self, nll: ArrayLike) -> pd.DataFrame:
        """The same at each ``position`` t = 1 .. T - 1 of the predicted token."""
        tables = [_at_positions(_distance(part)).assign(rival=name) for name, part in self._squares(nll).items()]
        return pd.concat(tables, ignore_index=True)

    def nearest(self, nll: ArrayLike) -> pd.DataFrame:
        """The rival at the smallest distance over all positions: a table of one row.

        Returns:
            ``nearest``; ``runner_up``, the second nearest; ``ratio``, the distance from the second over that from the
            nearest; and ``clear``, whether the mean squared difference from every other rival is larger by more than
            the half-width of a 95% interval (Student's t, paired over sequences). A rival that is no nearer than
            another one is called the clearly nearest in 2.5% of samples at most. Of rivals whose losses are equal up
            to rounding, such as the in-context oracle of a Markov chain and the in-context bigram, the first one given
            is the nearest, and it is not clear.

        Raises:
            ValueError: as for ``distances``, or only one rival.
        """
        return pd.DataFrame([self._nearest({name: part.mean(1) for name, part in self._squares(nll).items()})])

    def nearest_by_position(self, nll: ArrayLike) -> pd.DataFrame:
        """The same at each ``position`` t = 1 .. T - 1 of the predicted token, a row for each."""
        squares = self._squares(nll)
        positions = range(next(iter(squares.values())).shape[1])
        rows = [
            {"position": t + 1, **self._nearest({name: part[:, t] for name, part in squares.items()})}
            for t in positions
        ]
        return pd.DataFrame(rows)

    def _squares(self, nll: ArrayLike) -> dict[str, np.ndarray]:
        nll = _checked("nll", nll, next(iter(self.losses.values())).shape)
        return {name: (nll - losses) ** 2 for name, losses in self.losses.items()}

    @staticmethod
    def _nearest(squares: Mapping[str, np.ndarray]) -> dict:
        """The columns of ``nearest`` from mean squared differences of each sequence, ``(sequences,)`` by rival."""
        if len(squares) < 2:
            raise ValueError(f"saw the only rival {next(iter(squares))}; the nearest one needs at least 2")
        first, second, *others = sorted(squares, key=lambda name: round(squares[name].mean(), _DIGITS))
        gaps = [mean_interval(squares[name] - squares[first]).low for name in (second, *others)]
        near, far = (float(np.sqrt(squares[name].mean())) for name in (first, second))
        ratio = far / near if near else np.inf if far else 1.0
        return {"nearest": first, "runner_up": second, "ratio": ratio, "clear": bool(min(gaps) > 10.0**-_DIGITS)}


def rival_losses(
    process: Process, tokens: ArrayLike, sequences: ArrayLike, *, split: Split = "train", alpha: float = 1.0
) -> dict[str, np.ndarray]:
    """Losses of the predictors that a learner of this process may behave like, by name.

    - "told oracle": knows the kernels of each sequence (``n2n.told_nll``); no learner has a lower mean loss.
    - "in-context oracle": must learn the kernels from the sequence (``n2n.in_context_nll``); only if there are any.
    - "in-context unigram" and "in-context bigram": count the sequence's own tokens (``n2n.context_ngram_nll``).
    - "uniform": log V for each token.

    Args:
        process: the process that drew the tokens.
        tokens: ``(sequences, T)`` integers, T at least 2.
        sequences: ``(sequences,)`` integers, the index of each sequence within its split.
        split: the split that the sequences belong to.
        alpha: pseudo-counts of the in-context n-grams.

    Returns:
        float64, ``(sequences, T - 1)`` each, nats.

    Raises:
        ValueError: as those functions.
    """
    vocab_size = process.graph.vocab_size
    losses = {TOLD: told_nll(process, tokens, sequences, split=split).numpy()}
    if process.graph.context_nodes:
        losses[IN_CONTEXT] = in_context_nll(process, tokens).nll.numpy()
    for name, order in ((UNIGRAM, 1), (BIGRAM, 2)):
        losses[name] = own_ngram_nll(process, np.asarray(tokens), order, alpha)
    return {**losses, UNIFORM: np.full(losses[TOLD].shape, np.log(vocab_size))}


def loss_by_position(losses: Mapping[str, ArrayLike], max_positions: int | None = None) -> pd.DataFrame:
    """Mean losses at each position t = 1 .. T - 1 of the predicted token, or at groups of positions.

    Args:
        losses: of learners or rivals by name, ``(sequences, T - 1)`` each, nats; or differences of losses.
        max_positions: average neighbours so that at most so many positions remain; groups grow with t, in proportion to
            it. None averages none.

    Returns:
        a row for each ``predictor`` and ``position``, the mean position of a group: ``loss``, nats per token, with the
        ends ``low`` and ``high`` of its 95% interval over sequences.

    Raises:
        ValueError: as ``Rivals``, or ``max_positions`` is not a whole number from 1.
    """
    checked, tables = Rivals(losses).losses, []
    count = next(iter(checked.values())).shape[1]
    groups = _groups(count, count if max_positions is None else as_integer("max_positions", max_positions, 1))
    for name, nll in checked.items():
        mean, _, low, high = mean_interval(np.stack([nll[:, group].mean(1) for group in groups], axis=1))
        positions = [float(group.mean()) + 1 for group in groups]
        tables.append(pd.DataFrame({"position": positions, "loss": mean, "low": low, "high": high, "predictor": name}))
    return pd.concat(tables, ignore_index=True)


def _groups(count: int, most: int) -> list[np.ndarray]:
    """At most so many groups of neighbours among ``count`` positions, evenly spaced on a logarithmic axis."""
    if most >= count:
        return [np.array([position]) for position in range(count)]
    edges = np.unique(np.geomspace(1, count + 1, most + 1).round().astype(int)) - 1
    return [np.arange(first, end) for first, end in pairwise(edges)]


def _distance(squares: np.ndarray) -> dict[str, np.ndarray]:
    """Root of the mean of ``squares (sequences, ..)`` over sequences, and the ends of its interval."""
    mean, error = mean_and_error(squares)
    relative = np.divide(error, mean, out=np.zeros_like(error), where=mean > 0)
    half = student_quantile(len(squares) - 1) * relative / 2
    distance = np.sqrt(mean)
    return {"distance": distance, "low": distance * np.exp(-half), "high": distance * np.exp(half)}


def _at_positions(columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame({"position": np.arange(1, len(next(iter(columns.values()))) + 1), **columns})


def _checked(what: str, nll: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    nll = reals(nll, what).astype(np.float64)
    if nll.ndim != 2 or nll.shape != shape or len(nll) < 2:
        wanted = f"{shape}, as the others have," if len(shape) == 2 and shape[0] > 1 else "(sequences, T - 1)"
        raise ValueError(f"{what}: saw losses of shape {nll.shape}; {wanted} with at least 2 sequences is needed")
    if not np.isfinite(nll).all():
        raise ValueError(f"{what}: saw a loss that is not finite; sequences of the process itself have none")
    return nll
