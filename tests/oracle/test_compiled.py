"""The compiled oracle against its twin in torch, which its own tests compare with sums over all paths."""

import numpy as np
import pytest
import torch
from support.random_graphs import mixing_graph, path_log_probability, random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.oracle.checks import MEMORY_BUDGET
from n2n.oracle.compiled.backward import smooth_chunk
from n2n.oracle.compiled.forward import filter_chunk, filter_sequences
from n2n.oracle.compiled.hiding import hide_keys
from n2n.oracle.compiled.program import compile_program
from n2n.oracle.compiled.viterbi import decode_chunk
from n2n.oracle.decoding import decode_torch
from n2n.oracle.filtering import filter_torch, nll_of
from n2n.oracle.influence import influence_torch
from n2n.oracle.mean_field import mean_field_torch
from n2n.oracle.smoothing import STEP_COPIES, smooth_torch
from n2n.process.process import Process

ALL = {"predictive": True, "beliefs": True, "joint": True}
TYPES = {np.float64: torch.float64, np.float32: torch.float32}
GRAPHS = {
    **{f"random {seed}": random_graph(seed) for seed in range(24)},
    **{f"{initial} {seed}": mixing_graph(seed, initial) for initial in ("uniform", "stationary") for seed in range(12)},
}


def tokens_of(process: Process, count: int = 6, length: int = 20) -> torch.Tensor:
    return torch.from_numpy(process.sample(count, length=length).tokens.astype(np.int64))


def by_torch(process: Process, tokens: torch.Tensor, known=None, dtype=torch.float64):
    return filter_torch(process, tokens, known, dtype, MEMORY_BUDGET, **ALL)


@pytest.fixture(params=GRAPHS)
def process(request) -> Process:
    return Process(GRAPHS[request.param], seed=3)


def test_the_filter_equals_its_twin(process):
    tokens = tokens_of(process)
    result, twin = n2n.filter(process, tokens, **ALL), by_torch(process, tokens)
    torch.testing.assert_close(result.nll, -twin.evidence[:, 1:].log(), rtol=0, atol=1e-12)
    torch.testing.assert_close(result.predictive, twin.predictive, rtol=0, atol=1e-12)
    torch.testing.assert_close(result.joint, twin.joint, rtol=0, atol=1e-12)
    torch.testing.assert_close(result.beliefs, twin.beliefs, rtol=0, atol=1e-12)


def test_the_filter_from_a_known_start_equals_its_twin(process):
    sample = process.sample(5, length=12)
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    start = {name: states[:, 0] for name, states in sample.latents.items()}
    known = np.zeros(5, np.int64)
    for node in process.graph.latents:
        known = known * node.num_states + start[node.name]
    result, twin = n2n.filter(process, tokens, start=start, **ALL), by_torch(process, tokens, torch.from_numpy(known))
    torch.testing.assert_close(result.nll, -twin.evidence[:, 1:].log(), rtol=0, atol=1e-12)
    torch.testing.assert_close(result.joint, twin.joint, rtol=0, atol=1e-12)


def test_a_known_start_may_be_impossible():
    """Later tokens are conditioned on it all the same."""
    chain = [[0.5, 0.5], [0.25, 0.75]]
    nodes = [Node(name="Z", num_states=2), Node(name="X", num_states=2, parents=("Z",), observed=True)]
    graph = Graph(nodes=nodes, initial="uniform")
    process = Process.from_kernels(graph, {"Z": chain, "X": [[1.0, 0.0], [0.0, 1.0]]})
    result = n2n.filter(process, [[1, 1], [0, 1]] * 3, start={"Z": [0] * 6}, beliefs=True)
    assert result.nll[:, 0].exp().numpy() == pytest.approx([2.0] * 6)
    assert result.log_likelihood.numpy() == pytest.approx([-np.inf, np.log(0.25)] * 3)
    assert result.beliefs["Z"][:, 0].tolist() == [[1.0, 0.0]] * 6


def test_smoothing_equals_its_twin(process):
    tokens = tokens_of(process)
    result = n2n.smooth(process, tokens, joint=True)
    twin = smooth_torch(process, tokens, True, torch.float64, MEMORY_BUDGET, 20 + STEP_COPIES)
    torch.testing.assert_close(result.joint, twin.joint, rtol=0, atol=1e-12)
    torch.testing.assert_close(result.beliefs, twin.beliefs, rtol=0, atol=1e-12)
    torch.testing.assert_close(result.log_likelihood, twin.log_likelihood, rtol=1e-13, atol=1e-12)


def test_the_mean_field_equals_its_twin(process):
    tokens = tokens_of(process)
    result = n2n.mean_field(process, tokens)
    evidence, beliefs = mean_field_torch(process, tokens, torch.float64, MEMORY_BUDGET)
    torch.testing.assert_close(result.nll, -evidence[:, 1:].log(), rtol=0, atol=1e-12)
    torch.testing.assert_close(result.beliefs, beliefs, rtol=0, atol=1e-12)


def test_decoding_equals_its_twin(process):
    tokens = tokens_of(process)
    result, twin = n2n.decode(process, tokens), decode_torch(process, tokens, MEMORY_BUDGET)
    torch.testing.assert_close(result.log_probability, twin.log_probability, rtol=1e-13, atol=1e-12)
    assert result.latents.keys() == twin.latents.keys()
    paths = {name: states.numpy() for name, states in result.latents.items()}
    of_paths = path_log_probability(process, tokens.numpy(), paths)  # of several best paths, any may be returned
    assert of_paths == pytest.approx(result.log_probability.numpy(), rel=1e-12, abs=1e-12)


def test_influence_equals_its_twin(process):
    tokens = tokens_of(process, 3, 11)
    result, twin = n2n.token_influence(process, tokens), influence_torch(process, tokens, MEMORY_BUDGET)
    torch.testing.assert_close(result, twin, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_equal_the_twin_in_both_types(name):
    """In float32 the compiled filter is as close to float64 as torch's."""
    process = Process(Graph.preset(name), seed=1)
    tokens = tokens_of(process, 5, 40)
    exact = n2n.filter(process, tokens).nll
    torch.testing.assert_close(exact, -by_torch(process, tokens).evidence[:, 1:].log(), rtol=0, atol=1e-12)
    single = n2n.filter(process, tokens, dtype=torch.float32).nll
    twin = -by_torch(process, tokens, dtype=torch.float32).evidence[:, 1:].log()
    assert single.dtype == torch.float32
    assert (single - exact).abs().max() <= max(1e-5, 2 * (twin - exact).abs().max())


def test_impossible_tokens_end_a_sequence_only():
    """The loss is infinite at the token and nan after it; neighbours in the same chunk are as they were."""
    nodes = [Node(name="Z", num_states=2), Node(name="X", num_states=3, parents=("Z",), observed=True)]
    tables = {"Z": [[0.5, 0.5], [0.5, 0.5]], "X": [[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]}
    process = Process.from_kernels(Graph(nodes=nodes), tables)
    good = [0, 1, 1, 0, 1]
    result = n2n.filter(process, [good, [0, 1, 2, 0, 1], good, good, good])
    assert result.nll[1, :1].isfinite().all()
    assert result.nll[1, 1] == np.inf
    assert result.nll[1, 2:].isnan().all()
    assert torch.equal(result.nll[[0, 2, 3, 4]], n2n.filter(process, [good]).nll.expand(4, -1))


@pytest.mark.parametrize("dtype", TYPES)
def test_nothing_is_denormal(dtype):
    """Small probabilities become 0 rather than denormal numbers, which are slow; large losses stay finite."""
    process = Process(Graph.preset("sparse"), seed=0)
    program = compile_program(process, np.dtype(dtype))
    tokens = process.sample(8, length=64).tokens.astype(np.int64)
    joint = filter_sequences(program, tokens, joint=True).joint
    smallest = np.finfo(dtype).tiny
    assert ((joint == 0) | (joint >= smallest)).all()
    assert ((program.moves.tables == 0) | (program.moves.tables >= smallest)).all()
    assert (np.float32(1e-30) * np.float32(1e-10)) > 0, "the mode of the processor is the caller's"


def test_the_mean_field_without_latents_is_the_filter():
    """Also after an impossible token: nan, as the docstring says."""
    chain = Graph(nodes=[Node(name="X", num_states=3, observed=True, recurrent=True)])
    process = Process.from_kernels(chain, {"X": [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]})
    tokens = torch.tensor([[0, 1, 2, 0, 1], [0, 0, 1, 1, 0]])
    result = n2n.mean_field(process, tokens).nll
    assert result[0, 2:].isnan().all()
    torch.testing.assert_close(result, n2n.filter(process, tokens).nll, rtol=0, atol=0, equal_nan=True)
    evidence, _ = mean_field_torch(process, tokens, torch.float64, MEMORY_BUDGET)
    torch.testing.assert_close(result, nll_of(evidence[:, 1:]), rtol=0, atol=1e-12, equal_nan=True)


def test_unlikely_tokens_keep_their_precision_in_float32():
    """A belief is scaled up after a token of small probability, before the next products could underflow."""
    rare = 2.0**-100
    nodes = [Node(name="Z", num_states=2), Node(name="X", num_states=2, parents=("Z",), observed=True)]
    tables = {"Z": [[1 - 2.0**-20, 2.0**-20], [0.5, 0.5]], "X": [[1 - rare, rare], [1.0, 0.0]]}
    process = Process.from_kernels(Graph(nodes=nodes), tables)
    nll = n2n.filter(process, [[0, 1, 1, 1, 0]], dtype=torch.float32).nll[0, :3]
    assert nll.numpy() == pytest.approx(n2n.filter(process, [[0, 1, 1, 1, 0]]).nll[0, :3].numpy(), rel=1e-6)


def test_tokens_of_any_layout_need_no_further_compilation():
    process = Process(Graph.preset("single"))
    tokens = tokens_of(process, 4, 6)
    start = {name: np.zeros(8, np.int64)[::2] for name in process.graph.latent_names}
    functions = (filter_chunk, smooth_chunk, decode_chunk, hide_keys)
    every = [n2n.filter, n2n.smooth, n2n.decode, n2n.token_influence]
    expected = [function(process, tokens) for function in every]
    n2n.filter(process, tokens, start=start)
    before = [len(function.signatures) for function in functions]
    spread = torch.zeros(8, 12, dtype=torch.int64)
    spread[::2, ::2] = tokens
    for other in (tokens.T.contiguous().T, spread[::2, ::2], tokens.numpy().astype(np.uint8)):
        results = [function(process, other) for function in every]
        n2n.filter(process, other, start=start)
        assert torch.equal(results[0].nll, expected[0].nll)
        assert torch.equal(results[3], expected[3])
    assert [len(function.signatures) for function in functions] == before
