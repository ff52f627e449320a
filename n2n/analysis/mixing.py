"""What a model mixes at each position, beside the exact influence of the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from n2n.analysis.batched import check_vocabulary, run_in_batches
from n2n.graph.graph import Graph
from n2n.models.lm import LanguageModel
from n2n.oracle.influence import token_influence
from n2n.process.process import Process
from n2n.utils.strict import as_integer

SPLIT = "test"
PART = 16  # sequences inspected at once


@dataclass(frozen=True, eq=False)
class MixingResult:
    """Sequences, what a model mixes on them, and what their tokens tell.

    Attributes:
        graph: that the sequences come from.
        tokens: ``(batch, T)``.
        latents: ``{name: (batch, T)}``, their true paths.
        mixing: ``(batch, layers, heads, T - 1, T - 1)``, [query, key]; see ``token_mixing``.
        influence: ``(batch, T - 1, T - 1)``, nats; see ``n2n.token_influence``.
    """

    graph: Graph
    tokens: np.ndarray
    latents: dict[str, np.ndarray]
    mixing: np.ndarray
    influence: np.ndarray

    @cached_property
    def signed(self) -> bool:
        """Whether the mixing has entries under 0."""
        return bool((self.mixing < 0).any())

    def place(self, sequence: int, query: int | None) -> tuple[int, int]:
        """A sequence and a query, None being the last one; or a ``ValueError`` if there is no such one."""
        count, last = len(self.tokens), self.influence.shape[1] - 1
        return as_integer("sequence", sequence, 0, count - 1), as_integer(
            "query", last if query is None else query, 0, last
        )

    def weights(self, sequence: int, layer: int | None, head: int | None) -> np.ndarray:
        """One head's mixing on one sequence, ``(T - 1, T - 1)``; None is the mean of absolute values over all.

        Layers are the model's blocks, counted from 1; heads are counted from 0.

        Raises:
            ValueError: no such sequence, layer or head.
        """
        chosen, (layers, heads) = self.mixing[self.place(sequence, None)[0]], self.mixing.shape[1:3]
        if layer is not None:
            chosen = chosen[[as_integer("layer", layer, 1, layers) - 1]]
        if head is not None:
            chosen = chosen[:, [as_integer("head", head, 0, heads - 1)]]
        return chosen[0, 0] if layer is not None and head is not None else np.abs(chosen).mean((0, 1))


def token_mixing(model: LanguageModel, tokens: ArrayLike) -> np.ndarray:
    """How a model mixes the tokens that it predicts from: ``(batch, layers, heads, T - 1, T - 1)``, [query, key].

    ``model.inspect(tokens[:, :-1]).mixing``, a few sequences at a time; what it is of each architecture is told by
    ``n2n.models.inspection.Inspection``. It tells what a layer moves between positions, not what is in them: above the
    first layer a position holds more than its own token.

    Args:
        model: on any device.
        tokens: ``(batch, T)`` integers, T at least 2.

    Raises:
        ValueError: tokens of another shape or type, or what ``model.inspect`` refuses.
    """
    return run_in_batches(model, tokens, lambda some: model.inspect(some[:, :-1], residual=False).mixing, PART)


def measure_mixing(process: Process, model: LanguageModel, sequences: int, length: int) -> MixingResult:
    """A model on the first held-out sequences of a process, of the split ``test``.

    Raises:
        ValueError: numbers out of range, a model of another vocabulary, or one that does not say how it mixes tokens.
    """
    as_integer("sequences", sequences, 2)
    as_integer("length", length, 2)
    check_vocabulary(model, process)
    sample = process.sample(sequences, length=length, split=SPLIT)
    mixing = token_mixing(model, sample.tokens)
    return MixingResult(
        process.graph, sample.tokens, sample.latents, mixing, token_influence(process, sample.tokens).numpy()
    )
