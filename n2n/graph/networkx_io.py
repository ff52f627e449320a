"""Read the fields of nodes from a networkx graph."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import networkx as nx

from n2n.graph.presets import NodeSpec
from n2n.utils.strict import short_repr, unknown_name_message

_EDGE_FIELDS = ("lag", "position")
_FILE_EDGE_FIELDS = ("id",)  # GraphML and GEXF files add this to an edge; it does not describe the graph
_FILE_NODE_FIELDS = ("id", "label")  # GML and GEXF files add these to a node; they repeat its name


def node_specs(digraph: Any) -> list[NodeSpec]:
    """Return the fields of every node, and infer ``observed`` if no node has it.

    Raises:
        ValueError: if ``digraph`` is not a ``DiGraph``, an edge has an unknown attribute, the wrong lag or an unclear
            position, or the observed node cannot be inferred.
    """
    if not isinstance(digraph, nx.DiGraph) or digraph.is_multigraph():
        made = "; networkx.DiGraph(graph) makes one" if isinstance(digraph, nx.MultiDiGraph) else ""
        raise ValueError(f"saw a {type(digraph).__name__}; a networkx.DiGraph is needed{made}")
    specs = [
        {**_fields(name, fields), "name": name, "parents": _parents(digraph, name)}
        for name, fields in digraph.nodes.items()
    ]
    if not any("observed" in spec for spec in specs):
        observed = _only_sink(digraph)
        specs = [spec | {"observed": spec["name"] == observed} for spec in specs]
    _refuse_edges(digraph, [spec["name"] for spec in specs if spec.get("observed")])
    return specs


def _fields(name: Any, fields: dict[str, Any]) -> NodeSpec:
    return {field: value for field, value in fields.items() if not (field in _FILE_NODE_FIELDS and value == name)}


def _parents(digraph: nx.DiGraph, name: Any) -> list[Any]:
    """Return a node's parents in the order of ``position``, or in the order of insertion if edges have no position."""
    parents = list(digraph.predecessors(name))
    positions = [digraph.edges[parent, name].get("position") for parent in parents]
    if all(position is None for position in positions):
        return parents
    for parent, position in zip(parents, positions, strict=True):
        if isinstance(position, bool) or not isinstance(position, Integral) or positions.count(position) > 1:
            raise ValueError(
                f"edge {parent} -> {name}: saw position {short_repr(position)}; each edge to {name} needs its own "
                "integer, or none has one"
            )
    return sorted(parents, key=lambda parent: digraph.edges[parent, name]["position"])


def _only_sink(digraph: nx.DiGraph) -> Any:
    # An edge of lag 1 is feedback from X. X may have such edges and still count as a sink.
    sinks = [
        name for name in digraph if not any(digraph.edges[edge].get("lag") != 1 for edge in digraph.out_edges(name))
    ]
    if len(sinks) != 1:
        raise ValueError(
            f"saw no node with observed=True, and {len(sinks)} nodes without children {sinks}, one of which "
            "could have been X"
        )
    return sinks[0]


def _refuse_edges(digraph: nx.DiGraph, observed: list[Any]) -> None:
    for parent, child, fields in digraph.edges(data=True):
        for field in fields:
            if field not in _EDGE_FIELDS + _FILE_EDGE_FIELDS:
                raise ValueError(f"edge {parent} -> {child}: {unknown_name_message('attribute', field, _EDGE_FIELDS)}")
        lag = int(parent in observed)
        if fields.get("lag", lag) != lag:
            raise ValueError(
                f"edge {parent} -> {child}: saw lag {fields['lag']!r}; it is {lag} where {parent} is "
                f"{'the observed node' if lag else 'a latent'}"
            )
