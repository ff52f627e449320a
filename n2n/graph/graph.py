"""Latent graphs: two-slice dynamic Bayesian networks with one observed node."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from math import prod
from typing import Annotated, Any, ClassVar, Literal

import networkx as nx
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from n2n.graph import yaml_layouts
from n2n.graph.families import Families
from n2n.graph.networkx_io import node_specs
from n2n.graph.node import Node
from n2n.graph.presets import ALPHA_X, ALPHA_Z, PRESETS
from n2n.graph.yaml_io import YamlFiles
from n2n.utils.strict import Count, Ordered, Refused, Strict, short_repr, shorten, unknown_name_message


class Graph(Families, YamlFiles, Strict):
    """A latent graph: latent nodes and one observed node, X.

    ``preset``, ``independent``, ``chain``, ``tree``, ``random_dag``, ``from_networkx`` and ``from_yaml`` also build
    graphs.

    Args:
        nodes: all nodes, each once, in any order.
        name: title for figures and folders; it does not affect the kernels.
        initial: the law of the first time step. With ``"zero"``, every node, including X, is in state 0. With
            ``"uniform"``, each latent is uniform and independent, and X is drawn from its kernel given the latents; a
            recurrent X is uniform too. With ``"stationary"``, the nodes have a law that a step leaves unchanged. A
            frozen latent (``stickiness=1``) is drawn from its own ``initial`` in both cases, and with ``"stationary"``
            the other nodes have the stationary law given its state. Frozen latents and ``"zero"`` exclude each other.
        pool: number of sets of kernels for the nodes in context mode. Every sequence then has one of these sets, chosen
            uniformly; a set has a kernel for each such node. The sets depend only on the process's seed, so all splits
            share them. With None, every sequence has kernels of its own.

    Raises:
        ValueError: if a name is repeated, no node or several nodes are observed, the observed node sees nothing or
            names itself, a parent is unknown, contemporaneous edges form a cycle, ``initial`` does not suit the nodes,
            or there is a pool without a node in context mode. The message names the nodes.
    """

    positional: ClassVar[tuple[str, ...]] = ("nodes",)

    nodes: Ordered[Node]
    name: str = ""
    initial: Literal["zero", "uniform", "stationary"] = "zero"
    pool: Annotated[Count, Field(le=2**32)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_any_spelling(cls, values: Any) -> Any:
        return yaml_layouts.modernised(values)

    @model_validator(mode="after")
    def _well_formed(self) -> Graph:
        names = [node.name for node in self.nodes]  # ``self.names`` requires a well-formed graph
        observed = [node.name for node in self.nodes if node.observed]
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise ValueError(f"node {repeated[0]!r} is defined {names.count(repeated[0])} times in {short_repr(names)}")
        if len(observed) != 1:
            nodes = f"{len(observed)} observed nodes {short_repr(observed)} among {short_repr(names)}"
            raise ValueError(f"saw {nodes}; exactly one is needed")
        if not (self.observed.parents or self.observed.recurrent):
            raise ValueError(
                f"{observed[0]}: saw no parents; the observed node needs a latent parent or recurrent=True"
            )
        self._refuse_unknown_parents(observed[0], [name for name in names if name != observed[0]])
        self._refuse_cycle()
        self._refuse_initial()
        if self.pool is not None and not self.context_nodes:
            raise ValueError(f"pool: saw {self.pool}; a pool is of kernels of nodes in mode 'context', and no node is")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_pool(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit a pool of None, so that a graph without a pool has the same record and hash as before pools existed."""
        return {name: value for name, value in dump(self).items() if name != "pool" or value is not None}

    def _refuse_unknown_parents(self, observed: str, latents: list[str]) -> None:
        for parent, child in self.edges:
            if parent == child == observed:
                raise ValueError(f"{child}: saw itself as a parent; recurrent=True lets it see its previous state")
            if parent not in [*latents, observed]:
                raise ValueError(f"{child}: {unknown_name_message('parent', parent, latents)}")

    def _refuse_initial(self) -> None:
        if self.initial == "stationary" and self.context_nodes:
            redrawn = short_repr([node.name for node in self.context_nodes])
            raise ValueError(f"initial: 'stationary' needs fixed kernels; mode 'context' redraws those of {redrawn}")
        frozen = [node.name for node in self.frozen_latents if node.num_states > 1]
        if self.initial == "zero" and frozen:
            raise ValueError(
                f"initial: 'zero' would leave the frozen latents {short_repr(frozen)} in state 0 in every sequence; "
                "'uniform' or 'stationary' draws their states"
            )

    def _refuse_cycle(self) -> None:
        digraph = nx.DiGraph()
        digraph.add_edges_from(edge for edge in self.edges if edge[0] != self.observed.name)
        if not nx.is_directed_acyclic_graph(digraph):
            cycle = [edge[0] for edge in nx.find_cycle(digraph)]
            raise ValueError(f"the nodes see one another in a cycle: {shorten(' -> '.join([*cycle, cycle[0]]), 1000)}")

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """All nodes, parents before children and X last; otherwise in the order of ``nodes``."""
        latents = self.networkx().subgraph([node.name for node in self.nodes if not node.observed])
        position = {node.name: i for i, node in enumerate(self.nodes)}
        names = nx.lexicographical_topological_sort(latents, key=position.__getitem__)
        return (*(self[name] for name in names), self.observed)

    @property
    def latents(self) -> tuple[Node, ...]:
        """The latent nodes, parents before children."""
        return self.order[:-1]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all nodes, parents before children, X last."""
        return tuple(node.name for node in self.order)

    @property
    def latent_names(self) -> tuple[str, ...]:
        """Names of the latent nodes, parents before children."""
        return self.names[:-1]

    @cached_property
    def latent_sizes(self) -> tuple[int, ...]:
        """Number of states of each latent, parents before children: the shape of a law over the joint states."""
        return tuple(node.num_states for node in self.latents)

    @cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs (parent, child), grouped by child in the order of ``nodes``; edges from X reach the next time step."""
        return tuple((parent, node.name) for node in self.nodes for parent in node.parents)

    @cached_property
    def edges_with_lag(self) -> tuple[tuple[str, str, int], ...]:
        """Triples (parent, child, lag) with the loops of nodes that see themselves, by child in topological order."""
        edges = []
        for node in self.order:
            edges += [(node.name, node.name, 1)] if node.sees_itself else []
            edges += [(parent, node.name, int(parent == self.observed.name)) for parent in node.parents]
        return tuple(edges)

    @cached_property
    def observed(self) -> Node:
        """X, the node whose values are the tokens."""
        return next(node for node in self.nodes if node.observed)

    @property
    def vocab_size(self) -> int:
        """Number of symbols."""
        return self.observed.num_states

    @property
    def num_joint_states(self) -> int:
        """S, the number of joint latent states."""
        return prod(self.latent_sizes)

    def kernel_size(self, node: Node) -> int:
        """Return the number of entries of a node's kernel."""
        return prod(self.sizes_seen(node)) * node.num_states

    def sizes_seen(self, node: Node) -> list[int]:
        """Return the sizes of a kernel's axes except the last: the node's own previous state, then each parent."""
        own = [node.num_states] if node.sees_itself else []
        return own + [self[parent].num_states for parent in node.parents]

    def sees_x(self, node: Node) -> bool:
        """Return whether a node's kernel has an axis for the previous token."""
        return node.recurrent or self.observed.name in node.parents

    @property
    def feeds_back(self) -> bool:
        """Whether a latent sees X."""
        return any(map(self.sees_x, self.latents))

    @property
    def uses_previous_token(self) -> bool:
        """Whether any node, including X, sees the previous token."""
        return any(map(self.sees_x, self.nodes))

    @property
    def context_nodes(self) -> tuple[Node, ...]:
        """The nodes whose kernels are redrawn for every sequence, in topological order."""
        return tuple(node for node in self.order if node.redrawn)

    @property
    def frozen_latents(self) -> tuple[Node, ...]:
        """The latents that keep their state at t = 0, in topological order; they are constant in a sequence."""
        return tuple(node for node in self.latents if node.frozen)

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(unknown_name_message("node", name, self.names))

    def networkx(self) -> nx.DiGraph:
        """Return the edges as a ``DiGraph`` that carries the graph's fields; its nodes carry their own.

        Each edge has a ``lag`` and a ``position``. The lag is 1 if a latent sees X, and 0 otherwise. The position is
        the index of the parent among the child's parents. GraphML and GEXF files cannot store the ``initial`` of a
        frozen latent, which is a tuple.
        """
        digraph = nx.DiGraph(**self.model_dump(exclude={"nodes"}))  # no None, which file formats do not store
        for node in self.nodes:
            digraph.add_node(node.name, **node.model_dump(exclude={"name", "parents"}))
        for node in self.nodes:
            for position, parent in enumerate(node.parents):
                digraph.add_edge(parent, node.name, lag=int(parent == self.observed.name), position=position)
        return digraph

    @classmethod
    def from_networkx(cls, digraph: nx.DiGraph) -> Graph:
        """Build a graph from the result of ``networkx()``, or from a ``DiGraph`` made by hand.

        Args:
            digraph: its nodes carry the fields of a ``Node``, at least ``num_states``. Its edges define the parents, in
                the order of ``position``, or in the order of insertion if edges have no position. If no node has the
                field ``observed``, X is the only node without children. ``name``, ``initial`` and ``pool`` are read
                from ``digraph.graph``. Attributes that file formats add are ignored: an edge's ``id``, and a node's
                ``id`` or ``label`` that repeats its name.

        Raises:
            ValueError: if a node or an edge is invalid, or if ``Graph`` refuses the result. The message names each node
                and field, or the edge.
        """
        nodes, wrong = [], []
        for spec in node_specs(digraph):
            try:
                nodes.append(Node(**spec))
            except Refused as error:
                wrong += [("nodes", f"node {spec['name']!r}: {said}") for _, said in error.wrong]
        if wrong:
            raise Refused("the digraph", *wrong)
        fields = [field for field in cls.model_fields if field != "nodes" and field in digraph.graph]
        return cls(nodes=nodes, **{field: digraph.graph[field] for field in fields})

    @classmethod
    def preset(cls, name: str, alpha_z: float = ALPHA_Z, alpha_x: float = ALPHA_X) -> Graph:
        """Build a preset graph.

        Args:
            name: name of the preset.
            alpha_z: Dirichlet concentration of the latents.
            alpha_x: Dirichlet concentration of X.

        Raises:
            ValueError: if the name is unknown or a concentration is not positive.
        """
        if name not in list(PRESETS):
            raise ValueError(unknown_name_message("graph", name, PRESETS))
        specs = [{**spec, "alpha": alpha_x if spec.get("observed") else alpha_z} for spec in PRESETS[name]()]
        return cls(nodes=tuple(Node(**spec) for spec in specs), name=name)

    def __str__(self) -> str:
        summary = f"joint states {self.num_joint_states:,}, vocab size {self.vocab_size}, initial {self.initial}"
        summary += "" if self.pool is None else f", pool of {self.pool:,} kernel sets"
        changed = {field for node in self.nodes for field in node.model_dump(exclude_defaults=True)}
        fields = [field for field in ("kernel", "alpha", "mode", "stickiness") if field in changed]
        rows = [self._row(node) | {field: str(getattr(node, field)) for field in fields} for node in self.order]
        return "\n".join([f"{self.name}: {summary}" if self.name else summary, *aligned(rows)])

    def _row(self, node: Node) -> dict[str, str]:
        inputs = [f"{node.name}[t-1]"] if node.sees_itself else []
        inputs += [f"{parent}[t-1]" if parent == self.observed.name else parent for parent in node.parents]
        return {"name": node.name, "states": str(node.num_states), "sees": ", ".join(inputs)}

    def _repr_mimebundle_(self, **_asked: Any) -> dict[str, Any]:
        """Return what Jupyter displays: the figure, or the table where figures are not available."""
        # n2n.viz depends on this module, so the import goes through the package. It is local so that only a graph that
        # a notebook displays loads plotly.
        import n2n

        return {"text/plain": str(self), **n2n.viz.draw_graph(self)._repr_mimebundle_()}


def aligned(rows: list[dict[str, str]]) -> list[str]:
    """Return a line of column names, which all rows share, and a line for each row."""
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
