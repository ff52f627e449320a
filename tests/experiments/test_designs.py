"""The designs of n2n: each can be run, and their processes are what their names say."""

import pytest

from n2n.experiments import by_name
from n2n.experiments.designs import DESIGNS


@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_has_its_name_and_compares_processes_with_one_vocabulary(name):
    design = by_name(name)
    assert design.name == name
    assert len(design.processes) >= 5
    assert {"transformer", "mamba"} <= set(design.archs)
    assert len({level.graph.vocab_size for level in design.levels}) == 1


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("compose", [64] * 4),
        ("compose_product", [64] * 3),
        ("compose_large", [1296] * 3),
        ("hardness", [16, 64, 256, 512]),
        ("independence", [256] * 4),
    ],
)
def test_levels_have_the_number_of_joint_states_that_the_design_says(name, states):
    assert [level.graph.num_joint_states for level in by_name(name).levels] == states


def test_edges_of_independence_are_the_only_difference_between_its_levels():
    graphs = [level.graph for level in by_name("independence").levels]
    latent_edges = [len([edge for edge in graph.edges if edge[1] != "X"]) for graph in graphs]
    assert latent_edges == [0, 2, 3, 6]
    assert len({graph.observed for graph in graphs}) == 1


def test_an_unknown_design_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="compose"):
        by_name("compos")
