"""Kernels fitted to sequences: closed forms, recovery, stationary points, and refusals."""

import numpy as np
import pytest
from support.random_graphs import mixing_graph, random_graph

import n2n
from n2n.difficulty.kernel_updates import check_fitted
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process
from n2n.utils.threads import torch_threads


def fittable(seed: int) -> Graph:
    """The random graph of the first seed from ``100 * seed`` on that can be fitted; half start uniformly."""
    for other in range(100 * seed, 100 * seed + 100):
        graph = random_graph(other) if seed % 2 else mixing_graph(other, "uniform")
        try:
            check_fitted(graph)
        except ValueError:
            continue
        return graph
    raise AssertionError("no graph can be fitted")


def test_an_observed_chain_is_counts_plus_prior_after_one_iteration():
    graph = Graph(nodes=(Node(name="X", num_states=3, observed=True, recurrent=True, alpha=0.2),))
    process = Process(graph, seed=4)
    tokens = process.sample(20, length=30).tokens.astype(int)
    counts = np.full((3, 3), 0.2)
    np.add.at(counts, (tokens[:, :-1], tokens[:, 1:]), 1)
    expected = counts / counts.sum(1, keepdims=True)
    fit = n2n.fit_kernels(graph, tokens, starts=1, trial=0, max_iterations=1)
    assert fit.process.kernel("X") == pytest.approx(expected, abs=1e-12)
    assert fit.log_likelihood[-1] == pytest.approx(np.log(expected[tokens[:, :-1], tokens[:, 1:]]).sum())
    assert fit.objective[-1] == pytest.approx(fit.log_likelihood[-1] + 0.2 * np.log(expected).sum())


@pytest.mark.parametrize("seed", range(8))
def test_the_objective_never_falls_and_the_result_has_its_likelihood(seed):
    graph = fittable(seed)
    process = Process(graph, seed)
    tokens = process.sample(30, length=15).tokens
    for start in (None, process):
        fit = n2n.fit_kernels(graph, tokens, start=start, starts=2, trial=3, max_iterations=40)
        assert (np.diff(fit.objective) >= 0).all()
        assert len(fit.objective) == len(fit.log_likelihood) == fit.iterations + 1
        own = n2n.filter(fit.process, tokens).log_likelihood.sum().item()
        assert fit.log_likelihood[-1] == pytest.approx(own, abs=1e-6)
        assert fit.log_likelihood[-1] > n2n.filter(process, tokens).log_likelihood.sum().item() - 40


def test_the_gradient_vanishes_at_the_end():
    """Of the objective in the logits of each row, by differences of the filter's likelihood."""
    graph = Graph.independent(2, 2, 3, alpha_z=0.5, alpha_x=0.5)
    tokens = Process(graph, seed=1).sample(40, length=20).tokens
    fit = n2n.fit_kernels(graph, tokens, starts=3, tolerance=1e-7, max_iterations=5000)
    assert fit.converged
    kernels = {name: np.log(table) for name, table in fit.process.kernels.items()}

    def objective(name: str, place: tuple[int, ...], change: float) -> float:
        logits = {**kernels, name: kernels[name].copy()}
        logits[name][place] += change
        tables = {key: np.exp(table) / np.exp(table).sum(-1, keepdims=True) for key, table in logits.items()}
        log_prior = 0.5 * sum(np.log(table).sum() for table in tables.values())
        return n2n.filter(Process.from_kernels(graph, tables), tokens).log_likelihood.sum().item() + log_prior

    for name, table in kernels.items():
        for place in np.ndindex(table.shape):
            slope = (objective(name, place, 1e-4) - objective(name, place, -1e-4)) / 2e-4
            assert slope == pytest.approx(0.0, abs=0.05)


def test_kernels_are_recovered_from_many_sequences():
    graph = Graph.independent(1, 3, 6, alpha_z=0.5, alpha_x=0.2)
    process = Process(graph, seed=1)
    fit = n2n.fit_kernels(graph, process.sample(2000, length=32).tokens, start=process)
    assert fit.process.kernel("X") == pytest.approx(process.kernel("X"), abs=0.03)
    assert fit.process.kernel("Z1") == pytest.approx(process.kernel("Z1"), abs=0.05)
    test = process.sample(500, length=32, split="test").tokens
    excess = (n2n.filter(fit.process, test).nll - n2n.filter(process, test).nll).mean().item()
    assert 0 < excess < 2e-3


def test_twice_the_gain_over_the_truth_is_chi_squared():
    """Wilks: over processes, its mean is the number of free parameters (12 for two rows of a chain of 4 symbols)."""
    graph = Graph(nodes=(Node(name="X", num_states=4, observed=True, recurrent=True),))
    gains = []
    for seed in range(60):
        process = Process(graph, seed)
        fit = n2n.fit_kernels(graph, process.sample(400, length=25).tokens, start=process)
        gains.append(2 * (fit.log_likelihood[-1] - fit.log_likelihood[0]))
    assert np.mean(gains) == pytest.approx(12, abs=4 * np.sqrt(24 / 60))


def test_random_starts_are_compared_and_the_best_goes_on():
    graph = Graph.independent(2, 3, 8, alpha_z=0.1, alpha_x=0.05)
    process = Process(graph, seed=2)
    tokens = process.sample(100, length=20).tokens
    fit = n2n.fit_kernels(graph, tokens, starts=4, trial=3)
    assert list(fit.starts.columns) == ["iterations", "log_likelihood", "objective"]
    assert fit.starts["objective"].idxmax() == fit.start
    assert fit.starts["iterations"].tolist() == [3] * 4
    assert fit.objective[3] == fit.starts["objective"][fit.start]
    again = n2n.fit_kernels(graph, tokens, starts=4, trial=3)
    assert fit.process == again.process
    other = n2n.fit_kernels(graph, tokens, starts=4, trial=3, seed=1)
    assert fit.starts["objective"].tolist() != other.starts["objective"].tolist()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_the_result(threads):
    graph = Graph.preset("four_chains")
    tokens = Process(graph).sample(200, length=16).tokens
    usual = n2n.fit_kernels(graph, tokens, starts=1, trial=2, max_iterations=2)
    with torch_threads(threads):
        assert n2n.fit_kernels(graph, tokens, starts=1, trial=2, max_iterations=2).process == usual.process


X = Node(name="X", num_states=3, parents=("Z",), observed=True)
GRAPH = Graph(nodes=(Node(name="Z", num_states=2), X))
TOKENS = [[0, 1, 2], [0, 2, 2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": [[0, 3]]}, "saw 3 in sequence 0 at position 1; the vocabulary is 0 to 2"),
        ({"tokens": np.empty((0, 5), int)}, r"saw shape \(0, 5\)"),
        ({"graph": "single"}, "graph: saw 'single'; a Graph is needed"),
        ({"graph": Graph.independent(1, mode="context")}, r"mode 'context' redraws the kernels of \['Z1'\]"),
        ({"starts": 0}, "starts: saw 0; a whole number from 1"),
        ({"trial": -1}, "trial: saw -1; a whole number from 0"),
        ({"seed": 0.5}, r"seed: saw 0\.5; a whole number"),
        ({"max_iterations": 0}, "max_iterations: saw 0; a whole number from 1"),
        ({"tolerance": 0.0}, r"tolerance: saw 0\.0; a positive number of nats"),
        ({"start": GRAPH}, "start: saw .*; a Process is needed"),
        ({"start": Process(Graph.independent(1))}, "start: saw kernels of shapes .*; the graph needs"),
        ({"start": Process.from_kernels(GRAPH, {"Z": np.eye(2), "X": np.eye(2, 3)})}, "sequence 0 of the tokens"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        n2n.fit_kernels(**{"graph": GRAPH, "tokens": TOKENS, **arguments})


def test_a_mode_on_a_product_kernel_is_refused():
    z = Node(name="Z", num_states=2, parents=("Y",), kernel="product", mode="slow")
    graph = Graph(nodes=(Node(name="Y", num_states=2), z, X))
    with pytest.raises(ValueError, match="Z: saw mode 'slow' with a product kernel of 2 variables"):
        n2n.fit_kernels(graph, TOKENS)


def test_a_frozen_latent_is_refused():
    nodes = (Node("R", 2, stickiness=1), Node("Z", 2, ["R"]), Node("X", 3, ["Z"], observed=True))
    with pytest.raises(ValueError, match=r"R: is frozen .* Fit each component alone"):
        n2n.fit_kernels(Graph(nodes=nodes, initial="uniform"), [[0, 1], [1, 2]])
