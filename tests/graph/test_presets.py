"""Presets: their nodes, edges and concentrations."""

import pytest

from n2n.graph.graph import Graph
from n2n.graph.presets import ALPHA_X, ALPHA_Z, PRESETS


@pytest.mark.parametrize(
    ("name", "states", "symbols", "edges"),
    [
        ("single", [64], 32, "Z1>X"),
        ("two_chains", [16] * 2, 32, "Z1>X Z2>X"),
        ("four_chains", [4] * 4, 32, "Z1>X Z2>X Z3>X Z4>X"),
        ("eight_chains", [2] * 8, 32, "Z1>X Z2>X Z3>X Z4>X Z5>X Z6>X Z7>X Z8>X"),
        ("sparse", [6] * 4, 32, "Z1>Z3 Z2>Z4 Z3>X Z4>X"),
        ("dense", [6] * 4, 32, "Z1>Z3 Z1>Z4 Z2>Z3 Z2>Z4 Z3>X Z4>X"),
        ("slow_switch", [16] * 2, 128, "Z1>X Z1>Z2 Z2>X"),
    ],
)
def test_presets_are_as_specified(name, states, symbols, edges):
    graph = Graph.preset(name)
    assert [node.num_states for node in graph.latents] == states
    assert graph.vocab_size == symbols
    assert sorted(f"{a}>{b}" for a, b in graph.networkx().edges) == sorted(edges.split())


def test_the_specification_has_every_preset():
    marks = test_presets_are_as_specified.pytestmark[0].args[1]
    assert {row[0] for row in marks} == set(PRESETS)


def test_only_the_switch_is_slow():
    modes = {name: [node.mode for node in Graph.preset(name).latents] for name in PRESETS}
    assert modes.pop("slow_switch") == ["slow", "default"]
    assert {mode for latent_modes in modes.values() for mode in latent_modes} == {"default"}


def test_preset_concentrations():
    default, changed = Graph.preset("sparse"), Graph.preset("sparse", alpha_z=0.5, alpha_x=2.0)
    assert (default["Z1"].alpha, default["X"].alpha) == (ALPHA_Z, ALPHA_X)
    assert (changed["Z1"].alpha, changed["X"].alpha) == (0.5, 2.0)
