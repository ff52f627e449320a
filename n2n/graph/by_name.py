"""Convert a preset's name, a graph or a process to a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from n2n.graph.graph import Graph
from n2n.graph.presets import PRESETS
from n2n.utils.strict import short_repr


def as_graph(value: object) -> object:
    """Return the graph of a preset's name; return a graph, or a mapping that defines one, unchanged.

    Raises:
        ValueError: if the preset is unknown, or ``value`` is none of these.
    """
    if isinstance(value, str):
        return Graph.preset(value)
    if not isinstance(value, Graph | Mapping):
        raise ValueError(
            f"saw {short_repr(value)}; a Graph or a preset's name is needed (presets: {', '.join(PRESETS)})"
        )
    return value


def graph_of(value: Any) -> Graph:
    """Return a graph, the graph of a process, or the graph of a preset's name.

    Raises:
        ValueError: if ``value`` is none of these.
    """
    graph = as_graph(value) if isinstance(value, Graph | str) else getattr(value, "graph", None)
    if not isinstance(graph, Graph):
        raise ValueError(f"graph: saw {short_repr(value)}; a Graph, a Process or a preset's name is needed")
    return graph


GraphOrPreset = Annotated[Graph, BeforeValidator(as_graph)]


def graphs_by_name(graphs: Iterable[Graph | str]) -> dict[str, Graph]:
    """Return graphs by name; the second graph is called ``"graph 2"`` if it has no name.

    Raises:
        ValueError: if a preset is unknown, a value is no graph, ``graphs`` is empty, or two graphs have the same name.
    """
    graphs = [graph_of(graph) for graph in graphs]
    names = [graph.name or f"graph {i}" for i, graph in enumerate(graphs, start=1)]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"saw graphs of the names {names}; at least one is needed, and no name twice")
    return dict(zip(names, graphs, strict=True))
