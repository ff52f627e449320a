"""A networkx graph read as the fields of nodes."""

from __future__ import annotations

from typing import Any

import networkx as nx

from n2n.presets import NodeSpec
from n2n.strict import unknown

_EDGE_FIELDS = ("lag", "position")


def node_specs(digraph: Any) -> list[NodeSpec]:
    """The fields of every node, with ``observed`` filled in where no node has it.

    Raises:
        ValueError: not a ``DiGraph``; an edge with an unknown attribute or the wrong lag; no observed node that can be
            told.
    """
    if not isinstance(digraph, nx.DiGraph) or digraph.is_multigraph():
        raise ValueError(f"saw a {type(digraph).__name__}; a networkx.DiGraph is needed")
    specs = [{**fields, "name": name, "parents": _parents(digraph, name)} for name, fields in digraph.nodes.items()]
    if not any("observed" in spec for spec in specs):
        observed = _only_sink(digraph)
        specs = [spec | {"observed": spec["name"] == observed} for spec in specs]
    _refuse_edges(digraph, [spec["name"] for spec in specs if spec.get("observed")])
    return specs


def _parents(digraph: nx.DiGraph, name: Any) -> list[Any]:
    """In the order of ``position``, where edges carry it, and otherwise in that in which they were added."""
    seen = list(digraph.predecessors(name))
    positions = [digraph.edges[parent, name].get("position") for parent in seen]
    if None in positions:
        return seen
    return [parent for _, parent in sorted(zip(positions, seen, strict=True), key=lambda pair: pair[0])]


def _only_sink(digraph: nx.DiGraph) -> Any:
    # An edge of lag 1 is feedback from X, which would not make X less of a sink.
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
            if field not in _EDGE_FIELDS:
                raise ValueError(f"edge {parent} -> {child}: {unknown('attribute', field, _EDGE_FIELDS)}")
        lag = int(parent in observed)
        if fields.get("lag", lag) != lag:
            raise ValueError(
                f"edge {parent} -> {child}: saw lag {fields['lag']!r}; it is {lag} where {parent} is "
                f"{'the observed node' if lag else 'a latent'}"
            )
