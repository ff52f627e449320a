"""Configuration of the notebook about learning in context."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from n2n import models
from n2n.config.fields import GraphOrName
from n2n.config.limits import MAX_BYTES
from n2n.config.train_config import TrainConfig
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.notebook.examples import Sequences
from n2n.utils.configuration import Configuration
from n2n.utils.strict import Count, NonNegativeInt, Ordered, Positive, Refused, Seed, SeveralErrors, short_repr

# The simplest task in context: a Markov chain whose transitions are redrawn for every sequence.
CHAIN = Graph(
    name="chain in context",
    initial="uniform",
    nodes=(Node(name="X", num_states=3, observed=True, recurrent=True, mode="context"),),
)
# Fields of a TrainConfig that are not a learner's to choose.
_SHARED = {"graph", "tables", "data", "seq_len", "process_seed", "eval_sequences", "checkpoint_every", "run_dir"}


def _or_chain(graph: object) -> object:
    return CHAIN if graph is None else graph


def _or_architectures(learners: object) -> object:
    return {arch: {"arch": arch} for arch in models.names()} if learners is None else learners


def _check_in_context(graph: Graph) -> Graph:
    if not graph.context_nodes:
        raise ValueError("saw no node in mode 'context', so there is nothing to learn in context")
    if graph.pool is not None:
        raise ValueError(f"saw a pool of {graph.pool}; the parameter pools has the pools, and this graph none")
    return graph


def _check_names(learners: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, fields in learners.items():
        if taken := sorted(fields.keys() & _SHARED):
            raise ValueError(f"{name}: saw {short_repr(taken)}, which all learners share")
    return learners


Learners = Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


class InContextConfig(Configuration):
    """A task that must be learned in context, and the learners that ``notebooks/in_context.ipynb`` compares.

    Args:
        graph: a graph with nodes in mode ``"context"``, or its fields (None: an observed Markov chain of three states
            whose transitions are drawn from Dirichlet(1) for each sequence).
        learners: fields of ``n2n.TrainConfig`` that a learner does not share with the others, by the learner's name
            (None: every architecture, by its own name).
        dim, layers, heads, seq_len, batch_size, steps, lr, seed, process_seed: as for ``n2n.TrainConfig``; those of all
            learners that do not set their own.
        pools: numbers of kernel sets in the pools on which the first learner is trained, too, from few to many. The
            unlimited one is added.
        checkpoints: number of checkpoints of each run.
        sequences: number of held-out sequences.
        scored: number of held-out sequences on which the mixing of heads is scored.
        sequence: index of the held-out sequence whose mixing is drawn.
        shown: number of its tokens, from the first one.

    Raises:
        ValueError: one line for each wrong field: a graph that redraws nothing or has a pool, a learner that
            ``n2n.TrainConfig`` refuses, a pool that is listed twice, a sequence or a number of tokens out of range.
    """

    positional: ClassVar[tuple[str, ...]] = ("graph",)

    graph: Annotated[GraphOrName, BeforeValidator(_or_chain), AfterValidator(_check_in_context)] = CHAIN
    learners: Annotated[Learners, BeforeValidator(_or_architectures), AfterValidator(_check_names)] = Field(
        default=None, validate_default=True
    )
    dim: Count = 32
    layers: Count = 2
    heads: Count = 2
    seq_len: Annotated[Count, Field(ge=4)] = 64
    batch_size: Count = 32
    steps: Count = 320
    lr: Positive = 0.005
    seed: Seed = 0
    process_seed: Seed = 0
    pools: Ordered[Annotated[Count, Field(le=2**16)]] = (1, 4, 16, 64)
    checkpoints: Annotated[Count, Field(ge=2)] = 8
    sequences: Sequences = 256
    scored: Sequences = 64
    sequence: NonNegativeInt = 3
    shown: Annotated[Count, Field(ge=2)] = 16

    @model_validator(mode="after")
    def _check_together(self) -> InContextConfig:
        errors = []
        if len(set(self.pools)) < len(self.pools):
            errors.append(f"pools: saw {short_repr(list(self.pools))}; no number may appear twice")
        if self.sequence >= self.sequences:
            errors.append(f"sequence: saw {self.sequence}; there are {self.sequences}, from 0")
        size = 4 * self.scored * self.layers * self.heads * self.seq_len**2  # bytes in float32
        if size > MAX_BYTES:
            errors.append(f"scored: saw {self.scored}, whose mixing takes {size / 2**30:,.0f} GiB of memory")
        if self.shown >= self.seq_len:
            errors.append(f"shown: saw {self.shown}; only {self.seq_len - 1} tokens precede the last one")
        for name in self.learners:
            try:
                self._train_config(name, None)
            except Refused as error:
                errors += [f"learners: {name}: {message}" for _, message in error.wrong]
        if errors:
            raise SeveralErrors(*errors)
        return self

    @cached_property
    def runs(self) -> dict[str, TrainConfig]:
        """The configuration of each learner's run."""
        return {name: self._train_config(name, None) for name in self.learners}

    @cached_property
    def pool_runs(self) -> dict[str, TrainConfig]:
        """The configurations of the first learner's runs on each pool, by its size; the last one is unlimited."""
        first = next(iter(self.learners))
        limited = {str(pool): self._train_config(first, pool) for pool in self.pools}
        return {**limited, "unlimited": self.runs[first]}

    def _train_config(self, learner: str, pool: int | None) -> TrainConfig:
        shared = ("dim", "layers", "heads", "seq_len", "batch_size", "steps", "lr", "seed", "process_seed")
        fields = {**{name: getattr(self, name) for name in shared}, **self.learners[learner]}
        graph = self.graph.model_copy(update={"pool": pool})
        config = TrainConfig(graph=graph, eval_sequences=self.sequences, **fields)
        return config.model_copy(update={"checkpoint_every": max(1, config.steps // self.checkpoints)})
