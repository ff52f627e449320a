"""Fields that several configurations have: graphs by name, paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from n2n.graph import Graph
from n2n.presets import PRESETS
from n2n.utils.strict import shown


def preset(value: object) -> object:
    """A graph, what one is made of, or a preset's name as its graph."""
    if isinstance(value, str):
        return Graph.preset(value)
    if not isinstance(value, Graph | Mapping):
        raise ValueError(f"saw {shown(value)}; a Graph or a preset's name is needed (presets: {', '.join(PRESETS)})")
    return value


def graph_of(value: Any) -> Graph:
    """A graph, that of a process, or that of a preset's name.

    Raises:
        ValueError: something else.
    """
    found = preset(value) if isinstance(value, Graph | str) else getattr(value, "graph", None)
    if not isinstance(found, Graph):
        raise ValueError(f"graph: saw {shown(value)}; a Graph, a Process or a preset's name is needed")
    return found


GraphOrPreset = Annotated[Graph, BeforeValidator(preset)]
