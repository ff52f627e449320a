"""What single fields of a ``TrainConfig`` take: a graph by its name, tables, a switch, a device, a span of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from n2n.graph.by_name import as_graph
from n2n.graph.graph import Graph
from n2n.graph.presets import PRESETS
from n2n.process.classic import CLASSICS
from n2n.utils.arrays import probabilities
from n2n.utils.strict import NonNegative, NonNegativeInt, short_repr, unknown


def _named(graph: object) -> object:
    """A graph, or that of a preset by its name; ``TrainConfig`` has replaced a classic process's name by then."""
    if isinstance(graph, str) and graph not in PRESETS:
        raise ValueError(unknown("graph", graph, [*PRESETS, *CLASSICS]))
    return as_graph(graph)


def _plain(tables: object) -> object:
    """Tables as nested lists of float64, which a file can hold."""
    if not isinstance(tables, Mapping):
        return tables
    return {
        name: probabilities(table, name if isinstance(name, str) else short_repr(name)).tolist()
        for name, table in tables.items()
    }


def _switch(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value  # YAML reads on and off as booleans


def _no_gpu(device: object) -> object:
    if isinstance(device, str) and device.lower() == "gpu":  # by its letters it is nearest to "cpu"
        raise ValueError(f"saw {device!r}; did you mean 'cuda'? (allowed: auto, cpu, cuda)")
    return device


def _rising(steps: tuple[int, int]) -> tuple[int, int]:
    if steps[0] >= steps[1]:
        raise ValueError(f"saw {steps}; a first step from 0 and a later one are needed, such as (10, 15)")
    return steps


GraphOrName = Annotated[Graph, BeforeValidator(_named)]
Tables = Annotated[dict[str, Any], BeforeValidator(_plain)]
Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)]
Device = Annotated[Literal["auto", "cpu", "cuda"], BeforeValidator(_no_gpu)]
Span = Annotated[tuple[NonNegativeInt, NonNegativeInt], AfterValidator(_rising)]
Fraction = Annotated[NonNegative, Field(le=1)]
