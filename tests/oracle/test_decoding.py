"""The most probable path against sums over all paths and the Viterbi algorithm."""

import numpy as np
import pytest
import torch
from support.exact_beliefs import min_budget
from support.random_graphs import chain_seen_through, mixing_graph, path_log_probability, random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.oracle import checks, decoding
from n2n.oracle.reference import every_path, viterbi
from n2n.process.process import Process


def assert_decoded(process: Process, tokens: np.ndarray, expected: list[float]) -> None:
    """Check the log probability of the best path, as returned and from the kernels; other paths may be equally good."""
    result = n2n.decode(process, tokens)
    assert list(result.latents) == list(process.graph.latent_names)
    assert result.log_probability.numpy() == pytest.approx(expected, abs=1e-9)
    assert path_log_probability(process, tokens, result.latents) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_equals_the_best_of_all_paths(seed):
    process = Process(random_graph(seed), seed)
    tokens = process.sample(2, length=5 if process.graph.num_joint_states <= 9 else 4).tokens
    assert_decoded(process, tokens, [np.log(every_path(process, sequence)[1].max()) for sequence in tokens])


@pytest.mark.parametrize("seed", range(25, 50))
def test_equals_the_textbook_viterbi(seed):
    process = Process(random_graph(seed), seed)
    tokens = process.sample(4, length=60).tokens
    assert_decoded(process, tokens, [viterbi(process, sequence) for sequence in tokens])


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_references_from_other_starts(seed, initial):
    process = Process(mixing_graph(seed, initial), seed)
    tokens = process.sample(4, length=12).tokens
    assert_decoded(process, tokens, [viterbi(process, sequence) for sequence in tokens])
    best = [np.log(every_path(process, sequence)[1].max()) for sequence in tokens[:, :3]]
    assert_decoded(process, tokens[:, :3], best)


@pytest.mark.parametrize("name", ["single", "four_chains", "slow_switch"])
def test_equals_the_textbook_on_presets(name):
    process = Process(Graph.preset(name), seed=1)
    tokens = process.sample(2, length=20).tokens
    assert_decoded(process, tokens, [viterbi(process, sequence) for sequence in tokens])


@pytest.mark.parametrize("seed", range(12))
def test_a_unique_best_path_is_returned(seed):
    """These kernels have no tiny or repeated entries, so exactly one path is the best, and decode returns it."""
    process = Process(mixing_graph(seed, "uniform"), seed)
    tokens = process.sample(2, length=4).tokens
    result = n2n.decode(process, tokens)
    for i, sequence in enumerate(tokens):
        paths, probability = every_path(process, sequence)
        state = paths[probability.argmax()]
        for node in reversed(process.graph.latents):
            assert result.latents[node.name][i].tolist() == (state % node.num_states).tolist()
            state = state // node.num_states


@pytest.mark.parametrize("name", PRESETS)
def test_is_at_least_as_probable_as_the_true_path(name):
    process = Process(Graph.preset(name), seed=3)
    sample = process.sample(20, length=50)
    result = n2n.decode(process, sample.tokens)
    for node in process.graph.latents:
        path = result.latents[node.name]
        assert path.shape == (20, 50)
        assert path.dtype == torch.int64
    best = result.log_probability.numpy()
    assert best == pytest.approx(path_log_probability(process, sample.tokens, result.latents), abs=1e-9)
    true = path_log_probability(process, sample.tokens, sample.latents)
    assert np.isfinite(true).all()
    assert (best >= true - 1e-9).all()
    assert (best <= n2n.filter(process, sample.tokens).log_likelihood.numpy() + 1e-9).all()


def test_long_sequences_neither_underflow_nor_drift():
    process = Process(mixing_graph(2, "uniform"), 2)
    tokens = process.sample(2, length=2000).tokens
    assert n2n.decode(process, tokens).log_probability.max() < -745  # its exponential underflows to 0 in float64
    assert_decoded(process, tokens, [viterbi(process, sequence) for sequence in tokens])


def test_a_latent_that_x_reveals_is_decoded_exactly():
    process = chain_seen_through(np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]), np.eye(3))
    tokens = process.sample(5, length=30).tokens
    assert np.array_equal(n2n.decode(process, tokens).latents["Z"].numpy(), tokens)


def test_more_than_256_states_have_wider_pointers():
    """The latent has 300 states with two possible successors each, and X shows only the parity of the state."""
    rng, states = np.random.default_rng(0), 300
    chain = np.zeros((states, states))
    for row in chain:
        row[rng.choice(states, 2, replace=False)] = 0.4, 0.6
    process = chain_seen_through(chain, np.eye(2)[np.arange(states) % 2])
    tokens = process.sample(3, length=40).tokens
    assert decoding.Move.of(process, process.graph["Z"], torch.device("cpu")).pointer == torch.int16
    assert n2n.decode(process, tokens).latents["Z"].max() > 255
    assert_decoded(process, tokens, [viterbi(process, sequence) for sequence in tokens])


@pytest.mark.parametrize(
    ("num_states", "pointer"),
    [(2, torch.uint8), (256, torch.uint8), (257, torch.int16), (2**15, torch.int16), (2**15 + 1, torch.int32)],
)
def test_pointers_hold_every_state(num_states, pointer):
    assert decoding._pointer(Node(name="Z", num_states=num_states)) == pointer
    assert torch.iinfo(pointer).max >= num_states - 1


@pytest.mark.parametrize("initial", ["zero", "stationary"])
def test_an_impossible_sequence_does_not_affect_the_others(initial):
    golden_mean = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    process = chain_seen_through(*golden_mean, initial=initial)
    tokens = np.array([[0, 1, 0, 0, 1], [0, 1, 1, 0, 1], [0, 1, 1, 0, 0]])  # the process never emits 0 twice in a row
    result, single = n2n.decode(process, tokens), n2n.decode(process, tokens[1:2])
    assert result.log_probability[[0, 2]].tolist() == [-np.inf, -np.inf]
    assert torch.equal(result.log_probability[1:2], single.log_probability)
    assert torch.equal(result.latents["Z"][1:2], single.latents["Z"])
    assert torch.isfinite(single.log_probability).all()
    assert (result.latents["Z"][[0, 2]] == -1).all()  # no path explains these tokens
    assert (result.latents["Z"][1] >= 0).all()


def test_a_graph_without_latents():
    chain = np.array([[0.5, 0.5], [0.1, 0.9]])
    graph = Graph(nodes=(Node(name="X", num_states=2, observed=True, recurrent=True),))
    result = n2n.decode(Process.from_kernels(graph, {"X": chain}), [[0, 1, 1], [0, 0, 1]])
    assert result.latents == {}
    assert result.log_probability.exp().numpy() == pytest.approx([0.45, 0.25])


@pytest.mark.parametrize("seed", range(5))
def test_small_chunks_give_the_same_paths(seed, monkeypatch):
    process = Process(random_graph(seed), seed)
    tokens = torch.from_numpy(process.sample(3, length=20).tokens.astype(int))
    whole = decoding.decode_torch(process, tokens, checks.MEMORY_BUDGET)
    monkeypatch.setattr(decoding, "_CHUNK", 1)
    parts = decoding.decode_torch(process, tokens, checks.MEMORY_BUDGET)
    assert torch.equal(whole.log_probability, parts.log_probability)
    assert all(torch.equal(whole.latents[name], parts.latents[name]) for name in whole.latents)


def test_the_budget_cuts_the_batch_in_torch_without_changing_results(monkeypatch):
    process = Process(Graph.preset("sparse"))
    tokens = process.sample(7, length=200).tokens
    arguments = (process, torch.from_numpy(tokens.astype(int)))
    whole, sizes, real = decoding.decode_torch(*arguments, checks.MEMORY_BUDGET), [], decoding._decode_part

    def spy(process, moves, emission, part):
        sizes.append(len(part))
        return real(process, moves, emission, part)

    monkeypatch.setattr(decoding, "_decode_part", spy)
    smallest = min_budget(n2n.decode, process, tokens)
    # four latents with one byte per joint state and step; the tables and the numbers of one step take less than that
    pointers = 199 * 4 * process.graph.num_joint_states
    assert pointers < smallest < 2 * pointers
    for rows, expected in ((0, [1] * 7), (1, [2, 2, 2, 1]), (6, [7])):
        sizes.clear()
        cut = decoding.decode_torch(*arguments, smallest + rows * (smallest - tables(process)))
        assert sizes == expected
        assert torch.equal(whole.log_probability, cut.log_probability)
        assert all(torch.equal(whole.latents[name], cut.latents[name]) for name in whole.latents)


def tables(process: Process) -> int:
    return checks.table_bytes(process.graph, torch.float64)


def test_sequences_that_exceed_the_budget_are_refused():
    process = Process(Graph.preset("dense"))
    tokens = process.sample(2, length=200).tokens
    needed = min_budget(n2n.decode, process, tokens)
    assert n2n.decode(process, tokens, memory_budget=needed).log_probability.isfinite().all()
    message = (
        rf"memory_budget: 1296 joint states need {needed} bytes for one sequence, more than the budget of {needed - 1}"
    )
    with pytest.raises(ValueError, match=message):
        n2n.decode(process, tokens, memory_budget=needed - 1)


def test_arguments_that_the_filter_refuses_are_refused():
    with pytest.raises(ValueError, match="saw 32 in sequence 0 at position 2"):
        n2n.decode(Process(Graph.preset("single")), [[0, 3, 32]])
    nodes = (Node(name="Z", num_states=2, mode="context"), Node(name="X", num_states=2, parents=("Z",), observed=True))
    with pytest.raises(ValueError, match=r"mode 'context' redraws the kernels of \['Z'\]"):
        n2n.decode(Process(Graph(nodes=nodes)), [[0, 1]])
