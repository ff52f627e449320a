"""Find graphs in plain values, in today's spelling and in the older spelling of experiment files.

In today's spelling, a graph is a mapping of ``nodes`` (a list of mappings), ``name``, ``initial`` and ``pool``. In the
older spelling, graphs are under ``gssm``, as in ``run_config: {data: {gssm: {nodes: [..]}}}``, or under names of their
own. One file may hold several graphs, and the other entries next to them are not part of a graph. A list of lists is
one graph if exactly one of all its nodes is observed; otherwise each part is a graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

from n2n.graph.older_nodes import OLDER, SIZES, has_kernel, is_observed, is_older, today, twice
from n2n.utils.nested import Route
from n2n.utils.strict import short_repr, unknown_name_message

Placed = tuple[Route, Any]

GSSM = "gssm"
STRUCTURE = {"run_config", "data", GSSM, "nodes", "graphs", "graph"}  # keys that are not part of a graph's name
UNCLEAR = "kernel: missing, and not clear: left out, it is 'full' in today's spelling and 'product' in the older one"
ASIDE = {"grid", "sweep"}  # keys of values that vary over runs


class Wrong(ValueError):
    """All faults, as pairs of a route and a message."""

    def __str__(self) -> str:
        return "\n".join(f"{'.'.join(map(str, route))}: {said}" if route else said for route, said in self.args)


@dataclass(frozen=True)
class GraphEntry:
    """A graph in plain values.

    Args:
        route: route of the mapping or the list that is the graph.
        nodes: the specification of each node, with its route.
        fields: the graph's entries other than ``nodes``.
        spelling: ``"older"`` under ``gssm``, ``"today's"`` under ``nodes`` at the top, and ``"unknown"`` elsewhere,
            where only the nodes' keys may reveal the spelling.
        name: the name by which the graph is chosen.
    """

    route: Route
    nodes: tuple[Placed, ...]
    fields: Mapping[str, Any]
    spelling: Literal["older", "today's", "unknown"]
    name: str = ""

    @property
    def title(self) -> str:
        """The keys that lead to the graph, without the ones that every file has; empty if only indices are left."""
        has_name = any(isinstance(step, str) and step not in STRUCTURE for step in self.route)
        return _joined(self.route, STRUCTURE) if has_name else ""


def find(root: Any) -> list[GraphEntry]:
    """Return every graph in plain values, each with the name by which it is chosen.

    Raises:
        Wrong: if a value under ``gssm`` or ``nodes`` is not a graph, or an entry next to it may belong to it.
    """
    entries = [graph for place in _under_gssm(root, ()) for graph in _at_gssm(*place)]
    if _holds_nodes(root):
        entries += _graphs((), {key: value for key, value in root.items() if key not in ASIDE}, "today's")
    return _named(entries or _elsewhere(root))


def choose(entries: list[GraphEntry], name: str | None, hint: str) -> GraphEntry:
    """Return the graph with this name, or the only graph.

    Raises:
        Wrong: if no graph has this name, or if ``name`` is None and there are several different graphs.
    """
    assert entries, "callers say where they looked"
    if name is not None:
        chosen = [graph for graph in entries if graph.name == name]
        if not chosen:
            raise Wrong(((), unknown_name_message("graph", name, [graph.name for graph in entries])))
        return chosen[0]
    first = entries[0]
    for other in entries[1:]:
        alike = [value for _, value in other.nodes] == [value for _, value in first.nodes]
        if not alike or (other.fields, other.spelling) != (first.fields, first.spelling):
            raise Wrong(
                ((), f"saw {len(entries)} graphs, and one is needed{hint}"),
                *((graph.route, f"the graph {short_repr(graph.name)}") for graph in entries),
            )
    return first


def _named(entries: list[GraphEntry]) -> list[GraphEntry]:
    """Return the graphs with their names; graphs that would share a name have their routes as names instead."""
    names = [graph.title or _own_name(graph) or _joined(graph.route, STRUCTURE) for graph in entries]
    unclear = [name for name in names if names.count(name) > 1 or (not name and len(entries) > 1)]
    clear = [
        (_joined(graph.route, ()) or "nodes") if name in unclear else name
        for name, graph in zip(names, entries, strict=True)
    ]
    return [replace(graph, name=name) for name, graph in zip(clear, entries, strict=True)]


def _joined(route: Route, without: Collection[str]) -> str:
    return ".".join(str(step) for step in route if step not in without)


def _own_name(graph: GraphEntry) -> str:
    name = graph.fields.get("name")
    return name if isinstance(name, str) else ""


def _under_gssm(value: Any, route: Route) -> Iterator[Placed]:
    for step, child in _inside(value):
        if step == GSSM:
            for field in [field for field in ("initial", "pool") if field in value]:
                raise Wrong(((*route, field), "next to gssm it belongs to no graph; put it next to gssm's nodes"))
            yield (*route, step), child
        else:
            yield from _under_gssm(child, (*route, step))


def _inside(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def _at_gssm(route: Route, value: Any) -> list[GraphEntry]:
    if not ASIDE & set(route):
        return _graphs(route, value, "older")
    try:  # values that vary a graph need not be graphs
        return [graph for graph in _graphs(route, value, "older") if all(_sized(node) for _, node in graph.nodes)]
    except Wrong:
        return []


def _graphs(route: Route, value: Any, spelling: str) -> list[GraphEntry]:
    """Return the graphs in a value: nodes, a mapping with ``nodes``, or a mapping or list of these."""
    if _holds_nodes(value):
        fields = {key: field for key, field in value.items() if key != "nodes"}
        parts = _lists((*route, "nodes"), value["nodes"])
        return [GraphEntry(route if len(parts) == 1 else at, nodes, fields, spelling) for at, nodes in parts]
    if _nodes_by_name(value) or (isinstance(value, list | tuple) and not any(_holds_nodes(item) for item in value)):
        return [GraphEntry(at, nodes, {}, spelling) for at, nodes in _lists(route, value)]
    entries = list(_inside(value))
    if not entries or not all(isinstance(child, Mapping | list | tuple) for _, child in entries):
        content = (
            f"; saw the keys {short_repr(list(value))}" if isinstance(value, Mapping) else f"; saw {short_repr(value)}"
        )
        raise Wrong((route, f"a list of nodes is needed, or a mapping that has one under 'nodes'{content}"))
    return [graph for step, child in entries for graph in _graphs((*route, step), child, spelling)]


def _holds_nodes(value: Any) -> bool:
    return isinstance(value, Mapping) and "nodes" in value


def _nodes_by_name(value: Any) -> bool:
    """Return whether a value is a mapping from the names of nodes to their other fields."""
    return (
        isinstance(value, Mapping)
        and all(isinstance(spec, Mapping) and not _holds_nodes(spec) for spec in value.values())
        and any(_sized(spec) for spec in value.values())
    )


def _sized(spec: Any) -> bool:
    return isinstance(spec, Mapping) and any(key in spec for key in SIZES)


def _lists(route: Route, value: Any) -> list[tuple[Route, tuple[Placed, ...]]]:
    """Return the lists of nodes in a value with their routes; each list is a graph."""
    if _nodes_by_name(value):
        return [(route, tuple(_with_name((*route, name), name, spec) for name, spec in value.items()))]
    if not isinstance(value, list | tuple):
        raise Wrong((route, f"a list of nodes is needed, or a mapping of them by name; saw {short_repr(value)}"))
    parts = [_flat((*route, i), item) for i, item in enumerate(value)]
    observed = [sum(is_observed(node) for _, node in part) for part in parts]
    if sum(observed) == 1 or not all(isinstance(item, list | tuple) for item in value) or not value:
        return [(route, tuple(chain.from_iterable(parts)))]
    if all(observed):
        return [placed for i, item in enumerate(value) for placed in _lists((*route, i), item)]
    raise Wrong(
        (
            route,
            f"the lists in this list have {short_repr(observed)} observed nodes; one is needed in all together (one "
            "graph) or in each (several graphs)",
        )
    )


def _flat(route: Route, value: Any) -> list[Placed]:
    if not isinstance(value, list | tuple):
        return [(route, value)]
    return [placed for i, item in enumerate(value) for placed in _flat((*route, i), item)]


def _with_name(route: Route, name: str, spec: Mapping[str, Any]) -> Placed:
    if spec.get("name", name) != name:
        raise Wrong((route, f"the node {short_repr(name)} is named {short_repr(spec['name'])} too"))
    return route, {"name": name, **spec}


def _elsewhere(root: Any) -> list[GraphEntry]:
    """Return the graphs under names of their own.

    Graphs without an observed node are parts of other graphs. They are returned only if no graph has an observed node.
    """
    entries = [graph for route, value in _candidates(root, ()) for graph in _graphs(route, value, "unknown")]
    whole = [graph for graph in entries if any(is_observed(node) for _, node in graph.nodes)]
    return whole or entries


def _candidates(value: Any, route: Route) -> Iterator[Placed]:
    """Yield possible graphs: mappings with ``nodes``, and lists of nodes that include the older spelling."""
    nodes = value["nodes"] if _holds_nodes(value) and route else value
    if _are_nodes(nodes) and (nodes is not value or any(is_older(node) for _, node in _flat((), value))):
        yield route, value
        return
    for step, child in _inside(value):
        yield from _candidates(child, (*route, step))


def _are_nodes(value: Any) -> bool:
    if isinstance(value, list | tuple):
        nodes = [node for _, node in _flat((), value)]
        return bool(nodes) and all(_sized(node) for node in nodes)
    return _nodes_by_name(value)


def nodes_today(graph: GraphEntry) -> tuple[list[tuple[Route, Any, dict[str, str]]], list[tuple[Route, str]]]:
    """Return each node of a graph in today's spelling: its route, its fields, and the key that spelt each field.

    Returns:
        the nodes, and the faults with their routes. A fault is a field in both spellings or a missing kernel that is
        ambiguous.
    """
    older = [node.get("name") for _, node in graph.nodes if is_older(node)]
    wrong, nodes = [], []
    for route, spec in graph.nodes:
        wrong += [((*route, key), f"{key}: the same as {OLDER[key]}, which the node has too") for key in twice(spec)]
        is_product = graph.spelling == "older" or is_older(spec)
        if not (is_product or has_kernel(spec)) and (older or graph.spelling == "unknown"):
            wrong.append((route, UNCLEAR + (f", as the node {short_repr(older[0])} is spelt" if older else "")))
        nodes.append((route, *today(spec, "product" if is_product else None)))
    return nodes, wrong


def modernised(values: Any) -> Any:
    """Return a graph's fields in today's spelling if ``values`` is in the older spelling; otherwise return ``values``.

    Raises:
        ValueError: if there are several graphs, or if the nodes are ambiguous.
    """
    if not isinstance(values, Mapping):
        return values
    if "nodes" in values and not _has_older_nodes(values["nodes"]):
        return values
    entries = find(values)
    if not entries:
        return values
    graph = choose(entries, None, "")
    nodes, wrong = nodes_today(graph)
    if wrong:
        raise Wrong(*wrong)
    title = {"name": graph.title} if graph.title else {}
    return {**title, **graph.fields, "nodes": [fields for _, fields, _ in nodes]}


def _has_older_nodes(nodes: Any) -> bool:
    if isinstance(nodes, Mapping):
        return True
    is_list = isinstance(nodes, list | tuple)
    return is_list and any(is_older(node) or isinstance(node, list | tuple) for node in nodes)
