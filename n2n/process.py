"""Processes: a latent graph with the kernels drawn for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from n2n.classic import classic_tables
from n2n.graph import Graph, Node
from n2n.philox import derive_key
from n2n.sampling import Program, compile_program, draw
from n2n.stationary import initial_law
from n2n.strict import unknown

Split = Literal["train", "valid", "test"]
SUM_TOLERANCE = 1e-8  # how far from 1 a given row may sum; it is normalised
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Sample:
    """Sequences drawn from a process.

    Attributes:
        tokens: ``(batch, length)``, the observed states, in the smallest unsigned type;
            ``tokens[:, 0]`` is 0 if ``initial`` is "zero".
        latents: ``{name: (batch, length)}``, the states of each latent node; empty if they were not asked for.
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
            raise ValueError(f"saw graph {self.graph!r}; a Graph is needed, such as n2n.Graph.preset('two_chains')")
        _whole("seed", self.seed, 0)
        if self.given is not None:
            object.__setattr__(self, "given", _checked(self.graph, self.given))

    @classmethod
    def from_kernels(cls, graph: Graph, kernels: Mapping[str, ArrayLike], seed: int = 0) -> Process:
        """A process whose kernels are given, a table for each node with the axes of ``kernel``.

        What the nodes say of drawing (alpha, kernel, mode, stickiness) has no part in it; ``seed`` names the sequences.

        Raises:
            ValueError: a missing or unknown node, a table of another shape, an entry that is no probability, or rows
                that do not sum to one; the message gives the worst row and its sum.
        """
        return cls(graph, seed, given=kernels)

    @classmethod
    def classic(cls, name: str, *, initial: str = "stationary", seed: int = 0, **parameters: float) -> Process:
        """A classic process by name: "golden_mean", "even", "z1r", "rrxor", or "mess3" with its ``x`` and ``a``.

        One latent, Z, over the pairs (next state, symbol) of the process's edges; X shows the symbol. Definitions and
        sources are in ``n2n.classic``.

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
        """Every node's kernel by name; read-only."""
        if self.given is not None:
            return self.given
        return MappingProxyType({node.name: _drawn(self.graph, node, self.seed) for node in self.graph.nodes})

    def kernel(self, name: str) -> np.ndarray:
        """The normalised table of a node as float64, axes (own previous state, then each parent in order, new state).

        X has an axis of its own previous state if it is recurrent. Row sums are 1 to rounding.

        Raises:
            ValueError: an unknown node.
        """
        if name not in self.kernels:
            raise ValueError(unknown("node", name, self.kernels))
        return self.kernels[name]

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
        """P(z_0, x_0), ``(n_1, .., n_K, V)`` in the graph's order, or None where every node starts in 0."""
        return initial_law(self.graph, self.kernels)

    def sample(
        self, count: int, *, length: int, split: Split = "train", start: int = 0, latents: bool = True
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

        Raises:
            ValueError: an unknown split, or a number that is not whole or out of range.
        """
        if split not in SPLITS:
            raise ValueError(unknown("split", split, SPLITS))
        count, length, start = _whole("count", count, 1), _whole("length", length, 1), _whole("start", start, 0)
        key = derive_key("sequences", int(self.seed), split)
        tokens, states = draw(self.program, key, start, count, length, latents)
        names = [node.name for node in self.graph.latents]
        return Sample(tokens, dict(zip(names, states, strict=True)) if latents else {})


def _checked(graph: Graph, tables: Mapping[str, ArrayLike]) -> MappingProxyType[str, np.ndarray]:
    names = [node.name for node in graph.nodes]
    for name in tables:
        if name not in names:
            raise ValueError(f"kernels: {unknown('node', name, names)}")
    missing = [name for name in names if name not in tables]
    if missing:
        raise ValueError(f"kernels: saw no table for {missing}")
    return MappingProxyType({node.name: _checked_table(graph, node, tables[node.name]) for node in graph.nodes})


def _checked_table(graph: Graph, node: Node, table: ArrayLike) -> np.ndarray:
    table = np.array(table, dtype=np.float64)
    expected = (*_sizes_seen(graph, node), node.num_states)
    if table.shape != expected:
        raise ValueError(f"{node.name}: saw a table of shape {table.shape}; {expected} is needed")
    if not (table >= 0).all():
        raise ValueError(f"{node.name}: saw an entry of {table[~(table >= 0)][0]}; entries are probabilities")
    sums = table.sum(axis=-1)
    worst = np.unravel_index(np.abs(sums - 1).argmax(), sums.shape)
    if not abs(sums[worst] - 1) < SUM_TOLERANCE:
        row = tuple(int(i) for i in worst)
        raise ValueError(f"{node.name}: row {row} sums to {sums[worst]:.9g}; each row must sum to 1")
    table /= sums[..., None]
    table.setflags(write=False)
    return table


def _sizes_seen(graph: Graph, node: Node) -> list[int]:
    """Sizes of the axes of a node's kernel, but for the last."""
    own = [node.num_states] if node.sees_itself else []
    return own + [graph[parent].num_states for parent in node.parents]


def _whole(what: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < 2**62:
        raise ValueError(f"{what}: saw {value!r}; a whole number from {least} to 2**62 - 1 is needed")
    return int(value)


def log_dirichlet(rng: np.random.Generator, alpha: float, shape: tuple[int, ...]) -> np.ndarray:
    """Logarithms of Dirichlet(alpha) rows along the last axis, exact for any small alpha.

    A Gamma(alpha) variable is a Gamma(alpha + 1) variable times U^(1/alpha), U uniform; logarithms do not underflow.
    Source: Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000), section 6.
    """
    log_gamma = np.log(rng.standard_gamma(alpha + 1.0, shape)) + np.log1p(-rng.random(shape)) / alpha
    return log_gamma - _logsumexp(log_gamma)


def _logsumexp(values: np.ndarray) -> np.ndarray:
    largest = values.max(axis=-1, keepdims=True)
    return largest + np.log(np.exp(values - largest).sum(axis=-1, keepdims=True))


def _drawn(graph: Graph, node: Node, seed: int) -> np.ndarray:
    digest = hashlib.blake2b(repr(("kernel", int(seed), node.name)).encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    seen = _sizes_seen(graph, node)
    draw_table = _log_full if node.kernel == "full" else _log_product
    table = np.exp(draw_table(rng, node.alpha, seen, node.num_states))
    table = _moved(table / table.sum(axis=-1, keepdims=True), node.mode)
    if node.stickiness:
        staying = np.eye(node.num_states).reshape(node.num_states, *[1] * (len(seen) - 1), node.num_states)
        table = node.stickiness * staying + (1 - node.stickiness) * table
    table.setflags(write=False)
    return table


def _log_full(rng: np.random.Generator, alpha: float, seen: list[int], num_states: int) -> np.ndarray:
    return log_dirichlet(rng, alpha, (*seen, num_states))


def _log_product(rng: np.random.Generator, alpha: float, seen: list[int], num_states: int) -> np.ndarray:
    total = np.zeros((*seen, num_states))
    for axis, size in enumerate(seen):
        factor = log_dirichlet(rng, alpha, (size, num_states))
        total += np.expand_dims(factor, [other for other in range(len(seen)) if other != axis])
    return total - _logsumexp(total)


def _moved(table: np.ndarray, mode: str) -> np.ndarray:
    """Each row with its largest entry exchanged with the one on the diagonal (slow) or at state 0 (dead)."""
    if mode == "default":
        return table
    rows = table.reshape(-1, table.shape[-1]).copy()
    every = np.arange(len(rows))
    largest = rows.argmax(axis=-1)
    home = every // (len(rows) // table.shape[0]) if mode == "slow" else np.zeros_like(every)
    rows[every, largest], rows[every, home] = rows[every, home], rows[every, largest]
    return rows.reshape(table.shape)
