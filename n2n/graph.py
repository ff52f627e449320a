"""Latent graphs: two-slice dynamic Bayesian networks with one observed node."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from math import prod
from typing import Annotated, Any, ClassVar, Literal

import networkx as nx
from pydantic import Field, field_validator, model_validator

from n2n import graph_layouts
from n2n.digraph import node_specs
from n2n.families import Families, Family
from n2n.graph_yaml import YamlFiles
from n2n.presets import ALPHA_X, ALPHA_Z, PRESETS
from n2n.table import aligned
from n2n.utils.strict import Count, NonNegative, Ordered, Positive, Refused, Strict, cut, shown, unknown

Mode = Literal["default", "slow", "dead", "context"]
Kernel = Literal["full", "product"]
MIN_ALPHA = 1e-9  # there all but one row in millions is one state to the last bit, so smaller ones add nothing


class Node(Strict):
    """One variable of a latent graph.

    A latent node draws ``z_t`` given its own ``z_{t-1}`` and its parents at ``t``; the observed node draws ``x_t``
    given its parents at ``t`` and, if it is recurrent, ``x_{t-1}``. A latent that names X as a parent sees ``x_{t-1}``.

    Args:
        name: unique in the graph.
        num_states: number of values; for the observed node, the size of the vocabulary.
        parents: names of the nodes seen, in the order of the kernel's axes: latents at the same time step, and X, by a
            latent, at the step before (feedback).
        observed: whether this is X, whose values are the tokens.
        mode: what is done to the kernel's rows once drawn. ``"slow"`` moves each row's largest probability to the
            diagonal (the state tends to stay), ``"dead"`` moves it to state 0; "moves" is an exchange of two entries.
            ``"context"`` redraws the kernel for every sequence, so that it must be learned in context.
        kernel: ``"full"``, one table row for each joint state of what the node sees; ``"product"``, the normalised
            product of one factor for each variable seen.
        alpha: concentration of the symmetric Dirichlet that every row (or row of a factor) is drawn from.
        stickiness: s in K <- s I + (1 - s) K, once the mode is applied: the chance of staying without a draw.
        recurrent: whether the observed node sees its own previous state; latent nodes always do.

    Raises:
        ValueError: a wrong field, a repeated parent, ``mode="slow"`` or a stickiness on an observed node that does not
            see its own previous state, or ``recurrent`` on a latent.
    """

    positional: ClassVar[tuple[str, ...]] = ("name", "num_states", "parents")

    name: Annotated[str, Field(max_length=200)]
    num_states: Count
    parents: Ordered[str] = ()
    observed: bool = False
    mode: Mode = "default"
    kernel: Kernel = "full"
    alpha: Annotated[Positive, Field(ge=MIN_ALPHA)] = 1.0
    stickiness: Annotated[NonNegative, Field(lt=1)] = 0.0
    recurrent: bool = False

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name:
            raise ValueError("saw an empty name; a node needs one")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Node:
        repeated = [name for name, times in Counter(self.parents).items() if times > 1]
        if repeated:
            raise ValueError(f"{self.name}: parent {shown(repeated[0])} is repeated in {shown(list(self.parents))}")
        if self.recurrent and not self.observed:
            raise ValueError(f"{self.name}: recurrent marks the observed node; a latent always sees its previous state")
        for asked, given in (("mode 'slow'", self.mode == "slow"), ("a stickiness", self.stickiness > 0)):
            if given and not self.sees_itself:
                raise ValueError(
                    f"{self.name}: {asked} needs a previous state, which the observed node sees if it is recurrent"
                )
        return self

    @property
    def sees_itself(self) -> bool:
        """Whether the kernel's first axis is the node's own previous state."""
        return self.recurrent or not self.observed


class Graph(Families, YamlFiles, Strict):
    """A latent graph: latent nodes and the one observed node, X.

    ``preset``, ``independent``, ``chain``, ``tree``, ``random_dag``, ``from_networkx`` and ``from_yaml`` make one too.

    Args:
        nodes: every node once, in any order.
        name: a title for figures and folders; it has no part in the kernels.
        initial: the law of the first time step. ``"zero"``: every node, X too, is in state 0. ``"uniform"``: each
            latent is uniform and independent, and X is drawn from its kernel given them, or uniform too if it is
            recurrent. ``"stationary"``: they have the law that a step leaves as it is.

    Raises:
        ValueError: naming the nodes, for a repeated name, no or several observed nodes, an observed node that sees
            nothing or names itself, an unknown parent, or a cycle among contemporaneous edges.
    """

    positional: ClassVar[tuple[str, ...]] = ("nodes",)
    node_type: ClassVar[type[Node]] = Node

    nodes: Ordered[Node]
    name: str = ""
    initial: Literal["zero", "uniform", "stationary"] = "zero"

    @model_validator(mode="before")
    @classmethod
    def _in_any_spelling(cls, values: Any) -> Any:
        return graph_layouts.modernised(values)

    @model_validator(mode="after")
    def _well_formed(self) -> Graph:
        names = [node.name for node in self.nodes]
        observed = [node.name for node in self.nodes if node.observed]
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise ValueError(f"node {repeated[0]!r} is defined {names.count(repeated[0])} times in {shown(names)}")
        if len(observed) != 1:
            seen = f"{len(observed)} observed nodes {shown(observed)} among {shown(names)}"
            raise ValueError(f"saw {seen}; exactly one is needed")
        if not (self.observed.parents or self.observed.recurrent):
            raise ValueError(
                f"{observed[0]}: saw no parents; the observed node needs a latent parent or recurrent=True"
            )
        self._refuse_strangers(observed[0], [name for name in names if name != observed[0]])
        self._refuse_cycle()
        if self.initial == "stationary" and self.context_nodes:
            names = shown([node.name for node in self.context_nodes])
            raise ValueError(f"initial: 'stationary' needs fixed kernels; mode 'context' redraws those of {names}")
        return self

    def _edges(self) -> list[tuple[str, str]]:
        return [(parent, node.name) for node in self.nodes for parent in node.parents]

    def _contemporaneous(self) -> list[tuple[str, str]]:
        return [(parent, child) for parent, child in self._edges() if parent != self.observed.name]

    def _refuse_strangers(self, observed: str, latents: list[str]) -> None:
        for parent, child in self._edges():
            if parent == child == observed:
                raise ValueError(f"{child}: saw itself as a parent; recurrent=True lets it see its previous state")
            if parent not in [*latents, observed]:
                raise ValueError(f"{child}: {unknown('parent', parent, latents)}")

    def _refuse_cycle(self) -> None:
        digraph = nx.DiGraph()
        digraph.add_edges_from(self._contemporaneous())
        if not nx.is_directed_acyclic_graph(digraph):
            cycle = [edge[0] for edge in nx.find_cycle(digraph)]
            raise ValueError(f"the nodes see one another in a cycle: {cut(' -> '.join([*cycle, cycle[0]]), 1000)}")

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """All nodes, parents before children, X last; otherwise as they were given."""
        latents = self.networkx().subgraph([node.name for node in self.nodes if not node.observed])
        position = {node.name: i for i, node in enumerate(self.nodes)}
        names = nx.lexicographical_topological_sort(latents, key=position.__getitem__)
        return (*(self[name] for name in names), self.observed)

    @property
    def latents(self) -> tuple[Node, ...]:
        """The latent nodes, parents before children."""
        return self.order[:-1]

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
        return prod(node.num_states for node in self.latents)

    def kernel_size(self, node: Node) -> int:
        """Number of entries of a node's kernel."""
        return prod(self.sizes_seen(node)) * node.num_states

    def sizes_seen(self, node: Node) -> list[int]:
        """Sizes of the axes of a node's kernel, but for the last: its own previous state, then each parent."""
        own = [node.num_states] if node.sees_itself else []
        return own + [self[parent].num_states for parent in node.parents]

    @property
    def context_nodes(self) -> tuple[Node, ...]:
        """The nodes whose kernels are redrawn for every sequence, in topological order."""
        return tuple(node for node in self.order if node.mode == "context")

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(unknown("node", name, [node.name for node in self.nodes]))

    def networkx(self) -> nx.DiGraph:
        """The edges as a ``DiGraph``, which carries ``name`` and ``initial``; nodes carry their fields.

        An edge has ``lag``, 0, or 1 for X seen by a latent, and ``position``, its parent's place among the parents.
        """
        digraph = nx.DiGraph(name=self.name, initial=self.initial)
        for node in self.nodes:
            digraph.add_node(node.name, **node.model_dump(exclude={"name", "parents"}))
        for node in self.nodes:
            for position, parent in enumerate(node.parents):
                digraph.add_edge(parent, node.name, lag=int(parent == self.observed.name), position=position)
        return digraph

    @classmethod
    def from_networkx(cls, digraph: nx.DiGraph) -> Graph:
        """The graph that ``networkx()`` was made of, or one drawn by hand.

        Args:
            digraph: nodes carry the fields of a ``Node``, ``num_states`` at least. The edges are the parents, in the
                order of their ``position`` or else of adding. Where no node says whether it is ``observed``, the only
                node without children is X. ``name`` and ``initial`` are read from ``digraph.graph``. What files add to
                these, an edge's ``id`` and a node's name as its ``label``, is left out.

        Raises:
            ValueError: naming each node and field at fault, or the edge; or what ``Graph`` refuses.
        """
        nodes, wrong = [], []
        for spec in node_specs(digraph):
            try:
                nodes.append(Node(**spec))
            except Refused as error:
                wrong += [("nodes", f"node {spec['name']!r}: {said}") for _, said in error.wrong]
        if wrong:
            raise Refused("the digraph", *wrong)
        return cls(
            nodes=nodes, **{field: digraph.graph[field] for field in ("name", "initial") if field in digraph.graph}
        )

    @classmethod
    def _of(cls, family: Family) -> Graph:
        fields = family.graph_fields()
        return cls(**fields | {"nodes": tuple(Node(**spec) for spec in fields["nodes"])})

    @classmethod
    def preset(cls, name: str, alpha_z: float = ALPHA_Z, alpha_x: float = ALPHA_X) -> Graph:
        """A named graph, with the Dirichlet concentrations of its latents (``alpha_z``) and of X (``alpha_x``).

        Raises:
            ValueError: an unknown name, or a concentration that is not positive.
        """
        if name not in list(PRESETS):
            raise ValueError(unknown("graph", name, PRESETS))
        specs = [{**spec, "alpha": alpha_x if spec.get("observed") else alpha_z} for spec in PRESETS[name]()]
        return cls(nodes=tuple(Node(**spec) for spec in specs), name=name)

    def __str__(self) -> str:
        told = f"joint states {self.num_joint_states:,}, vocab size {self.vocab_size}, initial {self.initial}"
        given = {field for node in self.nodes for field in node.model_dump(exclude_defaults=True)}
        fields = [field for field in ("kernel", "alpha", "mode", "stickiness") if field in given]
        rows = [self._row(node) | {field: str(getattr(node, field)) for field in fields} for node in self.order]
        return "\n".join([f"{self.name}: {told}" if self.name else told, *aligned(rows)])

    def _row(self, node: Node) -> dict[str, str]:
        seen = [f"{node.name}[t-1]"] if node.sees_itself else []
        seen += [f"{parent}[t-1]" if parent == self.observed.name else parent for parent in node.parents]
        return {"name": node.name, "states": str(node.num_states), "sees": ", ".join(seen)}

    def _repr_mimebundle_(self, **_asked: Any) -> dict[str, Any]:
        """What Jupyter shows: the figure, and where there are no figures the table."""
        # By the package's front door, because figures lie below: only who looks at a graph in a notebook loads plotly.
        import n2n

        return {"text/plain": str(self), **n2n.viz.draw_graph(self)._repr_mimebundle_()}
