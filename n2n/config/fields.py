"""Types of single fields of a ``TrainConfig``: a graph or its name, tables, a switch, a device, a range of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from n2n.graph.by_name import as_graph
from n2n.graph.graph import Graph
from n2n.graph.presets import PRESETS
from n2n.process.classic import CLASSICS
from n2n.process.process import Process
from n2n.utils.arrays import probabilities
from n2n.utils.strict import NonNegative, NonNegativeInt, short_repr, unknown_name_message


def process_by_name(name: str) -> Process:
    """The process with this name: a classic one with its tables, or a preset's graph with kernels of seed 0.

    Raises:
        ValueError: if no preset and no classic process has this name.
    """
    if name in CLASSICS:
        return Process.classic(name)
    if name in PRESETS:
        return Process(Graph.preset(name))
    raise ValueError(unknown_name_message("graph", name, [*PRESETS, *CLASSICS]))


def _graph(value: object) -> object:
    return process_by_name(value).graph if isinstance(value, str) else as_graph(value)


def _nested_lists(tables: object) -> object:
    """Tables as nested lists of float64, which a JSON file can hold."""
    if not isinstance(tables, Mapping):
        return tables
    return {
        name: probabilities(table, name if isinstance(name, str) else short_repr(name)).tolist()
        for name, table in tables.items()
    }


def _switch(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value  # YAML 1.1 reads on as a boolean


def _no_gpu(device: object) -> object:
    if isinstance(device, str) and device.lower() == "gpu":  # whose nearest name by spelling would be "cpu"
        raise ValueError(f"saw {device!r}; did you mean 'cuda'? (allowed: auto, cpu, cuda)")
    return device


def _rising(steps: tuple[int, int]) -> tuple[int, int]:
    if steps[0] >= steps[1]:
        raise ValueError(f"saw {steps}; a first step from 0 and a later one are needed, such as (10, 15)")
    return steps


GraphOrName = Annotated[Graph, BeforeValidator(_graph)]
Tables = Annotated[dict[str, Any], BeforeValidator(_nested_lists)]
Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)]
Device = Annotated[Literal["auto", "cpu", "cuda"], BeforeValidator(_no_gpu)]
StepRange = Annotated[tuple[NonNegativeInt, NonNegativeInt], AfterValidator(_rising)]
Fraction = Annotated[NonNegative, Field(le=1)]
