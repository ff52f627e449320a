"""Families of graphs: their structure as plain data, and the constructors that ``Graph`` inherits."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np
from pydantic import Field, model_validator

from n2n.graph.node import Node
from n2n.graph.presets import ALPHA_X, ALPHA_Z, NodeSpec
from n2n.utils.strict import Count, NonNegative, Positive, Seed, Strict

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

MAX_LATENTS = 256  # a mistyped depth may request millions, which would exhaust memory before another check
Few = Annotated[Count, Field(le=MAX_LATENTS)]


class Options(TypedDict, total=False):
    """The fields that every ``Family`` has, except the two sizes."""

    alpha_z: float
    alpha_x: float
    kernel: str
    mode: str
    stickiness: float
    initial: str
    pool: int | None


class Family(Strict):
    """Base class of families: latents Z1, Z2, .. that differ only in their parents, and X."""

    num_states: Count = 4
    vocab_size: Count = 32
    alpha_z: Positive = ALPHA_Z
    alpha_x: Positive = ALPHA_X
    kernel: str = "full"
    mode: str = "default"
    stickiness: float = 0.0
    initial: str = "zero"
    pool: int | None = None

    @abstractmethod
    def parents(self) -> list[list[int]]:
        """Return the parents of each latent among the latents, as indices from 0."""

    def graph_fields(self) -> dict[str, Any]:
        """Return the fields of a ``Graph``, with each node as a mapping of plain fields.

        X sees the latents without children.
        """
        parents = self.parents()
        inner = {i for of_node in parents for i in of_node}
        latents = [self._latent(i, of_node) for i, of_node in enumerate(parents)]
        x = {"name": "X", "num_states": self.vocab_size, "alpha": self.alpha_x, "kernel": self.kernel}
        x |= {"observed": True, "parents": [_name(i) for i in range(len(parents)) if i not in inner]}
        return {"nodes": [*latents, x], "name": self._title(), "initial": self.initial, "pool": self.pool}

    def _latent(self, i: int, parents: list[int]) -> NodeSpec:
        own = {"name": _name(i), "num_states": self.num_states, "parents": [_name(j) for j in parents]}
        return own | {"alpha": self.alpha_z, "kernel": self.kernel, "mode": self.mode, "stickiness": self.stickiness}

    def _title(self) -> str:
        shape = [name for name in type(self).model_fields if name not in Family.model_fields]
        return "_".join([type(self).__name__.lower(), *(str(getattr(self, name)) for name in shape)])


class Independent(Family):
    """Latents that see only their own previous state."""

    chains: Few

    def parents(self) -> list[list[int]]:
        return [[] for _ in range(self.chains)]


class Chain(Family):
    """Each latent after the first sees the one before it."""

    length: Few

    def parents(self) -> list[list[int]]:
        return [[i - 1] if i else [] for i in range(self.length)]


class Tree(Family):
    """A rooted tree, numbered level by level; the leaves are ``depth`` edges away from the root."""

    depth: Few
    branching: Few

    @model_validator(mode="after")
    def _small(self) -> Tree:
        if self._size() > MAX_LATENTS:
            raise ValueError(
                f"depth {self.depth} and branching {self.branching} make more latents than the {MAX_LATENTS} allowed"
            )
        return self

    def _size(self) -> int:
        return sum(self.branching**level for level in range(self.depth + 1))

    def parents(self) -> list[list[int]]:
        return [[(i - 1) // self.branching] if i else [] for i in range(self._size())]


class Dag(Family):
    """Each latent sees each earlier latent with the same probability.

    Adding latents leaves the edges among the first ones unchanged.
    """

    nodes: Few
    probability: Annotated[NonNegative, Field(le=1)]
    seed: Seed

    def parents(self) -> list[list[int]]:
        # numpy guarantees the same raw words in all versions, but not the same numbers derived from them.
        words = np.random.Philox(self.seed).random_raw(self.nodes * (self.nodes - 1) // 2)
        edges = iter((words >> np.uint64(11)) * 2.0**-53 < self.probability)
        return [[j for j in range(i) if next(edges)] for i in range(self.nodes)]


def _name(i: int) -> str:
    return f"Z{i + 1}"


class Families:
    """One constructor for each family of graphs; ``Graph`` defines how a ``Family`` becomes a graph."""

    @classmethod
    def independent(cls, chains: int, num_states: int = 4, vocab_size: int = 32, **options: Unpack[Options]) -> Self:
        """Build a graph of latent chains that do not see one another; X sees all of them.

        Args:
            chains: number of chains.
            num_states: number of states of every latent.
            vocab_size: number of states of X.
            **options: ``alpha_z`` and ``alpha_x`` are the Dirichlet concentrations of the latents and of X. ``kernel``
                is the kernel type of every node. ``mode`` and ``stickiness`` apply to the latents, and ``initial`` and
                ``pool`` to the graph. All families accept these options.

        Raises:
            ValueError: if an option is invalid; the message names each such option.
        """
        return cls._of(Independent(chains=chains, num_states=num_states, vocab_size=vocab_size, **options))

    @classmethod
    def chain(cls, length: int, num_states: int = 4, vocab_size: int = 32, **options: Unpack[Options]) -> Self:
        """Build a chain of ``length`` latents, Z1 -> Z2 -> ..; X sees the last. See ``independent`` for the options."""
        return cls._of(Chain(length=length, num_states=num_states, vocab_size=vocab_size, **options))

    @classmethod
    def tree(
        cls, depth: int, branching: int, num_states: int = 4, vocab_size: int = 32, **options: Unpack[Options]
    ) -> Self:
        """Build a rooted tree of latents, with edges away from the root; X sees the leaves.

        Args:
            depth: number of edges from the root to a leaf; a tree of depth 1 is a root and its children.
            branching: number of children of every latent that is not a leaf.
            num_states: number of states of every latent.
            vocab_size: number of states of X.
            **options: see ``independent``.
        """
        shape = {"depth": depth, "branching": branching}
        return cls._of(Tree(**shape, num_states=num_states, vocab_size=vocab_size, **options))

    @classmethod
    def random_dag(
        cls,
        nodes: int,
        probability: float,
        seed: int,
        num_states: int = 4,
        vocab_size: int = 32,
        **options: Unpack[Options],
    ) -> Self:
        """Build a random directed acyclic graph of latents.

        X sees the latents that no other latent sees, so every latent affects X.

        Args:
            nodes: number of latents.
            probability: probability of the edge Zi -> Zj, for each i < j.
            seed: determines the edges; with the same seed, a larger ``nodes`` leaves the edges among the first latents
                unchanged.
            num_states: number of states of every latent.
            vocab_size: number of states of X.
            **options: see ``independent``.
        """
        shape = {"nodes": nodes, "probability": probability, "seed": seed}
        return cls._of(Dag(**shape, num_states=num_states, vocab_size=vocab_size, **options))

    @classmethod
    def _of(cls, family: Family) -> Self:
        """Build the graph of a family."""
        fields = family.graph_fields()
        return cls(**fields | {"nodes": tuple(Node(**spec) for spec in fields["nodes"])})
