"""Graphs in YAML files, in our spelling and in the older one of experiment files.

Ours is a mapping of ``nodes`` (a list of mappings), ``name`` and ``initial``. In the older one the list lies under
``gssm``, or under ``nodes`` in it, at the top of the file or in ``data``; what lies beside ``gssm`` is another's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import yaml

from n2n.marked_yaml import Entries, Faults, Page, at
from n2n.monitor.files import write_atomic
from n2n.strict import Refused, Strict, unknown

OLDER = {"state_dim": "num_states", "kernel_type": "kernel"}

G = TypeVar("G", bound=Strict)
N = TypeVar("N", bound=Strict)


def read(path: str | os.PathLike, graph: type[G], node: type[N]) -> G:
    """The graph in a file, built of the two classes given.

    Raises:
        ValueError: with the file, and the line and column of each fault.
    """
    try:
        page = Page(Path(path))
        entries = _entries_of_the_graph(page, list(graph.model_fields))
        nodes, marks = _nodes(page, entries["nodes"][1], node)
        given = {field: page.value(value) for field, (_, value) in entries.items() if field != "nodes"}
        try:
            return graph(nodes=nodes, **given)
        except Refused as error:
            raise Faults(*(at(_place(field, said, entries, marks), said) for field, said in error.wrong)) from None
    except Faults as error:
        raise ValueError(
            f"{os.fspath(path)} was refused:\n" + "\n".join(f"  - {said}" for said in error.args)
        ) from None


def write(fields: dict[str, Any], path: str | os.PathLike | None) -> str:
    """The text of a graph's fields, one line for each node; a file at ``path`` is replaced in one motion."""
    ordered = {name: fields[name] for name in fields if name != "nodes"}
    ordered["nodes"] = [_Line(spec) for spec in fields["nodes"]]
    text = yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    if path is not None:
        folder = Path(path).parent
        if not folder.is_dir():
            raise ValueError(f"cannot write {os.fspath(path)}: there is no folder {os.fspath(folder)}")
        write_atomic(Path(path), lambda file: file.write(text.encode()))
    return text


class _Line(dict):
    """A mapping to be written in one line."""


class _Dumper(yaml.SafeDumper):
    """The safe dumper, with ``_Line``."""


_Dumper.add_representer(
    _Line, lambda dumper, line: dumper.represent_mapping("tag:yaml.org,2002:map", line, flow_style=True)
)


def _entries_of_the_graph(page: Page, fields: list[str]) -> Entries:
    top = page.entries(page.root)
    inner = top["data"][1] if "data" in top else None
    inside = page.entries(inner) if isinstance(inner, yaml.MappingNode) else {}
    older = [entries["gssm"] for entries in (top, inside) if "gssm" in entries]
    if len(older) + ("nodes" in top) > 1:
        places = [at(key, key.value) for key, _ in older] + [at(top["nodes"][0], "nodes")] * ("nodes" in top)
        raise Faults(f"saw a graph in {len(places)} places, and one is needed: {'; '.join(places)}")
    if older and isinstance(older[0][1], yaml.SequenceNode):
        return {"nodes": older[0]}
    holder = older[0][1] if older else page.root
    if not isinstance(holder, yaml.MappingNode):
        raise Faults(at(holder, "gssm: a list of nodes is needed, or a mapping that has one under 'nodes'"))
    entries = page.entries(holder)
    if "nodes" not in entries:
        raise Faults(at(holder, f"no graph under 'nodes', 'gssm' or 'data: gssm'; saw the keys {list(entries)}"))
    strange = [at(place, unknown("key", key, fields)) for key, (place, _) in entries.items() if key not in fields]
    if strange:
        raise Faults(*strange)
    return entries


def _nodes(page: Page, listed: yaml.Node, node: type[N]) -> tuple[list[N], dict[str, yaml.Node]]:
    """The nodes, and where each of them lies."""
    if not isinstance(listed, yaml.SequenceNode):
        raise Faults(at(listed, "a list of nodes is needed"))
    faults, nodes, marks = [], [], {}
    for item in listed.value:
        try:
            nodes.append(_node(page, item, node))
            marks[nodes[-1].name] = item
        except Faults as error:
            faults += error.args
    if faults:
        raise Faults(*faults)
    return nodes, marks


def _node(page: Page, item: yaml.Node, node: type[N]) -> N:
    if not isinstance(item, yaml.MappingNode):
        raise Faults(at(item, f"saw {page.value(item)!r}; a node is a mapping with a name and num_states"))
    faults, fields, spelt = [], {}, {}
    for key, (place, value) in page.entries(item).items():
        field = OLDER.get(key, key)
        if field not in node.model_fields:
            faults.append(at(place, unknown("key", key, [*node.model_fields, *OLDER])))
        elif field in spelt:
            faults.append(at(place, f"{key}: the same as {spelt[field].value}, which the node has too"))
        else:
            spelt[field] = place
            fields[field] = _modern(key, page.value(value))
    try:
        built = node(**fields)
    except Refused as error:
        for field, said in error.wrong:
            key = spelt[field].value if field in spelt else field
            faults.append(at(spelt.get(field, item), key + said.removeprefix(field)))
    if faults:
        raise Faults(*faults)
    return built


def _modern(key: str, value: Any) -> Any:
    """A value of a node as ``Node`` spells it; what it cannot be is left as it was, for ``Node`` to refuse."""
    if key == "parents" and value is None:
        return ()
    if key == "mode" and isinstance(value, str):
        return value.lower()
    if key == "kernel_type" and isinstance(value, str):
        return "full" if value.lower() == "fullrank" else value.lower()
    return value


def _place(field: str, said: str, entries: Entries, marks: dict[str, yaml.Node]) -> yaml.Node:
    """That of the field, or else of the node that the message names: first, in quotes, or at the head of a cycle."""
    if field in entries and field != "nodes":
        return entries[field][0]
    quoted = said.removeprefix("node '").partition("'")[0]
    named = (said.partition(":")[0], quoted, said.rpartition(": ")[2].partition(" -> ")[0])
    return next((marks[name] for name in named if name in marks), entries["nodes"][0])
