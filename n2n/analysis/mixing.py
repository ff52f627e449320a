"""Token mixing of a model and the exact influence of the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from n2n.analysis.batched import check_vocabulary, run_in_batches
from n2n.analysis.held_out import HeldOut
from n2n.graph.graph import Graph
from n2n.models.lm import LanguageModel
from n2n.oracle.influence import token_influence
from n2n.process.process import Process
from n2n.utils.strict import as_integer

BATCH_SIZE = 16  # sequences in one call of model.inspect


@dataclass(frozen=True, eq=False)
class MixingResult:
    """Sequences, a model's mixing on them, and the exact influence of their tokens.

    Attributes:
        graph: the graph of the process.
        tokens: ``(batch, T)``.
        latents: ``{name: (batch, T)}``, the true paths.
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
        """Whether the mixing has negative entries."""
        return bool((self.mixing < 0).any())

    def place(self, sequence: int, query: int | None) -> tuple[int, int]:
        """A sequence and a query (None: the last one).

        Raises:
            ValueError: no such sequence or query.
        """
        count, last = len(self.tokens), self.influence.shape[1] - 1
        query = last if query is None else query
        return as_integer("sequence", sequence, 0, count - 1), as_integer("query", query, 0, last)

    def weights(self, sequence: int, layer: int | None, head: int | None) -> np.ndarray:
        """Mixing of one head on one sequence, ``(T - 1, T - 1)``. None: the mean of absolute values over all of them.

        Layers are the model's blocks, counted from 1; heads are counted from 0.

        Raises:
            ValueError: no such sequence, layer or head.
        """
        mixing, (layers, heads) = self.mixing[self.place(sequence, None)[0]], self.mixing.shape[1:3]
        if layer is not None:
            mixing = mixing[[as_integer("layer", layer, 1, layers) - 1]]
        if head is not None:
            mixing = mixing[:, [as_integer("head", head, 0, heads - 1)]]
        return mixing[0, 0] if layer is not None and head is not None else np.abs(mixing).mean((0, 1))


def token_mixing(model: LanguageModel, tokens: ArrayLike) -> np.ndarray:
    """How a model mixes the tokens that it predicts from: ``(batch, layers, heads, T - 1, T - 1)``, [query, key].

    This is ``model.inspect(tokens[:, :-1]).mixing``, a few sequences at a time; ``n2n.models.inspection.Inspection``
    defines it for each architecture. It is what a layer moves between positions, not the content of these positions:
    above the first layer a position holds more than its own token.

    Args:
        model: a model on any device.
        tokens: ``(batch, T)`` integers, T at least 2.

    Raises:
        ValueError: tokens of another shape or type, or tokens that ``model.inspect`` refuses.
    """
    return run_in_batches(model, tokens, lambda batch: model.inspect(batch[:, :-1], residual=False).mixing, BATCH_SIZE)


def measure_mixing(process: Process, model: LanguageModel, sequences: int, length: int) -> MixingResult:
    """Mixing of a model on the first sequences of a process's ``test`` split.

    Raises:
        ValueError: a number out of range, a model of another vocabulary, or one that does not report its mixing.
    """
    data = HeldOut(process, sequences, length)
    check_vocabulary(model, process)
    mixing, influence = token_mixing(model, data.tokens), token_influence(process, data.tokens).numpy()
    return MixingResult(process.graph, data.tokens, data.sample.latents, mixing, influence)
