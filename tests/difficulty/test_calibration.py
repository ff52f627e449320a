"""The calibrated concentration gives the target entropy, on fresh sequences too."""

import numpy as np
import pytest
from scipy.special import digamma
from support.random_graphs import iid_graph

import n2n
from n2n.difficulty.entropies import entropies_by_seed
from n2n.graph.graph import Graph
from n2n.process.process import Process
from n2n.utils.statistics import student_quantile


@pytest.mark.parametrize(("name", "nodes", "target"), [("four_chains", "X", 2.0), ("two_chains", ["Z1", "Z2"], 1.2)])
def test_the_target_is_reached(name, nodes, target):
    found = n2n.calibrate(Graph.preset(name), target, nodes, length=32, sequences=32)
    named = [nodes] if isinstance(nodes, str) else nodes
    assert abs(found.entropy - target) <= 0.01
    for node in found.graph.nodes:
        assert node.alpha == (found.alpha if node.name in named else Graph.preset(name)[node.name].alpha)
    assert len(found.by_seed) == 16
    assert found.entropy == pytest.approx(found.by_seed.mean())
    others = [n2n.entropy(Process(found.graph, seed), 32, precision=0.1).mean for seed in range(16)]  # more sequences
    assert np.mean(others) == pytest.approx(target, abs=0.04)


def test_an_iid_source_against_the_closed_form():
    """The latent has one state, so tokens are i.i.d.; their row has E[H] = psi(n alpha + 1) - psi(alpha + 1)."""
    found = n2n.calibrate(iid_graph(32), 1.735094, "X", length=2, sequences=2, seeds=range(400))
    assert found.alpha == pytest.approx(0.1, rel=0.15)


def test_the_error_holds_the_mean_over_all_processes_as_often_as_it_says():
    """In 40 repeats, 95% intervals contain the closed-form mean at the calibrated concentration about 38 times.

    The interval ``fresh`` contains the mean of 16 other processes equally often.
    """
    held = {"all": 0, "fresh": 0}
    for repeat in range(40):
        seeds = range(32 * repeat, 32 * repeat + 16)
        found = n2n.calibrate(iid_graph(8), 1.2, "X", length=2, sequences=2, seeds=seeds, tolerance=0.05)
        expected = float(digamma(8 * found.alpha + 1) - digamma(found.alpha + 1))
        held["all"] += abs(found.entropy - expected) < student_quantile(15) * found.standard_error
        others = [Process(found.graph, seed + 16).kernel("X")[0] for seed in seeds]
        low, high = found.fresh
        held["fresh"] += low < np.mean([-(row * np.log(row)).sum() for row in others]) < high
        assert found.spread == pytest.approx(np.std(found.by_seed, ddof=1))
        assert found.standard_error == pytest.approx(found.spread / 4)
    assert all(34 <= times <= 40 for times in held.values())  # 38 are expected, with a standard deviation of 1.4


def test_fresh_processes_of_a_latent_graph_lie_within_the_interval():
    """Each of twelve calibrations is evaluated on 16 other processes; one in twenty may lie outside its interval."""
    graph, size = Graph.independent(2, num_states=3, vocab_size=8, alpha_z=0.1), {"length": 6, "sequences": 4}
    held = 0
    for repeat in range(12):
        seeds = range(32 * repeat, 32 * repeat + 16)
        found = n2n.calibrate(graph, 0.9, "X", seeds=seeds, tolerance=0.1, **size)
        means, _ = entropies_by_seed(found.graph, [seed + 16 for seed in seeds], **size)
        held += found.fresh[0] < means.mean() < found.fresh[1]
    assert held >= 9


def test_one_process_has_no_error():
    found = n2n.calibrate(iid_graph(4), 0.8, "X", length=2, sequences=2, seeds=3)
    assert np.isnan([found.standard_error, found.spread, *found.fresh]).all()
    assert found.by_seed.tolist() == [found.entropy]


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
        ({"seeds": [3, 4, 3]}, r"seeds: saw \[3, 4, 3\]; seeds must be different"),
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


def test_equal_difficulty_calibrates_and_judges_on_other_processes():
    asked = {"seeds": range(2), "fresh": range(2, 4), "sequences": 32, "length": 16}
    found = n2n.equal_difficulty(["two_chains", "four_chains"], 1.2, **asked)
    assert found.table.index.tolist() == ["two_chains", "four_chains"]
    for name, row in found.table.iterrows():
        assert abs(row["entropy"] - 1.2) <= 0.01
        direct = n2n.calibrate(Graph.preset(name), 1.2, "X", length=16, seeds=range(2), sequences=32)
        assert (row["alpha"], row["entropy"]) == (direct.alpha, direct.entropy)
        given = n2n.entropy_grid(name, [0.03], [0.01], seeds=range(2), sequences=32, length=16)
        assert row["entropy given"] == pytest.approx(given["entropy"][0])
        of_other = n2n.entropy_grid(name, [0.03], [row["alpha"]], seeds=[2, 3], sequences=32, length=16)
        assert row["fresh"] == pytest.approx(of_other["entropy"][0])
        assert row["fresh_standard_error"] == pytest.approx(of_other["standard_error"][0])
        half = 12.7062 * row["fresh_standard_error"]  # the 97.5% quantile of t with one degree of freedom, from tables
        assert [row["fresh_low"], row["fresh_high"]] == pytest.approx([row["fresh"] - half, row["fresh"] + half])
    assert found.processes["seed"].tolist() == [2, 3, 2, 3]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"graphs": ["sparse", "sparse"]}, "no name twice"),
        ({"graphs": []}, "at least one is needed"),
        ({"fresh": [0, 5]}, r"fresh: saw \[0, 5\] and seeds \[0, 1\]"),
        ({"fresh": [2]}, r"fresh: saw \[2\]; a standard error over processes needs at least 2"),
        ({"fresh": [2, 2]}, r"fresh: saw \[2, 2\]; seeds must be different"),
        ({"seeds": [1, 1]}, r"seeds: saw \[1, 1\]; seeds must be different"),
        ({"target": 99.0}, "target: saw 99 nats per token"),
    ],
)
def test_bad_comparisons_are_refused(asked, said):
    given = {"graphs": ["two_chains"], "target": 1.0, "seeds": [0, 1], "fresh": [2, 3], "sequences": 4, "length": 4}
    with pytest.raises(ValueError, match=said):
        n2n.equal_difficulty(**{**given, **asked})
