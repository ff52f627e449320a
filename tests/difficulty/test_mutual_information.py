import itertools

import numpy as np
import pytest
from support.frozen_graphs import freeze
from support.random_graphs import chain_seen_through, mixing_graph

import n2n
from n2n.difficulty import mutual_information
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.reference import first_law, flatten, joint_states, sees_previous_token
from n2n.process.process import Process

Step = tuple[dict[str, int], dict[str, int], float]  # before, after, probability


def two_steps(process: Process, length: int | None) -> list[list[Step]]:
    """P(all values at t - 1, all values at t) for each t = 1 .. length - 1, computed entry by entry."""
    x, states = process.graph.observed.name, joint_states(process)
    transitions, emissions = flatten(process)
    tokens = range(process.graph.vocab_size)
    moves = {}
    for token, i, new, j in itertools.product(tokens, range(len(states)), tokens, range(len(states))):
        feedback = token if sees_previous_token(process) else 0
        moves[token, i, new, j] = transitions[feedback, i, j] * emissions[feedback, j, new]
    law, steps = first_law(process if length else process.with_initial("stationary")), []
    for _ in range((length or 2) - 1):
        steps.append(
            [
                ({**states[i], x: token}, {**states[j], x: new}, law[token, i] * probability)
                for (token, i, new, j), probability in moves.items()
            ]
        )
        law_after = np.zeros_like(law)
        for (token, i, new, j), probability in moves.items():
            law_after[new, j] += law[token, i] * probability
        law = law_after
    return steps


def entropy(weights) -> float:
    weights = np.array([w for w in weights if w > 0])
    return float(-(weights * np.log(weights)).sum())


def entropies(steps: list[Step], parent: str, child: str, lag: int) -> tuple[float, float, float]:
    """H(parent), H(child) and H(parent, child), nats, from sums over the steps."""
    joint, left, right = {}, {}, {}
    for before, after, probability in steps:
        a, b = (before if lag else after)[parent], after[child]
        for law, key in ((joint, (a, b)), (left, a), (right, b)):
            law[key] = law.get(key, 0.0) + probability
    return entropy(left.values()), entropy(right.values()), entropy(joint.values())


def by_edge(process: Process, length: int | None = None) -> dict[tuple[str, str, int], float]:
    table = n2n.edge_information(process, length)
    return {(row.parent, row.child, row.lag): row.information for row in table.itertuples()}


@pytest.mark.parametrize(("length", "initial"), [(None, "zero"), (2, "zero"), (6, "zero"), (5, "uniform")])
@pytest.mark.parametrize("seed", range(0, 12, 2))
def test_information_equals_a_sum_over_all_values(seed, length, initial):
    """The random graphs have feedback, recurrence, modes and stickiness."""
    process = Process(mixing_graph(seed, initial), seed)
    information = by_edge(process, length)
    loops = {(node.name, node.name, 1) for node in process.graph.nodes if node.sees_itself}
    assert set(information) == loops | set(process.graph.networkx().edges(data="lag"))
    steps = two_steps(process, length)
    for edge, nats in information.items():
        each = [left + right - both for left, right, both in (entropies(step, *edge) for step in steps)]
        assert nats == pytest.approx(np.mean(each), abs=1e-9), edge


@pytest.mark.parametrize(("length", "initial"), [(None, "uniform"), (3, "uniform"), (3, "stationary")])
@pytest.mark.parametrize("seed", [1, 3, 9, 12])
def test_information_about_frozen_latents_equals_a_sum_over_all_values(seed, length, initial):
    process = freeze(seed, initial)
    for edge, nats in by_edge(process, length).items():
        each = [left + right - both for left, right, both in (entropies(s, *edge) for s in two_steps(process, length))]
        assert nats == pytest.approx(np.mean(each), abs=1e-9), edge
    for node in process.graph.frozen_latents:  # a node that never moves tells all about itself
        law = node.initial or [1 / node.num_states] * node.num_states
        assert by_edge(process, length)[node.name, node.name, 1] == pytest.approx(entropy(law))


@pytest.mark.parametrize("seed", [2, 4])
def test_small_parts_give_the_same_information(seed, monkeypatch):
    process = Process(mixing_graph(seed, "zero"), seed)
    whole = by_edge(process, 5)
    monkeypatch.setattr(mutual_information, "MAX_BYTES", 1)
    assert by_edge(process, 5) == pytest.approx(whole, abs=1e-12)


def test_the_random_graphs_have_every_kind_of_edge():
    kinds = set()
    for seed in range(0, 12, 2):
        graph = mixing_graph(seed, "zero")
        edges = graph.networkx().edges(data="lag")
        kinds |= {(parent == "X", child == "X", lag) for parent, child, lag in edges}
        kinds |= {"recurrent"} if graph.observed.recurrent else set()
    assert kinds == {(False, False, 0), (False, True, 0), (True, False, 1), "recurrent"}


@pytest.mark.parametrize("seed", range(0, 12, 3))
def test_the_best_unigram_and_bigram_losses_equal_a_sum_over_all_values(seed):
    process = Process(mixing_graph(seed, "zero"), seed)
    average = [(before, after, chance / 5) for step in two_steps(process, 6) for before, after, chance in step]
    first, second, both = entropies(average, "X", "X", 1)
    losses = n2n.best_losses(process, 6)["loss"].tolist()
    assert losses[1:3] == pytest.approx([second, both - first], abs=1e-9)
    assert losses[3] < losses[2] + 0.06 < losses[1] + 0.06


def test_nodes_that_only_drift_together_share_no_information():
    """A and B each leave state 0 permanently. They are independent at every t, although both depend on the time."""
    leaving, either = np.array([[0.9, 0.1], [0.0, 1.0]]), np.full((2, 2, 2), 0.5)
    nodes = [Node(name="A", num_states=2), Node(name="B", num_states=2, parents=("A",))]
    nodes.append(Node(name="X", num_states=2, parents=("A", "B"), observed=True))
    kernels = {"A": leaving, "B": np.stack([leaving, leaving], axis=1), "X": either}
    information = by_edge(Process.from_kernels(Graph(nodes=nodes), kernels), 20)
    assert information["A", "B", 0] == pytest.approx(0.0, abs=1e-12)
    assert information["A", "X", 0] == pytest.approx(0.0, abs=1e-12)
    survival = 0.9 ** np.arange(20)  # P(A = 0) at t
    loop = [entropy([p, 1 - p]) - q * entropy([0.9, 0.1]) for p, q in zip(survival[1:], survival, strict=False)]
    assert information["A", "A", 1] == information["B", "B", 1] == pytest.approx(np.mean(loop), abs=1e-12)


def test_a_stationary_start_gives_every_length_the_same_information():
    process = Process(mixing_graph(3, "stationary"), 3)
    assert by_edge(process, 2) == pytest.approx(by_edge(process), abs=1e-9)
    assert by_edge(process, 9) == pytest.approx(by_edge(process), abs=1e-9)


@pytest.mark.parametrize(("p", "q"), [(0.2, 0.3), (0.3, 0.4), (0.01, 0.5)])
def test_a_chain_s_loop_is_its_entropy_minus_its_rate(p, q):
    """The information of a chain's self-loop is its entropy minus its entropy rate; a noiseless X reveals the state."""
    information = by_edge(chain_seen_through([[1 - p, p], [q, 1 - q]], np.eye(2)))
    law = np.array([q, p]) / (p + q)
    rate = law @ [entropy([1 - p, p]), entropy([q, 1 - q])]
    assert information["Z", "Z", 1] == pytest.approx(entropy(law) - rate, abs=1e-8)
    assert information["Z", "X", 0] == pytest.approx(entropy(law), abs=1e-8)


def test_a_symmetric_channel():
    """A memoryless channel with error rate e and a fair input has information log 2 - H(e)."""
    information = by_edge(chain_seen_through([[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]]))
    assert information == pytest.approx({("Z", "Z", 1): 0.0, ("Z", "X", 0): np.log(2) - entropy([0.9, 0.1])}, abs=1e-12)


def test_an_exclusive_or_shares_no_information_with_either_input():
    """An edge with zero information can still have an effect, as the docstring says."""
    fair = np.full((2, 2), 0.5)
    xor = np.eye(2)[np.add.outer(range(2), range(2)) % 2]
    nodes = [Node(name="A", num_states=2), Node(name="B", num_states=2)]
    nodes.append(Node(name="X", num_states=2, parents=("A", "B"), observed=True))
    information = by_edge(Process.from_kernels(Graph(nodes=nodes), {"A": fair, "B": fair, "X": xor}))
    assert information == pytest.approx(dict.fromkeys(information, 0.0), abs=1e-12)


def test_a_token_that_decides_the_next_state():
    """X is fair and Z copies it one step later, so the feedback edge has log 2 nats and the other edges have none."""
    nodes = [
        Node(name="Z", num_states=2, parents=("X",)),
        Node(name="X", num_states=2, parents=("Z",), observed=True),
    ]
    copy = np.broadcast_to(np.eye(2), (2, 2, 2))
    information = by_edge(Process.from_kernels(Graph(nodes=nodes), {"Z": copy, "X": np.full((2, 2), 0.5)}))
    expected = {("Z", "Z", 1): 0.0, ("X", "Z", 1): np.log(2), ("Z", "X", 0): 0.0}
    assert information == pytest.approx(expected, abs=1e-12)


def test_a_chain_that_forgets_slowly():
    """The state of Z almost determines the next one in the long run; within a sequence Z hardly leaves its start."""
    slow = chain_seen_through([[1 - 1e-7, 1e-7], [3e-7, 1 - 3e-7]], np.eye(2))
    assert by_edge(slow)["Z", "Z", 1] == pytest.approx(entropy([0.75, 0.25]), abs=1e-5)
    assert by_edge(slow, 64)["Z", "Z", 1] < 1e-4


def test_the_table():
    table = n2n.edge_information(Process(Graph.preset("dense")))
    assert list(table.columns) == ["parent", "child", "lag", "information"]
    ends = [("Z1", "Z1", 1), ("Z2", "Z2", 1), ("Z3", "Z3", 1), ("Z1", "Z3", 0), ("Z2", "Z3", 0)]
    ends += [("Z4", "Z4", 1), ("Z1", "Z4", 0), ("Z2", "Z4", 0), ("Z3", "X", 0), ("Z4", "X", 0)]
    assert list(zip(table.parent, table.child, table.lag, strict=True)) == ends
    assert ((table.information >= 0) & (table.information < np.log(6))).all()


def test_against_long_sequences():
    """The plug-in estimate has a bias of about (6 - 1)(6 - 1) / 2 divided by the number of pairs."""
    process = Process(Graph.preset("sparse", alpha_z=0.3, alpha_x=0.3)).with_initial("stationary")
    z = process.sample(200_000, length=2).latents
    information = by_edge(process)
    for (parent, child, lag), column in {("Z3", "Z3", 1): 0, ("Z1", "Z3", 0): 1, ("Z2", "Z4", 0): 1}.items():
        counts = np.zeros((6, 6))
        np.add.at(counts, (z[parent][:, column].astype(int), z[child][:, 1].astype(int)), 1 / 200_000)
        counted = entropy(counts.sum(0)) + entropy(counts.sum(1)) - entropy(counts.ravel())
        assert information[parent, child, lag] == pytest.approx(counted, abs=5e-3)


def test_invalid_arguments_are_refused():
    context = Graph.chain(2, mode="context")
    with pytest.raises(ValueError, match=r"mode 'context' redraws the kernels of \['Z1', 'Z2'\]"):
        n2n.edge_information(Process(context))
    with pytest.raises(ValueError, match="saw a Graph; a Process is needed"):
        n2n.edge_information(context)
    with pytest.raises(ValueError, match="length: saw 1; a whole number from 2"):
        n2n.edge_information(Process(Graph.preset("single")), 1)
    with pytest.raises(ValueError, match=r"the law of 536870912 joint values takes 4294967296 bytes, more than"):
        n2n.edge_information(Process(Graph.independent(12, num_states=4, vocab_size=32)), 64)
