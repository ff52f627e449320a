"""Processes: a latent graph with its kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.classic import classic_tables, own_states
from n2n.process.initial_law import initial_law
from n2n.process.interventions import Intervention, intervention_rows
from n2n.process.kernels import check_tables, draw_context_kernels, draw_kernel
from n2n.process.pools import sets_of_pool
from n2n.process.sampler import NO_SETS, draw
from n2n.process.sampler_tables import Program, compile_program
from n2n.process.splits import Split, check_split
from n2n.utils.philox import derive_key
from n2n.utils.strict import as_integer, short_repr, unknown_name_message


@dataclass(frozen=True, eq=False)
class Sample:
    """Sequences drawn from a process.

    Attributes:
        tokens: ``(batch, length)``, the observed states, in the smallest unsigned type;
            ``tokens[:, 0]`` is 0 if ``initial`` is "zero".
        latents: ``{name: (batch, length)}``, the states of each latent node; empty if not requested.
    """

    tokens: np.ndarray
    latents: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Process:
    """A graph and its kernels, which are drawn as a pure function of (graph, seed) or set by tables.

    Each node's kernel is keyed by (seed, node name): adding a node to a graph leaves the other kernels unchanged.

    Args:
        graph: the latent graph.
        seed: a non-negative integer that determines the drawn kernels and the sequences.
        tables: kernels to use instead of drawn ones; see ``from_kernels``.

    Raises:
        ValueError: if ``graph`` is not a ``Graph``, the seed is not a whole number from 0, or a table is wrong.
    """

    graph: Graph
    seed: int = 0
    tables: Mapping[str, np.ndarray] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.graph, Graph):
            raise ValueError(
                f"graph: saw {short_repr(self.graph)}; a Graph is needed, such as n2n.Graph.preset('sparse')"
            )
        as_integer("seed", self.seed, 0)
        if self.tables is not None:
            object.__setattr__(self, "tables", check_tables(self.graph, self.tables))

    @classmethod
    def from_kernels(cls, graph: Graph, kernels: Mapping[str, ArrayLike], seed: int = 0) -> Process:
        """Build a process from explicit kernels: a table for each node, with the axes of ``kernel``.

        The fields of a node that control drawing (alpha, kernel, mode, stickiness) are ignored; ``seed`` determines the
        sequences. A node in context mode has no table, and its kernel is redrawn for every sequence as usual. A table
        may be a list, or an array of numpy, torch (without gradients) or pandas. Rows that sum to 1 within the rounding
        of their type, such as a softmax in float32, are normalised.

        Raises:
            ValueError: if a node is missing or unknown, a table has the wrong shape, an entry is masked, missing or not
                a probability, or a row does not sum to one; the message gives the worst row and its sum.
        """
        if not isinstance(kernels, Mapping):
            raise ValueError(f"kernels: saw a {type(kernels).__name__}; a table for each node, by name, is needed")
        return cls(graph, seed, tables=kernels)

    @classmethod
    def classic(cls, name: str, *, initial: str = "stationary", seed: int = 0, **parameters: float) -> Process:
        """Build a classic process: "golden_mean", "even", "z1r", "rrxor", or "mess3" with parameters ``x`` and ``a``.

        It has one latent, Z, whose states are the pairs (next state, symbol) of the process's edges; X is the symbol.
        Definitions and sources are in ``n2n.process.classic``.

        Raises:
            ValueError: if the name or the initial law is unknown, or the process does not accept the parameters.
        """
        transitions, emissions = classic_tables(name, **parameters)
        latent = Node(name="Z", num_states=len(transitions))
        observed = Node(name="X", num_states=emissions.shape[1], parents=("Z",), observed=True)
        graph = Graph(nodes=(latent, observed), name=name, initial=initial)
        return cls.from_kernels(graph, {"Z": transitions, "X": emissions}, seed)

    def __eq__(self, other: object) -> bool:
        if self is other:  # as in lookups of a process's tables
            return True
        if not isinstance(other, Process):
            return NotImplemented
        same = self.graph == other.graph and self.seed == other.seed
        return same and all(np.array_equal(self.kernels[name], other.kernels[name]) for name in self.kernels)

    def __hash__(self) -> int:
        return hash((self.graph, self.seed))

    @cached_property
    def kernels(self) -> MappingProxyType[str, np.ndarray]:
        """All fixed kernels by node name; read-only. Context nodes have a kernel for each sequence instead."""
        if self.tables is not None:
            return self.tables
        fixed = [node for node in self.graph.nodes if not node.redrawn]
        return MappingProxyType({node.name: draw_kernel(self.graph, node, self.seed) for node in fixed})

    def kernel(self, name: str) -> np.ndarray:
        """Return the normalised table of a node, float64.

        The axes are the node's own previous state, each parent in order, and the new state. X has an axis for its own
        previous state only if it is recurrent. Rows sum to 1 within rounding.

        Raises:
            ValueError: if the node is unknown, or its kernel is redrawn for every sequence.
        """
        if name not in self.graph.names:
            raise ValueError(unknown_name_message("node", name, self.graph.names))
        if name not in self.kernels:
            raise ValueError(
                f"{name}: its kernel is redrawn for every sequence; process.of_sequence(index) has that of a sequence"
            )
        return self.kernels[name]

    @property
    def own_states(self) -> dict[str, np.ndarray]:
        """The state that each state of a latent represents, ``(n,)`` by name: itself, except in a classic process.

        The latent of a process made by ``classic`` is a pair of the classic process's own state and a symbol. Such a
        process is recognised by the name of its graph together with its tables, for any parameters; so a process from a
        saved run is recognised too.
        """
        themselves = {node.name: np.arange(node.num_states) for node in self.graph.latents}
        return themselves | own_states(self.graph.name, self.tables or {})

    def of_sequence(self, index: int, *, split: Split = "train") -> Process:
        """Return the process of one sequence: the kernels redrawn for the sequence are now fixed.

        Sequence ``index`` of the result's split is the same sequence. A filter on the result is the oracle that knows
        the kernels; ``n2n.in_context_nll`` is the oracle that must learn them.

        Raises:
            ValueError: if the split is unknown, or the index is not a whole number from 0.
        """
        index = as_integer("index", index, 0)
        return self._with_kernels_of(self.kernel_sets(index, 1, split), split)

    def of_set(self, index: int) -> Process:
        """Return the process with the fixed kernels of one set of the pool.

        Set ``index`` depends only on the process's seed. Set 0 has the kernels that the nodes would have if they were
        fixed, apart from rounding. Each sequence of the pool's process is also a sequence of one of these processes.

        Raises:
            ValueError: if the graph has no pool, or the index is not a whole number from 0 to ``pool - 1``.
        """
        if self.graph.pool is None:
            own = "the graph has no pool, so every sequence has kernels of its own"
            raise ValueError(f"of_set: {own}; process.of_sequence(index) has them")
        return self._with_kernels_of(np.array([as_integer("index", index, 0, self.graph.pool - 1)]), "train")

    def kernel_sets(self, start: int, count: int, split: Split = "train") -> np.ndarray:
        """Return the index of the kernel set of sequences ``start`` to ``start + count - 1``, ``(count,)`` int64.

        With a pool it is uniform on 0 to ``pool - 1`` and independent between sequences; without one it is the index of
        the sequence.

        Raises:
            ValueError: if the split is unknown, or a number is not whole or out of range.
        """
        start, count = as_integer("start", start, 0), as_integer("count", count, 1)
        return self.sets_of(np.arange(start, start + count), split)

    def sets_of(self, sequences: np.ndarray, split: Split = "train") -> np.ndarray:
        """Return the index of the kernel set of sequences in any order, ``(count,)`` int64, as ``kernel_sets``.

        Raises:
            ValueError: if the split is unknown.
        """
        check_split(split)
        if self.graph.pool is None:
            return sequences
        return sets_of_pool(self.graph.pool, sequences, derive_key("pool", int(self.seed), split))

    def context_kernels(self, sets: np.ndarray, split: Split = "train") -> dict[str, np.ndarray]:
        """Return the kernels of context nodes in several sets, ``{name: (count, own, parents.., new)}``.

        Args:
            sets: ``(count,)``, indices of the sets.
            split: the split whose sets they are, if there is no pool.
        """
        return draw_context_kernels(self.graph, sets, self._context_keys(split))

    def _with_kernels_of(self, one_set: np.ndarray, split: Split) -> Process:
        """Return the process whose context nodes have the fixed kernels of a set, whose index is the only entry."""
        redrawn = {name: kernel for name, (kernel,) in self.context_kernels(one_set, split).items()}
        nodes = [
            node.model_copy(update={"mode": "default", "stickiness": 0.0}) if node.name in redrawn else node
            for node in self.graph.nodes
        ]
        fixed = self.graph.model_copy(update={"nodes": nodes, "pool": None})
        return Process.from_kernels(fixed, {**self.kernels, **redrawn}, self.seed)

    def with_initial(self, initial: str) -> Process:
        """Return a process with the same kernels and seed, and the initial law "zero", "uniform" or "stationary".

        The result is this process if it already has that initial law.

        Raises:
            ValueError: if the initial law is unknown or does not suit the graph.
        """
        if initial == self.graph.initial:
            return self  # keeps the law if it is already computed
        return Process(self.graph.model_copy(update={"initial": initial}), self.seed, tables=self.kernels)

    def _context_keys(self, split: str) -> np.ndarray:
        """Return two words that key each node's redrawn kernels, ``(nodes, 2)``; all splits share those of a pool."""
        check_split(split)
        own = (int(self.seed), split) if self.graph.pool is None else (int(self.seed),)
        return np.array([derive_key("kernel", *own, node.name) for node in self.graph.order])

    @cached_property
    def checksums(self) -> dict[str, float]:
        """A number for each kernel; equal kernels have numbers equal within rounding.

        They show whether two machines draw the same process. A hash would distinguish kernels that differ in the last
        bit, as the logarithms of two processors may.
        """
        return {name: float(np.cos(np.arange(table.size)) @ table.ravel()) for name, table in self.kernels.items()}

    @cached_property
    def program(self) -> Program:
        """The flat arrays that the sampler runs on."""
        return compile_program(self.graph, self.kernels, self.initial_law)

    @cached_property
    def initial_law(self) -> np.ndarray | None:
        """P(z_0, x_0), ``(n_1, .., n_K, V)`` in the graph's order, or None if every node starts in 0.

        Raises:
            ValueError: if the law takes more than 1 GiB, or the accuracy of a stationary law cannot be proven.
        """
        return initial_law(self.graph, self.kernels)

    @cached_property
    def first_token_law(self) -> np.ndarray | None:
        """P(x_0), ``(V,)``, or None if x_0 is always 0; raises as ``initial_law``."""
        law = self.initial_law
        return None if law is None else law.reshape(-1, self.graph.vocab_size).sum(axis=0)

    def sample(
        self,
        count: int,
        *,
        length: int,
        split: Split = "train",
        start: int = 0,
        latents: bool = True,
        do: Mapping[str, Intervention | Sequence[Intervention]] | None = None,
    ) -> Sample:
        """Draw sequences ``start`` to ``start + count - 1`` of a split.

        Each sequence is a pure function of (process, split, index), independent of the batch and the number of threads.
        A state of probability p is drawn with probability p within the rounding of float64 sums (about 1e-15).

        Args:
            count: number of sequences.
            length: number of tokens in a sequence, including the fixed first one.
            split: ``"train"``, ``"valid"`` or ``"test"``; each has its own random numbers.
            start: index of the first sequence.
            latents: whether to return the latent states too.
            do: interventions, ``{name: (time, state)}`` or ``{name: [(time, state), ..]}``. At that time, from 1 on,
                the node is set to the state instead of drawn. All other draws use the same random numbers as without
                the intervention, so factual and counterfactual sequences can be compared token by token.

        Raises:
            ValueError: if the split or a node is unknown, or a number is not whole or out of range.
        """
        keys, start = self._context_keys(split), as_integer("start", start, 0)
        count, length = as_integer("count", count, 1), as_integer("length", length, 1)
        interventions = intervention_rows(self.graph, do or {}, length)
        key = derive_key("sequences", int(self.seed), split)
        sets = NO_SETS if self.graph.pool is None else self.kernel_sets(start, count, split)
        options = {"context_keys": keys, "kernel_sets": sets, "interventions": interventions}
        tokens, states = draw(self.program, key, start, count, length, latents, **options)
        return Sample(tokens, dict(zip(self.graph.latent_names, states, strict=True)) if latents else {})
