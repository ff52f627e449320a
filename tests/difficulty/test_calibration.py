"""The calibrated concentration gives the target entropy, also for other sequences and processes."""

import numpy as np
import pytest
from scipy.special import digamma
from support.random_graphs import iid_graph

import n2n
from n2n.difficulty.entropies import entropies_by_seed
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process
from n2n.utils.statistics import student_quantile


@pytest.mark.parametrize(("name", "nodes", "target"), [("four_chains", "X", 2.0), ("two_chains", ["Z1", "Z2"], 1.2)])
def test_the_target_is_reached(name, nodes, target):
    calibration = n2n.calibrate(Graph.preset(name), target, nodes, length=32, sequences=32)
    names = [nodes] if isinstance(nodes, str) else nodes
    assert abs(calibration.entropy - target) <= 0.01
    for node in calibration.graph.nodes:
        assert node.alpha == (calibration.alpha if node.name in names else Graph.preset(name)[node.name].alpha)
    assert len(calibration.by_seed) == 16
    assert calibration.entropy == pytest.approx(calibration.by_seed.mean())
    # Entropies of the same processes over more sequences.
    others = [n2n.entropy(Process(calibration.graph, seed), 32, precision=0.1).mean for seed in range(16)]
    assert np.mean(others) == pytest.approx(target, abs=0.04)


def test_an_iid_source_has_the_closed_form():
    """The latent has one state, so tokens are i.i.d.; their row has E[H] = psi(n alpha + 1) - psi(alpha + 1)."""
    calibration = n2n.calibrate(iid_graph(32), 1.735094, "X", length=2, sequences=2, seeds=range(400))
    assert calibration.alpha == pytest.approx(0.1, rel=0.15)


def test_intervals_have_their_coverage():
    """In 40 repeats, 95% intervals contain the closed-form mean at the calibrated concentration about 38 times.

    The interval ``fresh`` contains the mean of 16 other processes equally often.
    """
    covered = {"all": 0, "fresh": 0}
    for repeat in range(40):
        seeds = range(32 * repeat, 32 * repeat + 16)
        calibration = n2n.calibrate(iid_graph(8), 1.2, "X", length=2, sequences=2, seeds=seeds, tolerance=0.05)
        expected = float(digamma(8 * calibration.alpha + 1) - digamma(calibration.alpha + 1))
        covered["all"] += abs(calibration.entropy - expected) < student_quantile(15) * calibration.standard_error
        others = [Process(calibration.graph, seed + 16).kernel("X")[0] for seed in seeds]
        low, high = calibration.fresh
        covered["fresh"] += low < np.mean([-(row * np.log(row)).sum() for row in others]) < high
        assert calibration.spread == pytest.approx(np.std(calibration.by_seed, ddof=1))
        assert calibration.standard_error == pytest.approx(calibration.spread / 4)
    assert all(34 <= times <= 40 for times in covered.values())  # 38 are expected, with a standard deviation of 1.4


def test_the_fresh_interval_contains_means_of_other_processes():
    """Each of twelve calibrations is evaluated on 16 other processes; one in twenty may lie outside its interval."""
    graph, size = Graph.independent(2, num_states=3, vocab_size=8, alpha_z=0.1), {"length": 6, "sequences": 4}
    covered = 0
    for repeat in range(12):
        seeds = range(32 * repeat, 32 * repeat + 16)
        calibration = n2n.calibrate(graph, 0.9, "X", seeds=seeds, tolerance=0.1, **size)
        means, _ = entropies_by_seed(calibration.graph, [seed + 16 for seed in seeds], **size)
        covered += calibration.fresh[0] < means.mean() < calibration.fresh[1]
    assert covered >= 9


def test_one_process_has_no_standard_error():
    calibration = n2n.calibrate(iid_graph(4), 0.8, "X", length=2, sequences=2, seeds=3)
    assert np.isnan([calibration.standard_error, calibration.spread, *calibration.fresh]).all()
    assert calibration.by_seed.tolist() == [calibration.entropy]


def test_the_concentration_of_a_frozen_latent_has_no_effect():
    nodes = [Node("R", 3, stickiness=1), Node("X", 8, ["R"], observed=True, recurrent=True)]
    graph, size = Graph(nodes, initial="uniform"), {"length": 16, "sequences": 16, "seeds": range(4)}
    assert n2n.calibrate(graph, 1.0, "X", tolerance=0.1, **size).entropy == pytest.approx(1.0, abs=0.1)
    for names in ("R", ["R", "X"]):
        with pytest.raises(ValueError, match=r"nodes: R is frozen \(stickiness 1\), so its conc"):
            n2n.calibrate(graph, 1.0, names, **size)


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_invalid_arguments_are_refused(arguments, message):
    valid = {"target": 1.0, "nodes": ["Z1", "Z2", "X"], "length": 16, "sequences": 16, "seeds": [0]}
    with pytest.raises(ValueError, match=message):
        n2n.calibrate(Graph.preset("two_chains"), **{**valid, **arguments})


def test_a_tolerance_below_the_steps_of_the_entropy_is_refused():
    with pytest.raises(ValueError, match=r"tolerance: saw 1e-12; near alpha = .* more seeds than 1 would smooth it"):
        n2n.calibrate(Graph.preset("two_chains"), 2.0, "Z1", length=8, sequences=4, seeds=[0], tolerance=1e-12)


def test_equal_difficulty_calibrates_and_checks_on_other_processes():
    options = {"seeds": range(2), "fresh": range(2, 4), "sequences": 32, "length": 16}
    result = n2n.equal_difficulty(["two_chains", "four_chains"], 1.2, **options)
    assert result.table.index.tolist() == ["two_chains", "four_chains"]
    for name, row in result.table.iterrows():
        assert abs(row["entropy"] - 1.2) <= 0.01
        direct = n2n.calibrate(Graph.preset(name), 1.2, "X", length=16, seeds=range(2), sequences=32)
        assert (row["alpha"], row["entropy"]) == (direct.alpha, direct.entropy)
        original = n2n.entropy_grid(name, [0.03], [0.01], seeds=range(2), sequences=32, length=16)
        assert row["entropy given"] == pytest.approx(original["entropy"][0])
        of_other = n2n.entropy_grid(name, [0.03], [row["alpha"]], seeds=[2, 3], sequences=32, length=16)
        assert row["fresh"] == pytest.approx(of_other["entropy"][0])
        assert row["fresh_standard_error"] == pytest.approx(of_other["standard_error"][0])
        half = 12.7062 * row["fresh_standard_error"]  # the 97.5% quantile of t with one degree of freedom, from tables
        assert [row["fresh_low"], row["fresh_high"]] == pytest.approx([row["fresh"] - half, row["fresh"] + half])
    assert result.processes["seed"].tolist() == [2, 3, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_invalid_arguments_of_equal_difficulty_are_refused(arguments, message):
    valid = {"graphs": ["two_chains"], "target": 1.0, "seeds": [0, 1], "fresh": [2, 3], "sequences": 4, "length": 4}
    with pytest.raises(ValueError, match=message):
        n2n.equal_difficulty(**{**valid, **arguments})
