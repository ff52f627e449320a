"""Frozen latents: their states in samples, the law of the first step, and the components of a process."""

import numpy as np
import pytest
from support.frozen_graphs import NODES, by_hand, freeze, frozen, process_of
from support.random_graphs import chain_seen_through

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.reference import first_law
from n2n.process import initial_law
from n2n.process.components import components
from n2n.process.initial_law import law_error
from n2n.process.process import Process
from n2n.process.sampler import draw
from n2n.process.sampler_reference import draw_numpy
from n2n.utils.philox import derive_key


@pytest.mark.parametrize("mode", ["default", "slow", "dead", "context"])
@pytest.mark.parametrize("alpha", [1e-9, 1.0])
def test_the_kernel_is_the_identity_whatever_its_draw(alpha, mode):
    nodes = [frozen("Z", 5, alpha=alpha, mode=mode), Node("X", 2, ["Z"], observed=True)]
    process = Process(Graph(nodes=nodes, initial="uniform"))
    assert np.array_equal(process.kernel("Z"), np.eye(5))
    assert process.graph.context_nodes == ()


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("name", NODES)
def test_a_frozen_latent_keeps_the_state_that_its_law_drew(name, initial):
    process, count = process_of(name, initial), 20_000
    sample = process.sample(count, length=6)
    for node in process.graph.frozen_latents:
        states = sample.latents[node.name]
        assert (states == states[:, :1]).all()
        law = np.array(node.initial or [1 / node.num_states] * node.num_states)
        share = np.bincount(states[:, 0], minlength=node.num_states) / count
        assert (np.abs(share - law) <= 4 * np.sqrt(law * (1 - law) / count)).all()
    parts = [process.sample(300, length=6, start=start).tokens for start in (0, 300)]
    assert np.array_equal(np.concatenate(parts), sample.tokens[:600])


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(8))
def test_the_samplers_agree(seed, initial):
    arguments = (freeze(seed, initial).program, derive_key("sequences", 0, "train"), 0, 50, 20, True)
    for fast, slow in zip(draw(*arguments), draw_numpy(*arguments), strict=True):
        assert np.array_equal(fast, slow)


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(12))
def test_the_law_of_the_first_step(seed, initial):
    """The reference solves the balance equations with the mass of each frozen state."""
    process = freeze(seed, initial)
    expected = first_law(process).T.reshape(process.initial_law.shape)
    assert process.initial_law == pytest.approx(expected, abs=1e-13)


def test_the_stationary_law_is_the_long_run_law_of_each_component():
    """A sequence of states is averaged over time, for a chain that a frozen latent makes slow or fast."""
    nodes = [frozen("R", initial=[0.25, 0.75]), Node("Z", 2, ["R"]), Node("X", 2, ["Z"], observed=True)]
    z = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.25, 0.75]]])  # (own, R, new)
    process = Process.from_kernels(
        Graph(nodes=nodes, initial="stationary"), {"R": np.eye(2), "Z": z, "X": [[1, 0], [0, 1]]}
    )
    laws = np.array([[2, 1], [1, 2]]) / 3  # (q, p) / (p + q)
    assert process.initial_law.sum(-1) == pytest.approx(np.array([[0.25], [0.75]]) * laws, abs=1e-15)
    sample = process.sample(4000, length=40)
    for regime, law in enumerate(laws):
        later = sample.tokens[sample.latents["R"][:, 0] == regime][:, 20:]
        assert later.mean() == pytest.approx(law[1], abs=0.02)


def test_components_of_a_large_process_are_iterated():
    """With the frozen latent, the chain has two closed classes, and no iteration of the whole could converge."""
    nodes = [frozen("R", initial=[0.3, 0.7])]
    nodes += [Node(f"Z{i}", 4, [f"Z{i - 1}"] if i else ["R"], alpha=1.0) for i in range(7)]
    process = Process(Graph(nodes=[*nodes, Node("X", 2, ["Z6"], observed=True)], initial="stationary"))
    assert law_error(process.graph) == initial_law.ERROR
    for law, part, weight in zip(process.initial_law, *by_hand(process), strict=True):
        assert law == pytest.approx(weight * part.initial_law[0], abs=1e-9)


def test_frozen_latents_join_no_sets(monkeypatch):
    """Given R, the chains are independent, so each law comes from an elimination of 3 states rather than 9."""
    monkeypatch.setattr(initial_law, "ELIMINATED", 3)
    nodes = [frozen("R"), Node("A", 3, ["R"]), Node("B", 3, ["R"]), Node("X", 2, ["A", "B"], observed=True)]
    process = Process(Graph(nodes=nodes, initial="stationary"))
    assert law_error(process.graph) == 0
    assert process.initial_law == pytest.approx(first_law(process).T.reshape(2, 3, 3, 2), abs=1e-14)


@pytest.mark.parametrize("name", NODES)
def test_components_are_the_processes_given_the_frozen_states(name):
    process = process_of(name, "stationary")
    parts, expected = list(components(process.graph, process.kernels)), zip(*by_hand(process), strict=True)
    expected = [(part, weight) for part, weight in expected if weight > 0]
    assert [part.probability for part in parts] == pytest.approx([weight for _, weight in expected])
    tokens = process.sample(20, length=12).tokens
    for part, (by_slices, _) in zip(parts, expected, strict=True):
        component = Process.from_kernels(part.graph, part.kernels)
        assert n2n.filter(component, tokens).nll.numpy() == pytest.approx(
            n2n.filter(by_slices, tokens).nll.numpy(), abs=1e-12
        )


def test_without_frozen_latents_there_is_one_component():
    process = chain_seen_through([[0.9, 0.1], [0.2, 0.8]], np.eye(2), "stationary")
    (part,) = components(process.graph, process.kernels)
    assert (part.probability, part.states, part.graph) == (1.0, {}, process.graph)
    assert all(np.array_equal(part.kernels[name], table) for name, table in process.kernels.items())


def test_an_intervention_moves_a_frozen_latent_for_good():
    process = process_of("chains")
    states = process.sample(50, length=8, do={"R": (3, 2)}).latents["R"]
    assert np.array_equal(states[:, :3], process.sample(50, length=3).latents["R"])
    assert (states[:, 3:] == 2).all()


def test_a_table_of_a_frozen_latent_is_the_identity():
    graph = process_of("chains").graph
    tables = {"R": np.full((3, 3), 1 / 3), "X": np.full((3, 3, 3), 1 / 3)}
    with pytest.raises(ValueError, match="R: stickiness 1 freezes the latent, so its table must be the identity"):
        Process.from_kernels(graph, tables)
    assert n2n.filter(Process.from_kernels(graph, {**tables, "R": np.eye(3)}), [[0, 1, 2]]).nll.isfinite().all()


def test_a_start_in_zero_is_refused():
    with pytest.raises(ValueError, match=r"initial: 'zero' would leave the frozen latents \['R'\] in state 0"):
        process_of("chains").with_initial("zero")
