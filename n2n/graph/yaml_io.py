"""Graphs in YAML files, in today's spelling and in the older spelling of experiment files; see ``yaml_layouts``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from n2n.graph import yaml_marks
from n2n.graph.node import Node
from n2n.graph.older_nodes import OLDER
from n2n.graph.yaml_layouts import GraphEntry, Wrong, choose, find, nodes_today
from n2n.graph.yaml_marks import Faults, Page
from n2n.graph.yaml_schema import TAG
from n2n.utils.files import write_text
from n2n.utils.nested import Route
from n2n.utils.paths import checked_path
from n2n.utils.strict import Refused, Strict, short_repr, unknown_name_message

if TYPE_CHECKING:
    from typing import Self

T = TypeVar("T")
G = TypeVar("G", bound=Strict)

OTHERS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # YAML 1.1 or 1.2 does not read these as text
HINT = "; Graph.from_yaml(path, name=...) takes one of them"


class YamlFiles:
    """Methods of ``Graph`` that read and write YAML."""

    @classmethod
    def from_yaml(cls, path: str | os.PathLike, name: str | None = None) -> Self:
        """Read a graph from a YAML file: a mapping of ``nodes`` (a list of mappings) and the graph's other fields.

        Experiment files in the older spelling are read too. They have a graph under ``gssm``, as in ``run_config:
        {data: {gssm: {nodes: [..]}}}``, or under a name of its own. Other entries of such a file, such as a grid, are
        ignored. A node may have ``state_dim`` instead of ``num_states``, and ``kernel_type``, which is ``fullrank`` or
        ``product``, instead of ``kernel``. The default kernel is ``"product"`` for a node with such a key and for every
        node under ``gssm``, as in the older system. In today's spelling it is ``"full"``. The same rules hold for the
        mappings that ``Graph`` and ``TrainConfig`` accept.

        Args:
            path: a file in YAML 1.2.
            name: name of the graph to read if the file holds several; see ``all_from_yaml``.

        Raises:
            ValueError: if the file does not exist or is not YAML, a key is repeated or unknown, a field is in both
                spellings, a kernel is ambiguous, ``Node`` or ``Graph`` refuses a value, or the file holds several
                graphs and no name is given. The message gives the file, and the line and column of each fault.
        """
        return _of(path, lambda page: _built(page, choose(_entries(page), name, HINT), cls))

    @classmethod
    def all_from_yaml(cls, path: str | os.PathLike) -> dict[str, Self]:
        """Read every graph in a YAML file.

        A graph's key in the result consists of the keys that lead to it, or else is its own name or its position.

        Raises:
            ValueError: under the same conditions as ``from_yaml``.
        """
        return _of(path, lambda page: {entry.name: _built(page, entry, cls) for entry in _entries(page)})

    def to_yaml(self, path: str | os.PathLike | None = None) -> str:
        """Return the graph as YAML text without the fields that have their default; ``from_yaml`` reads this text.

        Args:
            path: a file to write as well; an existing file is replaced in one step.

        Raises:
            ValueError: if ``path`` is not a path, the file's folder does not exist, or the file is read-only.
        """
        place = None if path is None else checked_path(path, "path")
        return _write(self.model_dump(mode="json", exclude_defaults=True), place)


def _write(fields: dict[str, Any], path: Path | None) -> str:
    """Return a graph's fields as text, with one line for each node, and replace the file at ``path`` in one step."""
    ordered = {name: fields[name] for name in fields if name != "nodes"}
    ordered["nodes"] = [_Line(spec) for spec in fields["nodes"]]
    writer, stream = YAML(typ="safe", pure=True), StringIO()
    writer.Representer, writer.default_flow_style, writer.width = _Representer, False, 120
    writer.sort_base_mapping_type_on_output = False
    writer.dump(ordered, stream)
    text = stream.getvalue()
    if path is not None:
        if not path.parent.is_dir():
            raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
        write_text(path, text)
    return text


class _Line(dict):
    """A mapping that is written on one line."""


class _Representer(SafeRepresenter):
    """Represents plain values and ``_Line``; it quotes every text that a YAML reader may parse as something else."""

    def text(self, value: str) -> ScalarNode:
        is_word = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", value) and value.lower() not in OTHERS
        return self.represent_scalar(f"{TAG}str", value, style=None if is_word else '"')

    def number(self, value: float) -> ScalarNode:
        text = repr(value)  # YAML 1.1 reads a float without a point as text
        return self.represent_scalar(f"{TAG}float", text if "." in text else text.replace("e", ".0e"))

    def line(self, value: _Line) -> MappingNode:
        return self.represent_mapping(f"{TAG}map", value, flow_style=True)


_Representer.add_representer(str, _Representer.text)
_Representer.add_representer(float, _Representer.number)
_Representer.add_representer(_Line, _Representer.line)


def _of(path: str | os.PathLike, work: Callable[[Page], T]) -> T:
    try:
        page = yaml_marks.read(checked_path(path, "path"))
        try:
            return work(page)
        except Wrong as error:
            for route in (route for route, _ in error.args if route):
                page.refuse(route)  # a value that could not be read looks like a missing one
            raise Faults(*(page.at(route, said) for route, said in error.args)) from None
    except Faults as error:
        raise error.within(path) from None


def _entries(page: Page) -> list[GraphEntry]:
    entries = find(page.value)
    if not entries:
        page.refuse()
        content = (
            f"the keys {short_repr(list(page.value))}" if isinstance(page.value, Mapping) else short_repr(page.value)
        )
        raise Wrong(((), f"no graph under 'nodes' or 'gssm'; saw {'nothing' if page.value is None else content}"))
    return entries


def _built(page: Page, entry: GraphEntry, graph: type[G]) -> G:
    page.refuse(entry.route)
    known = [field for field in graph.model_fields if field != "nodes"]
    strange = [
        ((*entry.route, key), unknown_name_message("key", key, graph.model_fields))
        for key in entry.fields
        if key not in known
    ]
    if strange:
        raise Wrong(*strange)
    nodes, routes = _nodes(entry)
    try:
        return graph(**{"name": entry.title, **entry.fields, "nodes": nodes})
    except Refused as error:
        raise Wrong(*((_place(field, said, entry, routes), said) for field, said in error.wrong)) from None


def _nodes(entry: GraphEntry) -> tuple[list[Node], dict[str, Route]]:
    """Return the nodes, and the route of each node by its name."""
    nodes, routes = [], {}
    placed, wrong = nodes_today(entry)
    for route, fields, spelt in placed:
        try:
            nodes.append(_node(route, fields, spelt))
            routes[nodes[-1].name] = route
        except Wrong as error:
            wrong += error.args
    if wrong:
        raise Wrong(*wrong)
    return nodes, routes


def _node(route: Route, fields: Any, spelt: dict[str, str]) -> Node:
    if not isinstance(fields, Mapping):
        raise Wrong((route, f"saw {short_repr(fields)}; a node is a mapping with a name and num_states"))
    allowed = [*Node.model_fields, *OLDER]
    wrong = [((*route, key), unknown_name_message("key", key, allowed)) for key in spelt.values() if key not in allowed]
    try:
        built = Node(**{field: value for field, value in fields.items() if field in Node.model_fields})
    except Refused as error:
        for field, said in error.wrong:
            key = spelt.get(field, field)
            wrong.append(((*route, key), key + said.removeprefix(field) if field else said))
    if wrong:
        raise Wrong(*wrong)
    return built


def _place(field: str, message: str, entry: GraphEntry, routes: dict[str, Route]) -> Route:
    """Return the route of the field, or else of the node that the message names.

    The message has the node's name at its start, in quotes, or at the head of a cycle.
    """
    if field in entry.fields:
        return (*entry.route, field)
    quoted = message.removeprefix("node '").partition("'")[0]
    candidates = (message.partition(":")[0], quoted, message.rpartition(": ")[2].partition(" -> ")[0])
    return next((routes[name] for name in candidates if name in routes), (*entry.route, "nodes"))
