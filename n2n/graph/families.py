"""Families of graphs: their structure as plain data, and the constructors that ``Graph`` inherits."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np
from pydantic import Field, model_validator

from n2n.graph.presets import ALPHA_X, ALPHA_Z, NodeSpec
from n2n.utils.strict import Count, NonNegative, Positive, Seed, Strict

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

MAX_LATENTS = 256  # a slip in a depth asks for millions, which would take the memory before anything refused them
Few = Annotated[Count, Field(le=MAX_LATENTS)]


class Options(TypedDict, total=False):
    """The fields that every ``Family`` has, but for the two sizes."""

    alpha_z: float
    alpha_x: float
    kernel: str
    mode: str
    stickiness: float
    initial: str


class Family(Strict):
    """Latents Z1, Z2, .. that are alike but for their parents, and X."""

    num_states: Count = 4
    vocab_size: Count = 32
    alpha_z: Positive = ALPHA_Z
    alpha_x: Positive = ALPHA_X
    kernel: str = "full"
    mode: str = "default"
    stickiness: float = 0.0
    initial: str = "zero"

    @abstractmethod
    def parents(self) -> list[list[int]]:
        """For each latent the latents that it sees, counted from 0."""

    def graph_fields(self) -> dict[str, Any]:
        """What a ``Graph`` is built from, each node as plain fields; X sees the latents without children."""
        parents = self.parents()
        inner = {i for seen in parents for i in seen}
        latents = [self._latent(i, seen) for i, seen in enumerate(parents)]
        x = {"name": "X", "num_states": self.vocab_size, "alpha": self.alpha_x, "kernel": self.kernel}
        x |= {"observed": True, "parents": [_name(i) for i in range(len(parents)) if i not in inner]}
        return {"nodes": [*latents, x], "name": self._title(), "initial": self.initial}

    def _latent(self, i: int, seen: list[int]) -> NodeSpec:
        own = {"name": _name(i), "num_states": self.num_states, "parents": [_name(j) for j in seen]}
        return own | {"alpha": self.alpha_z, "kernel": self.kernel, "mode": self.mode, "stickiness": self.stickiness}

    def _title(self) -> str:
        shape = [name for name in type(self).model_fields if name not in Family.model_fields]
        return "_".join([type(self).__name__.lower(), *(str(getattr(self, name)) for name in shape)])


class Independent(Family):
    """Latents that see only themselves."""

    chains: Few

    def parents(self) -> list[list[int]]:
        return [[] for _ in range(self.chains)]


class Chain(Family):
    """Each latent sees the one before it."""

    length: Few

    def parents(self) -> list[list[int]]:
        return [[i - 1] if i else [] for i in range(self.length)]


class Tree(Family):
    """A rooted tree, counted level by level; the leaves are ``depth`` edges away from the root."""

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
    """Each latent sees each earlier one with the same probability; more latents leave the first as they were."""

    nodes: Few
    probability: Annotated[NonNegative, Field(le=1)]
    seed: Seed

    def parents(self) -> list[list[int]]:
        # Raw words, because numpy keeps them alike in all versions, which it does not promise of what is made of them.
        words = np.random.Philox(self.seed).random_raw(self.nodes * (self.nodes - 1) // 2)
        drawn = iter((words >> np.uint64(11)) * 2.0**-53 < self.probability)
        return [[j for j in range(i) if next(drawn)] for i in range(self.nodes)]


def _name(i: int) -> str:
    return f"Z{i + 1}"


class Families:
    """A family of graphs a method; ``Graph`` says how one is made of a ``Family``."""

    @classmethod
    def independent(cls, chains: int, num_states: int = 4, vocab_size: int = 32, **options: Unpack[Options]) -> Self:
        """Latent chains that do not see one another, all seen by X.

        Args:
            chains: their number.
            num_states: of every latent.
            vocab_size: of X.
            **options: ``alpha_z`` and ``alpha_x``, the concentrations of the latents and of X; ``kernel``, of every
                node; ``mode`` and ``stickiness``, of the latents; ``initial``, of the graph. All families have them.

        Raises:
            ValueError: naming each option at fault.
        """
        return cls._of(Independent(chains=chains, num_states=num_states, vocab_size=vocab_size, **options))

    @classmethod
    def chain(cls, length: int, num_states: int = 4, vocab_size: int = 32, **options: Unpack[Options]) -> Self:
        """``length`` latents, Z1 -> Z2 -> .., of which X sees the last; for the options see ``independent``."""
        return cls._of(Chain(length=length, num_states=num_states, vocab_size=vocab_size, **options))

    @classmethod
    def tree(
        cls, depth: int, branching: int, num_states: int = 4, vocab_size: int = 32, **options: Unpack[Options]
    ) -> Self:
        """A rooted tree of latents, with edges away from the root; X sees the leaves.

        Args:
            depth: number of edges from the root to a leaf; 1 is a root and its children.
            branching: number of children of every latent that is no leaf.
            num_states: of every latent.
            vocab_size: of X.
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
        """A random graph of latents, in which X sees those that no latent sees, so that every latent matters.

        Args:
            nodes: number of latents.
            probability: of the edge Zi -> Zj, for each i < j.
            seed: decides the edges; with the same one, more nodes leave the edges among the first as they were.
            num_states: of every latent.
            vocab_size: of X.
            **options: see ``independent``.
        """
        shape = {"nodes": nodes, "probability": probability, "seed": seed}
        return cls._of(Dag(**shape, num_states=num_states, vocab_size=vocab_size, **options))

    @classmethod
    @abstractmethod
    def _of(cls, family: Family) -> Self:
        """The graph of a family."""
