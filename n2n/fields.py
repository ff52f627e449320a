"""Fields that several configurations have: graphs by name, paths."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from n2n.graph import Graph
from n2n.paths import readable
from n2n.presets import PRESETS
from n2n.strict import shown


def path(value: object) -> object:
    """A path as text, ``~`` expanded; "" stands for a default, and is left."""
    return value if value == "" else readable(value)


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


def _no_file(folder: str) -> str:
    if folder and (place := pathlib.Path(folder)).exists() and not place.is_dir():
        raise ValueError(f"saw {shown(folder)}, which is a file; a folder is needed")
    return folder


Path = Annotated[str, BeforeValidator(path)]
Folder = Annotated[Path, AfterValidator(_no_file)]
GraphOrPreset = Annotated[Graph, BeforeValidator(preset)]
