"""The preset graphs as plain data, from which ``Graph.preset`` builds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NodeSpec = dict[str, Any]
ALPHA_Z = 0.03
ALPHA_X = 0.01


def _chains(count: int, num_states: int) -> list[NodeSpec]:
    """Return independent latent chains and X, which sees all of them."""
    chains = [{"name": f"Z{i}", "num_states": num_states} for i in range(1, count + 1)]
    return [*chains, _observed(32, [chain["name"] for chain in chains])]


def _two_layers(third: list[str], fourth: list[str]) -> list[NodeSpec]:
    """Return two roots, two children with the given parents, and X, which sees the children."""
    parents = {"Z1": [], "Z2": [], "Z3": third, "Z4": fourth}
    latents = [{"name": name, "num_states": 6, "parents": of_node} for name, of_node in parents.items()]
    return [*latents, _observed(32, ["Z3", "Z4"])]


def _slow_switch() -> list[NodeSpec]:
    switch = {"name": "Z1", "num_states": 16, "mode": "slow"}
    return [switch, {"name": "Z2", "num_states": 16, "parents": ["Z1"]}, _observed(128, ["Z1", "Z2"])]


def _observed(vocab_size: int, parents: list[str]) -> NodeSpec:
    return {"name": "X", "num_states": vocab_size, "parents": parents, "observed": True}


PRESETS: dict[str, Callable[[], list[NodeSpec]]] = {
    "single": lambda: _chains(1, 64),
    "two_chains": lambda: _chains(2, 16),
    "four_chains": lambda: _chains(4, 4),
    "eight_chains": lambda: _chains(8, 2),
    "sparse": lambda: _two_layers(["Z1"], ["Z2"]),
    "dense": lambda: _two_layers(["Z1", "Z2"], ["Z1", "Z2"]),
    "slow_switch": _slow_switch,
}
