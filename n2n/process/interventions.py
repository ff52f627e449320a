"""Interventions: nodes that are set to a state at a time, instead of drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from n2n.graph.graph import Graph
from n2n.process.sampler import NO_INTERVENTIONS
from n2n.utils.arrays import integers
from n2n.utils.strict import as_integer, short_repr, unknown_name_message

Intervention = tuple[int, int]  # (time, state)


def intervention_rows(graph: Graph, do: Mapping[str, Intervention | Sequence[Intervention]], length: int) -> np.ndarray:
    """Convert interventions to rows ``(interventions, 3)``: time, position of the node in the graph's order, state."""
    if not isinstance(do, Mapping):
        raise ValueError(f"do: saw a {type(do).__name__}; {{name: (time, state)}} is needed")
    names, rows = graph.names, []
    for name, value in do.items():
        if name not in names:
            raise ValueError(f"do: {unknown_name_message('node', name, names)}")
        pairs = np.atleast_2d(integers(value, f"do: {name}"))
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"do: {name}: saw {short_repr(value)}; (time, state) is needed")
        for pair in pairs.tolist():
            time = as_integer(f"do: {name}: time", pair[0], 1, length - 1)
            if any(row[:2] == (time, names.index(name)) for row in rows):
                raise ValueError(f"do: {name}: saw several states for time {time}; one is needed")
            rows.append(
                (time, names.index(name), as_integer(f"do: {name}: state", pair[1], 0, graph[name].num_states - 1))
            )
    return np.array(rows, dtype=np.int64) if rows else NO_INTERVENTIONS
