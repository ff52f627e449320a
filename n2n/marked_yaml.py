"""YAML whose values know their line and column, and in which no key is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from n2n.strict import nearest

Entries = dict[Any, tuple[yaml.Node, yaml.Node]]  # of a mapping: for each key, the key and the value with their marks


class Faults(Exception):
    """All that is wrong with a file, each fault with its place."""


def at(place: yaml.Node | yaml.Mark, said: str) -> str:
    """A fault with its place, counted from 1."""
    mark = place if isinstance(place, yaml.Mark) else place.start_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}"


class Page:
    """A file parsed, but not yet made into values.

    Raises:
        Faults: no such file, no YAML, or a repeated key, of which YAML's own reader would silently keep the last.
    """

    def __init__(self, path: Path) -> None:
        content = _bytes(path)
        try:
            self._loader = yaml.SafeLoader(content)
            root = self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            raise Faults(at(error.problem_mark, error.problem)) from None
        except yaml.YAMLError as error:  # bytes or characters that YAML does not have
            raise Faults(" ".join(str(error).split())) from None
        if not isinstance(root, yaml.MappingNode):
            raise Faults("line 1, column 1: a mapping is needed, such as one with the key 'nodes'")
        repeated = list(_repeated_keys(root))
        if repeated:
            raise Faults(*repeated)
        self.root = root

    def entries(self, mapping: yaml.MappingNode) -> Entries:
        """The keys and values of a mapping, with those that ``<<`` merges in."""
        try:
            self._loader.flatten_mapping(mapping)  # puts what is merged first, so that the mapping's own keys win
        except yaml.MarkedYAMLError as error:
            raise Faults(at(error.problem_mark, error.problem)) from None
        strange = [
            at(key, "a key must be a single word") for key, _ in mapping.value if not isinstance(key, yaml.ScalarNode)
        ]
        if strange:
            raise Faults(*strange)
        return {self.value(key): (key, value) for key, value in mapping.value}

    def value(self, node: yaml.Node) -> Any:
        """The plain value."""
        try:
            return self._loader.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as error:
            raise Faults(at(error.problem_mark, error.problem)) from None
        except ValueError as error:  # such as a date in a thirteenth month
            raise Faults(at(node, str(error))) from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise Faults(f"{error.strerror}{nearest(path.name, beside)}") from None


def _repeated_keys(root: yaml.Node) -> Iterator[str]:
    for mapping in _mappings(root, set()):
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in mapping.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault((key.tag, key.value), key) is not key:
                line = first[key.tag, key.value].start_mark.line + 1
                yield at(key, f"the key {key.value!r} is on line {line} already")


def _mappings(node: yaml.Node, met: set[int]) -> Iterator[yaml.MappingNode]:
    if id(node) in met or isinstance(node, yaml.ScalarNode):
        return  # an alias may lead back to where it lies
    met.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _mappings(part, met)
