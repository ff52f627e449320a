"""A design: its cells, its hash, and what it refuses."""

import pytest
from support.small_designs import small_design

import n2n
from n2n.experiments import Level, Size


def test_cells_are_all_combinations_and_the_first_process_comes_first():
    design = small_design(sequences=[None, 5], seeds=[0, 1])
    cells = design.cells
    assert len(set(cells)) == len(cells) == 2 * 2 * 2 * 2 * 2
    assert {cell.sequences for cell in cells} == {5, 12}  # None: three updates of four sequences
    assert [cell.process for cell in cells] == [0] * 16 + [1] * 16


def test_more_distinct_sequences_than_are_read_are_the_number_read():
    assert {cell.sequences for cell in small_design(sequences=[None, 12, 500]).cells} == {12}


def test_the_hash_covers_what_rows_share_and_lets_a_design_grow():
    design = small_design()
    grown = small_design(
        processes=range(5), seeds=[0, 1], archs=["hawk"], lrs=[1, 2], question="?", sizes=[Size(16, 1)]
    )
    assert design.hash == grown.hash == small_design().hash
    level = design.levels[1].model_copy(update={"graph": n2n.Graph.preset("sparse")})
    others = [{"seq_len": 9}, {"reference": "hawk"}, {"training": {}}, {"levels": [design.levels[0], level]}]
    assert len({design.hash, *(small_design(**other).hash for other in others)}) == 5


def test_the_calibrated_nodes_are_the_latents_unless_named():
    graph = n2n.Graph.independent(2, num_states=2, vocab_size=4)
    chain = n2n.Graph(nodes=[n2n.Node("X", 4, observed=True, recurrent=True)])
    assert Level("a", graph).calibrated_nodes == ("Z1", "Z2")
    assert Level("a", graph, free=["X"]).calibrated_nodes == ("X",)
    assert Level("a", chain).calibrated_nodes == ("X",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": small_design().levels[:1]}, r"levels: saw the levels \['4'\]; a factor needs at least two"),
        ({"levels": small_design().levels[:1] * 2}, "each needs a name of its own"),
        ({"archs": ["mamba", "mambo"]}, "unknown architecture 'mambo'; did you mean 'mamba'"),
        ({"targets": []}, "targets: saw .*different values are needed"),
        ({"processes": [1, 1]}, "processes: saw .*different values are needed"),
        ({"training": {"lr": 1}}, r"training: saw \['lr'\], which the design sets itself"),
        ({"training": {"eval_sequence": 9}}, "training: .*did you mean 'eval_sequences'"),
        ({"factor": "a/b"}, "factor"),
    ],
)
def test_a_wrong_design_is_refused_in_a_sentence(changes, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        small_design(**changes)


def test_a_level_without_fixed_kernels_or_with_an_unknown_node_is_refused():
    graph = n2n.Graph.independent(1, mode="context")
    with pytest.raises(ValueError, match="context"):
        Level("a", graph)
    with pytest.raises(ValueError, match="free: unknown node 'Z9'"):
        Level("a", "sparse", free=["Z9"])
