"""The concentration found gives the entropy asked for, on fresh sequences too."""

import numpy as np
import pytest

import n2n
from n2n.graph import Graph, Node
from n2n.process import Process


@pytest.mark.parametrize(("name", "nodes", "target"), [("four_chains", "X", 2.0), ("two_chains", ["Z1", "Z2"], 1.2)])
def test_the_target_is_reached(name, nodes, target):
    found = n2n.calibrate(Graph.preset(name), target, nodes, length=64, sequences=128)
    named = [nodes] if isinstance(nodes, str) else nodes
    assert abs(found.entropy - target) <= 0.01
    for node in found.graph.nodes:
        assert node.alpha == (found.alpha if node.name in named else Graph.preset(name)[node.name].alpha)
    fresh = [n2n.entropy(Process(found.graph, seed), 64, precision=0.02).mean for seed in range(4)]
    assert np.mean(fresh) == pytest.approx(target, abs=0.06)


def test_an_iid_source_against_the_closed_form():
    """A latent of one state: tokens are i.i.d. of a Dirichlet row, E[H] = psi(n alpha + 1) - psi(alpha + 1)."""
    nodes = (Node(name="Z", num_states=1), Node(name="X", num_states=32, parents=("Z",), observed=True))
    found = n2n.calibrate(Graph(nodes=nodes), 1.735094, "X", length=2, sequences=2, seeds=range(400))
    assert found.alpha == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"target": 9.0}, r"target: saw 9 nats per token; .* from 0.0001 to 1000 reach 0\.\d+ to 3\.\d+"),
        ({"target": -1.0}, "target: saw -1.0; a positive number"),
        ({"nodes": "Z9"}, "unknown node 'Z9'"),
        ({"nodes": []}, "nodes: saw none"),
        ({"sequences": 1}, "sequences: saw 1"),
        ({"length": 1}, "length: saw 1"),
        ({"seeds": []}, "seeds: saw none"),
        ({"tolerance": 0}, "tolerance: saw 0"),
    ],
)
def test_bad_questions_are_refused(asked, said):
    given = {"target": 1.0, "nodes": ["Z1", "Z2", "X"], "length": 16, "sequences": 16, "seeds": [0]}
    with pytest.raises(ValueError, match=said):
        n2n.calibrate(Graph.preset("two_chains"), **{**given, **asked})


def test_too_fine_a_tolerance_says_what_stands_in_its_way():
    with pytest.raises(ValueError, match=r"tolerance: saw 1e-12; near alpha = .* more seeds than 1 would smooth it"):
        n2n.calibrate(Graph.preset("two_chains"), 2.0, "Z1", length=8, sequences=4, seeds=[0], tolerance=1e-12)
