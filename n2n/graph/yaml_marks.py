"""Read YAML 1.2 into plain values with their positions: graphs, a sweep's points, and lists from a shell.

``yaml_schema`` defines which values are numbers. A route gives the place of a value among the plain values. Every fault
is reported with the line and column of its route.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, StreamMark
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver

from n2n.graph.yaml_schema import TAG, refuse_tag, resolvers, scalar
from n2n.utils.nested import MAX_DEPTH, MAX_VALUES, TOO_DEEP, TOO_LARGE, Route
from n2n.utils.strict import MAX_SENTENCE, MAX_SENTENCES, nearest_name, short_repr, shorten

Entries = dict[str, tuple[ScalarNode, Node]]  # each key of a mapping, with the nodes of the key and of its value

MAX_FILE = 2**24  # bytes


class Faults(Exception):
    """All faults of a text, each with its position."""

    def within(self, file: str | os.PathLike) -> ValueError:
        """Return the error for the file that holds the text."""
        lines = [f"  - {shorten(fault, MAX_SENTENCE)}" for fault in self.args[:MAX_SENTENCES]]
        if len(self.args) > len(lines):
            lines.append(f"  - and {len(self.args) - len(lines):,} more")
        return ValueError("\n".join([f"{os.fspath(file)} was refused:", *lines]))


class _Core(VersionedResolver):
    """Resolves the types of plain scalars by the core schema."""

    versioned_resolver = resolvers()


class Page:
    """A YAML text as plain values, ``value``, with the position of each value.

    Args:
        content: the text, or its bytes.

    Raises:
        Faults: if the text is not YAML, a key is repeated (the message gives both lines), a key is not a single word, a
            merge is invalid, or values are nested too deeply or too many. ``refuse`` reports the single values that
            could not be read.
    """

    def __init__(self, content: str | bytes) -> None:
        self._root = _composed(content)
        nodes = list(_nodes(self._root, set()))
        faults = [fault for node in nodes if isinstance(node, MappingNode) for fault in _wrong_keys(node)]
        if faults:
            raise Faults(*faults)
        _refuse_tangled(self._root)
        self._refused: dict[Route, str] = {}
        self.value = self._value(self._root, ())

    def _value(self, node: Node, route: Route) -> Any:
        try:
            if isinstance(node, ScalarNode):
                return scalar(node)
            refuse_tag(node, "map" if isinstance(node, MappingNode) else "seq")
        except ValueError as error:
            self._refused[route] = str(error)
            return None
        if isinstance(node, MappingNode):
            return {key: self._value(value, (*route, key)) for key, (_, value) in _entries(node).items()}
        return [self._value(item, (*route, i)) for i, item in enumerate(node.value)]

    def refuse(self, route: Route = ()) -> None:
        """Refuse values that could not be read, from a route downwards.

        Raises:
            Faults: if there are such values; the message gives the position of each.
        """
        faults = [self.at(place, message) for place, message in self._refused.items() if place[: len(route)] == route]
        if faults:
            raise Faults(*faults)

    def at(self, route: Route, said: str) -> str:
        """Return a fault with its position, which is that of the key or list item at the end of the route."""
        place = node = self._root
        for step in route:
            if isinstance(node, MappingNode) and step in _entries(node):
                place, node = _entries(node)[step]
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
                place = node = node.value[step]
            else:  # a missing field has the position of the value that lacks it
                break
        return _at(place.start_mark, said)


def read(path: str | os.PathLike) -> Page:
    """Read a YAML file.

    Raises:
        Faults: under the same conditions as ``Page``, or if the file cannot be read or is larger than ``MAX_FILE``.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise Faults(f"{getattr(error, 'strerror', None) or error}{nearest_name(path.name, names)}") from None
    if len(content) > MAX_FILE:
        raise Faults(f"it is larger than {MAX_FILE // 2**20} MB")
    return Page(content)


def _at(mark: StreamMark, said: str) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}"


def _composed(content: str | bytes) -> Node:
    reader = YAML(typ="safe", pure=True)
    reader.Resolver, reader.max_depth = _Core, MAX_DEPTH
    reader.composer.warn_double_anchors = False  # YAML allows an anchor to be set again
    try:
        root = reader.compose(content)
    except MaxDepthExceededError as error:
        raise Faults(_at(error.problem_mark, TOO_DEEP)) from None
    except MarkedYAMLError as error:
        raise Faults(_at(error.problem_mark or error.context_mark, error.problem or error.context)) from None
    except YAMLError as error:  # the text has bytes or characters that YAML does not allow
        raise Faults(" ".join(str(error).split())) from None
    if reader.version not in (None, (1, 2)):
        version = ".".join(map(str, reader.version))
        raise Faults(f"line 1, column 1: saw %YAML {version}; files are read as YAML 1.2, so leave that line out")
    return _composed("~") if root is None else root


def _nodes(node: Node, met: set[int]) -> Iterator[Node]:
    """Yield a node and all nodes in it, each once."""
    if id(node) in met:
        return
    met.add(id(node))
    yield node
    for child in _children(node):
        yield from _nodes(child, met)


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, SequenceNode) else []


def _wrong_keys(mapping: MappingNode) -> Iterator[str]:
    first: dict[str, Node] = {}
    for key, value in mapping.value:
        if not isinstance(key, ScalarNode):
            yield _at(key.start_mark, "a key must be a single word")
        elif first.setdefault(key.value, key) is not key:
            line = first[key.value].start_mark.line + 1
            yield _at(key.start_mark, f"the key {short_repr(key.value)} is on line {line} already")
        elif _merges(key):
            wrong = [source for source in _sources(value) if not isinstance(source, MappingNode)]
            yield from (_at(source.start_mark, "<< merges only mappings") for source in wrong)


def _merges(key: ScalarNode) -> bool:
    return key.tag == f"{TAG}merge"


def _sources(value: Node) -> list[Node]:
    return value.value if isinstance(value, SequenceNode) else [value]


def _entries(mapping: MappingNode) -> Entries:
    """Return the keys and values of a mapping, including those that ``<<`` merges in.

    The mapping's own entries take precedence, and then those of the first merged mapping.
    """
    merged: Entries = {}
    for key, value in mapping.value:
        for source in _sources(value) if _merges(key) else []:
            merged = {**_entries(source), **merged}
    return {**merged, **{key.value: (key, value) for key, value in mapping.value if not _merges(key)}}


def _refuse_tangled(root: Node) -> None:
    known: dict[int, tuple[int, int]] = {}

    def measured(node: Node) -> tuple[int, int]:
        """Return the number of values and of levels; each alias counts as the node to which it refers."""
        if id(node) not in known:
            known[id(node)] = MAX_VALUES, MAX_DEPTH  # an alias inside the node itself has this size
            parts = [measured(child) for child in _children(node)]
            known[id(node)] = 1 + sum(size for size, _ in parts), 1 + max((height for _, height in parts), default=0)
        size, height = known[id(node)]
        if height > MAX_DEPTH or size > MAX_VALUES:
            raise Faults(
                _at(
                    node.start_mark,
                    TOO_LARGE.format(MAX_VALUES) if height <= MAX_DEPTH else f"{TOO_DEEP}, or an alias holds itself",
                )
            )
        return size, height

    measured(root)
