import itertools
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support.enumeration import flips
from support.random_graphs import chain_seen_through, mixing_graph, random_graph
from support.time_averages import time_averages

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.oracle.reference import flatten, sees_previous_token
from n2n.process import initial_law
from n2n.process.einsums import law_step, moving
from n2n.process.initial_law import joint_chain, law_after_step
from n2n.process.process import Process

properties = settings(deadline=None, max_examples=60, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("p", "q"),
    [(0.2, 0.3), (0.3, 0.4), (1.0, 1.0), (1e-3, 2e-3), (1e-6, 3e-6), (1e-14, 1e-13), (1e-16, 3e-17), (1e-200, 1e-201)],
)
def test_a_two_state_chain(p, q):
    """The law is (q, p) / (p + q), even if 1 - p rounds to 1."""
    law = flips(p, q, "stationary").initial_law
    assert law.sum(1) == pytest.approx([q / (p + q), p / (p + q)], rel=1e-14)
    assert np.diag(law) == pytest.approx(law.sum(1))


def test_a_periodic_chain():
    """0 goes to 1 or 2, and both return: plain iteration from a uniform start would oscillate forever."""
    law = chain_seen_through([[0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]], np.eye(3), "stationary").initial_law
    assert law.sum(1) == pytest.approx([0.5, 0.25, 0.25], abs=1e-15)


def test_closed_classes_are_weighted_by_the_probability_of_ending_there():
    chain = [[0.5, 0.1, 0.4], [0, 1, 0], [0, 0, 1]]
    law = chain_seen_through(chain, np.eye(3), "stationary").initial_law
    assert law.sum(1) == pytest.approx([0, 1 / 3 + 0.2 / 3, 1 / 3 + 0.8 / 3])


def test_two_weakly_joined_cycles():
    chain = [[0, 1, 0, 0], [1, 0, 1e-17, 0], [0, 0, 0, 1], [3e-17, 0, 1, 0]]
    law = chain_seen_through(chain, np.eye(4), "stationary").initial_law
    assert law.sum(1) == pytest.approx([3 / 8, 3 / 8, 1 / 8, 1 / 8], abs=1e-15)


@pytest.mark.parametrize("name", PRESETS)
def test_stationary_laws_of_presets(name):
    """The seeds include those for which an earlier iteration gave wrong numbers."""
    graph = Graph.preset(name).model_copy(update={"initial": "stationary"})
    for seed in (0, 5, 13, 19, 32) if name != "dense" else (0, 1):
        process = Process(graph, seed)
        law = process.initial_law
        latent_law = law.sum(-1)
        assert np.abs(law_after_step(graph, process.kernels, latent_law) - latent_law).sum() < 2e-15
        assert law.sum() == pytest.approx(1.0, abs=1e-14)
        for k, node in enumerate(graph.latents):
            if not node.parents:  # a chain of its own, compared in many digits
                own = latent_law.sum(tuple(axis for axis in range(latent_law.ndim) if axis != k))
                if node.num_states <= 6:
                    rates = process.kernel(node.name) * (1 - np.eye(node.num_states))
                    assert own == pytest.approx(time_averages(rates), rel=1e-12)


def test_independent_latents_have_a_product_law():
    """Another latent leaves the law of a latent unchanged, whether or not a chain is periodic."""
    cyclic, slow = [[0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]], [[1 - 1e-14, 1e-14], [1e-13, 1 - 1e-13]]
    nodes = [Node(name="A", num_states=3), Node(name="B", num_states=3), Node(name="C", num_states=2)]
    nodes.append(Node(name="X", num_states=2, parents=("A", "C"), observed=True))
    tables = {"A": cyclic, "B": cyclic, "C": slow, "X": np.full((3, 2, 2), 0.5)}
    law = Process.from_kernels(Graph(nodes=nodes, initial="stationary"), tables).initial_law
    cyclic_law, slow_law = [0.5, 0.25, 0.25], [10 / 11, 1 / 11]
    assert law == pytest.approx(np.einsum("a,b,c,x->abcx", cyclic_law, cyclic_law, slow_law, [0.5, 0.5]), rel=1e-13)


@pytest.mark.parametrize("stickiness", [0.999, 1 - 1e-9])
def test_stickiness_does_not_change_the_stationary_law(stickiness):
    """s I + (1 - s) K has the stationary law of K."""
    nodes = [Node(name="Z", num_states=5), Node(name="X", num_states=2, parents=("Z",), observed=True)]
    sticky = [nodes[0].model_copy(update={"stickiness": stickiness}), nodes[1]]
    laws = [Process(Graph(nodes=each, initial="stationary")).initial_law for each in (nodes, sticky)]
    assert laws[1] == pytest.approx(laws[0], rel=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_the_joint_chain_equals_the_flattened_process(seed):
    """Check the steps of many graphs, over all moving nodes, or over the latents if X does not see itself."""
    graph = random_graph(seed)
    process = Process(graph, seed)
    transitions, emissions = flatten(process)  # (R, S, S), (R, S, V)
    if graph.observed.recurrent:
        expected = np.einsum("xzw,xwv->zxwv", transitions, emissions)
    elif sees_previous_token(process):
        expected = np.einsum("xzw,zx->zw", transitions, emissions[0])
    else:
        expected = transitions[0]
    nodes = tuple(node for node in moving(graph) if node.sees_itself)
    chain, support = joint_chain(graph, process.kernels, nodes)
    assert chain == pytest.approx(expected.reshape(len(chain), -1), rel=1e-12)
    assert (support | (chain == 0)).all()


@pytest.mark.parametrize("seed", range(40))
def test_a_step_leaves_the_law_unchanged(seed):
    process = Process(random_graph(seed).model_copy(update={"initial": "stationary"}), seed)
    graph, law = process.graph, process.initial_law
    moving_law = law if graph.uses_previous_token else law.sum(-1)
    assert np.abs(law_after_step(graph, process.kernels, moving_law) - moving_law).sum() < 1e-14


@st.composite
def holding_tables(draw, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a latent's kernel whose holding probabilities reach 1 - 1e-16 and above; some steps are impossible."""
    table = np.zeros(shape)
    for row in itertools.product(*map(range, shape[:-1])):
        for new in range(shape[-1]):
            if new != row[0]:
                exponent = draw(st.sampled_from([None, 0, 2, 9, 15, 16, 17, 30]))
                table[(*row, new)] = 0.0 if exponent is None else 0.3 * 10.0**-exponent
        table[(*row, row[0])] = 1 - table[row].sum()
    return table


@properties
@given(data=st.data())
def test_nearly_decomposable_processes(data):
    """The law of A and its child B equals that of the joint chain in 1,000 digits, entry by entry."""
    nodes = [Node(name="A", num_states=2), Node(name="B", num_states=3, parents=("A",))]
    nodes.append(Node(name="X", num_states=2, parents=("B",), observed=True))
    tables = {"A": data.draw(holding_tables((2, 2))), "B": data.draw(holding_tables((3, 2, 3)))}
    tables["X"] = [[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]]
    process = Process.from_kernels(Graph(nodes=nodes, initial="stationary"), tables)
    rates = np.einsum("ac,bcd->abcd", process.kernel("A"), process.kernel("B")).reshape(6, 6)
    expected = time_averages(rates * (1 - np.eye(6)))
    assert process.initial_law.sum(-1).ravel() == pytest.approx(expected, rel=1e-12, abs=1e-150)


@pytest.mark.parametrize("seed", range(12))
def test_the_error_of_an_iterated_law_is_within_its_bound(seed, monkeypatch):
    """Compare with elimination, also for iterations that stop early."""
    graph = mixing_graph(seed, "stationary")
    kernels, nodes = Process(graph, seed).kernels, moving(graph)
    monkeypatch.setattr(initial_law, "_sets", lambda graph: [nodes])
    exact, bounds = initial_law._stationary(graph, kernels), []
    for iterations in (3, 6, 12, 24, 1000):
        monkeypatch.setattr(initial_law, "ITERATIONS", iterations)
        law, bound = initial_law.iterate([(step, kernels[node.name]) for node, step in law_step(graph, nodes)], nodes)
        assert np.abs(law - exact).sum() <= bound
        bounds.append(bound)
    assert bounds[-1] < initial_law.ERROR < bounds[-2] < 2.0


def test_large_sets_are_iterated():
    graph = Graph.chain(7, num_states=4, vocab_size=8, alpha_z=1.0, initial="stationary")
    assert prod(node.num_states for node in graph.latents) > initial_law.ELIMINATED
    law = Process(graph).initial_law
    roots = law.sum(tuple(range(1, law.ndim)))
    assert roots == pytest.approx(time_averages(Process(graph).kernel("Z1") * (1 - np.eye(4))), abs=initial_law.ERROR)


@pytest.mark.parametrize(("rates", "min_bound"), [((1e-7, 3e-7), 0.01), ((0.0, 0.0), 2.0)])
def test_an_iteration_without_a_sufficient_bound_is_refused(rates, min_bound, monkeypatch):
    """The message gives the bound reached; two closed classes allow no bound below 2, however small the change is."""
    monkeypatch.setattr(initial_law, "ELIMINATED", 1)
    with pytest.raises(ValueError, match=r"2 joint states is at most .* after 4096 iterations; .* at most 1e-09"):
        _ = flips(*rates, "stationary").initial_law
    with pytest.raises(ValueError, match="joint states is at most") as caught:
        n2n.edge_information(flips(*rates, "stationary"))
    assert min_bound <= float(str(caught.value).split("at most ")[1].split()[0]) <= 2.0


def test_rates_too_small_for_float64_are_refused():
    """B moves only while A is 1; both events have probability 1e-200, and their product underflows."""
    nodes = [Node(name="A", num_states=2), Node(name="B", num_states=2, parents=("A",))]
    nodes.append(Node(name="X", num_states=2, parents=("B",), observed=True))
    a = [[1.0, 1e-200], [1.0, 1e-200]]
    b = [[[1.0, 0.0], [1.0, 1e-200]], [[0.0, 1.0], [1e-200, 1.0]]]
    process = Process.from_kernels(
        Graph(nodes=nodes, initial="stationary"), {"A": a, "B": b, "X": np.full((2, 2), 0.5)}
    )
    with pytest.raises(ValueError, match=r"stationary law of \['A', 'B'\] cannot be resolved .* use 'zero' or"):
        _ = process.initial_law


@pytest.mark.parametrize("seed", range(10))
def test_laws_are_distributions(seed):
    for initial in ("uniform", "stationary"):
        process = Process(mixing_graph(seed, initial), seed)
        assert process.initial_law.shape == tuple(node.num_states for node in process.graph.order)
        assert process.initial_law.sum() == pytest.approx(1.0, abs=1e-12)
        assert (process.initial_law >= 0).all()
    assert Process(mixing_graph(seed, "zero"), seed).initial_law is None


def test_nodes_of_one_state_have_no_axis():
    """Two of 25 dependent latents have several states; numpy has at most 64 axes."""
    nodes = [Node(name="Z0", num_states=1)]
    nodes += [Node(name=f"Z{i}", num_states=3 if i in (7, 20) else 1, parents=(f"Z{i - 1}",)) for i in range(1, 25)]
    nodes.append(Node(name="X", num_states=2, parents=("Z7", "Z20"), observed=True))
    process = Process(Graph(nodes=nodes, initial="stationary"))
    law = process.initial_law.squeeze().sum(-1)
    for own, name in ((law.sum(1), "Z7"), (law.sum(0), "Z20")):
        kernel = process.kernel(name).squeeze()
        assert own @ kernel == pytest.approx(own, abs=1e-14)


def test_a_law_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(initial_law, "BUDGET", 1000)
    process = Process(Graph.preset("sparse").model_copy(update={"initial": "uniform"}))
    with pytest.raises(ValueError, match="41472 joint values takes 331776 bytes, more than 1000"):
        process.sample(1, length=2)
