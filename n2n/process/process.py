"""Processes: a latent graph with the kernels drawn for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.classic import classic_tables, own_states
from n2n.process.initial_law import initial_law
from n2n.process.kernels import checked, drawn, sequence_kernel
from n2n.process.sampler import NOTHING_DONE, draw
from n2n.process.sampler_tables import Program, compile_program
from n2n.utils.arrays import integers
from n2n.utils.philox import derive_key
from n2n.utils.strict import as_integer, short_repr, unknown

Split = Literal["train", "valid", "test"]
Intervention = tuple[int, int]  # (time, state)
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Sample:
    """Sequences drawn from a process.

    Attributes:
        tokens: ``(batch, length)``, the observed states, in the smallest unsigned type;
            ``tokens[:, 0]`` is 0 if ``initial`` is "zero".
        latents: ``{name: (batch, length)}``, the states of each latent node; empty if they were not requested.
    """

    tokens: np.ndarray
    latents: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Process:
    """A graph and its kernels, drawn as a pure function of (graph, seed), or given.

    Each node's kernel is keyed by (seed, node name): adding a node to a graph leaves the others' kernels as they were.

    Args:
        graph: the latent graph.
        seed: an integer from 0; names the kernels drawn and the sequences.
        given: tables in the place of drawn kernels; see ``from_kernels``.

    Raises:
        ValueError: a graph that is not a ``Graph``, a seed that is not a whole number from 0, or a wrong table.
    """

    graph: Graph
    seed: int = 0
    given: Mapping[str, np.ndarray] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.graph, Graph):
            raise ValueError(
                f"graph: saw {short_repr(self.graph)}; a Graph is needed, such as n2n.Graph.preset('sparse')"
            )
        as_integer("seed", self.seed, 0)
        if self.given is not None:
            object.__setattr__(self, "given", checked(self.graph, self.given))

    @classmethod
    def from_kernels(cls, graph: Graph, kernels: Mapping[str, ArrayLike], seed: int = 0) -> Process:
        """A process whose kernels are given, a table for each node with the axes of ``kernel``.

        What such a node says of drawing (alpha, kernel, mode, stickiness) has no part in it; ``seed`` names the
        sequences. A node in context mode has no table: its kernel is redrawn as ever. A table is of any kind: lists,
        numpy, torch (its gradients have no part in the process) or pandas. Rows that sum to 1 within the rounding of
        the type given, such as a softmax in float32, are normalised.

        Raises:
            ValueError: a missing or unknown node, a table of another shape, an entry that is masked, missing or no
                probability, or rows that do not sum to one; the message gives the worst row and its sum.
        """
        if not isinstance(kernels, Mapping):
            raise ValueError(f"kernels: saw a {type(kernels).__name__}; a table for each node, by name, is needed")
        return cls(graph, seed, given=kernels)

    @classmethod
    def classic(cls, name: str, *, initial: str = "stationary", seed: int = 0, **parameters: float) -> Process:
        """A classic process by name: "golden_mean", "even", "z1r", "rrxor", or "mess3" with its ``x`` and ``a``.

        One latent, Z, over the pairs (next state, symbol) of the process's edges; X shows the symbol. Definitions and
        sources are in ``n2n.process.classic``.

        Raises:
            ValueError: an unknown name, parameters that the process does not take, or an unknown initial law.
        """
        transitions, emissions = classic_tables(name, **parameters)
        latent = Node(name="Z", num_states=len(transitions))
        shown = Node(name="X", num_states=emissions.shape[1], parents=("Z",), observed=True)
        graph = Graph(nodes=(latent, shown), name=name, initial=initial)
        return cls.from_kernels(graph, {"Z": transitions, "X": emissions}, seed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Process):
            return NotImplemented
        same = self.graph == other.graph and self.seed == other.seed
        return same and all(np.array_equal(self.kernels[name], other.kernels[name]) for name in self.kernels)

    def __hash__(self) -> int:
        return hash((self.graph, self.seed))

    @cached_property
    def kernels(self) -> MappingProxyType[str, np.ndarray]:
        """Every fixed kernel by the node's name; read-only. Those of context nodes belong to a sequence each."""
        if self.given is not None:
            return self.given
        fixed = [node for node in self.graph.nodes if node.mode != "context"]
        return MappingProxyType({node.name: drawn(self.graph, node, self.seed) for node in fixed})

    def kernel(self, name: str) -> np.ndarray:
        """The normalised table of a node as float64, axes (own previous state, then each parent in order, new state).

        X has an axis of its own previous state if it is recurrent. Row sums are 1 to rounding.

        Raises:
            ValueError: an unknown node, or one whose kernel is redrawn for every sequence.
        """
        if name not in self.graph.names:
            raise ValueError(unknown("node", name, self.graph.names))
        if name not in self.kernels:
            raise ValueError(f"{name}: its kernel is redrawn for every sequence; process.of_sequence(index) has one's")
        return self.kernels[name]

    @property
    def own_states(self) -> dict[str, np.ndarray]:
        """The state that each state of a latent stands for, ``(n,)`` by name: itself, except in a classic process.

        The latent of a process made by ``classic`` is a pair: the classic process's own state, and a symbol. The graph
        needs the classic's name and the process its tables, with any parameters, so that a saved run is recognised too.
        """
        states = {node.name: np.arange(node.num_states) for node in self.graph.latents}
        if self.given is not None and self.graph.names == ("Z", "X"):
            classic = own_states(self.graph.name, self.given["Z"], self.given["X"])
            if classic is not None:
                states["Z"] = classic
        return states

    def of_sequence(self, index: int, *, split: Split = "train") -> Process:
        """The process that one sequence is drawn from: kernels of context nodes are those redrawn for it, now fixed.

        Its own sequence ``index`` of that split is the same sequence. A filter on it is the oracle that knows the
        kernels; ``n2n.in_context_nll`` is the one that must learn them.

        Raises:
            ValueError: an unknown split, or an index that is not a whole number from 0.
        """
        index, keys = as_integer("index", index, 0), self._context_keys(split)
        redrawn = {
            node.name: sequence_kernel(self.graph, node, index, keys[k])
            for k, node in enumerate(self.graph.order)
            if node.mode == "context"
        }
        nodes = [
            node.model_copy(update={"mode": "default", "stickiness": 0.0}) if node.name in redrawn else node
            for node in self.graph.nodes
        ]
        fixed = self.graph.model_copy(update={"nodes": nodes})
        return Process.from_kernels(fixed, {**self.kernels, **redrawn}, self.seed)

    def with_initial(self, initial: str) -> Process:
        """The same kernels and seed from a start: "zero", "uniform" or "stationary"; this process if it has that one.

        Raises:
            ValueError: an unknown start.
        """
        if initial == self.graph.initial:
            return self  # its law may be computed already
        return Process(self.graph.model_copy(update={"initial": initial}), self.seed, given=self.kernels)

    def _context_keys(self, split: str) -> np.ndarray:
        """Two words for each node's redrawn kernels, ``(nodes, 2)``."""
        if split not in SPLITS:
            raise ValueError(unknown("split", split, SPLITS))
        return np.array([derive_key("kernel", int(self.seed), split, node.name) for node in self.graph.order])

    @cached_property
    def checksums(self) -> dict[str, float]:
        """A number for each kernel, equal to rounding where kernels are: whether two machines draw the same process.

        A hash would tell apart kernels that differ in the last bit, as two processors' logarithms may.
        """
        return {name: float(np.cos(np.arange(table.size)) @ table.ravel()) for name, table in self.kernels.items()}

    @cached_property
    def program(self) -> Program:
        """The flat arrays that the sampler runs on."""
        return compile_program(self.graph, self.kernels, self.initial_law)

    @cached_property
    def initial_law(self) -> np.ndarray | None:
        """P(z_0, x_0), ``(n_1, .., n_K, V)`` in the graph's order, or None where every node starts in 0.

        Raises:
            ValueError: a law too large for 1 GiB, or a stationary law whose accuracy cannot be proven.
        """
        return initial_law(self.graph, self.kernels)

    @cached_property
    def first_token_law(self) -> np.ndarray | None:
        """P(x_0), ``(V,)``, or None where x_0 is 0; it raises what ``initial_law`` raises."""
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

        Each sequence is a pure function of (process, split, index), whatever the batch or the number of threads. A
        state of probability p is drawn with probability p to the rounding of float64 sums (about 1e-15).

        Args:
            count: number of sequences.
            length: tokens in each, the fixed first one included.
            split: ``"train"``, ``"valid"`` or ``"test"``; each has its own random numbers.
            start: index of the first sequence.
            latents: whether to keep the latent states too.
            do: interventions, ``{name: (time, state)}`` or ``{name: [(time, state), ..]}``: at that time, from 1 on,
                the node is set to the state and not drawn. All else is drawn from the same random numbers as without
                it, so that a factual and a counterfactual sequence can be compared token by token.

        Raises:
            ValueError: an unknown split or node, or a number that is not whole or out of range.
        """
        keys = self._context_keys(split)
        count, length, start = (
            as_integer("count", count, 1),
            as_integer("length", length, 1),
            as_integer("start", start, 0),
        )
        done = _interventions(self.graph, do or {}, length)
        key = derive_key("sequences", int(self.seed), split)
        tokens, states = draw(self.program, key, start, count, length, latents, context_keys=keys, done=done)
        return Sample(tokens, dict(zip(self.graph.latent_names, states, strict=True)) if latents else {})


def _interventions(graph: Graph, do: Mapping, length: int) -> np.ndarray:
    """``(interventions, 3)``: time, position of the node in the graph's order, state."""
    if not isinstance(do, Mapping):
        raise ValueError(f"do: saw a {type(do).__name__}; {{name: (time, state)}} is needed")
    names, rows = graph.names, []
    for name, given in do.items():
        if name not in names:
            raise ValueError(f"do: {unknown('node', name, names)}")
        pairs = np.atleast_2d(integers(given, f"do: {name}"))
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"do: {name}: saw {short_repr(given)}; (time, state) is needed")
        for pair in pairs.tolist():
            time = as_integer(f"do: {name}: time", pair[0], 1, length - 1)
            if any(row[:2] == (time, names.index(name)) for row in rows):
                raise ValueError(f"do: {name}: saw several states for time {time}; one is needed")
            rows.append(
                (time, names.index(name), as_integer(f"do: {name}: state", pair[1], 0, graph[name].num_states - 1))
            )
    return np.array(rows, dtype=np.int64) if rows else NOTHING_DONE
