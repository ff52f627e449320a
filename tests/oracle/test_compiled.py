"""The compiled oracle against its twin in torch, which its own tests compare with sums over all paths."""

import threading
import tracemalloc

import numba
import numpy as np
import pytest
import torch
from support.random_graphs import mixing_graph, path_log_probability, random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.oracle.checks import MEMORY_BUDGET, table_bytes
from n2n.oracle.compiled import chunks
from n2n.oracle.compiled.backward import smooth_chunk
from n2n.oracle.compiled.forward import filter_chunk, filter_sequences
from n2n.oracle.compiled.hiding import hide_keys
from n2n.oracle.compiled.program import compile_program, program_of
from n2n.oracle.compiled.steps import multiply
from n2n.oracle.compiled.vectors import NARROW
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


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["feedback", "sparse", "two_chains"])
def test_a_sequence_s_result_does_not_depend_on_the_others(name, dtype, monkeypatch):
    """To the bit: for any batch, number of lanes, memory and number of threads."""
    graph = mixing_graph(8, "stationary") if name == "feedback" else Graph.preset(name)
    assert graph.feeds_back == (name == "feedback")
    process = Process(graph, seed=0)
    tokens = process.sample(37, length=9).tokens.astype(np.int64)
    program = program_of(process, np.dtype(dtype))
    whole = filter_sequences(program, tokens, **ALL)
    cases = [(1, 1, 2**30), (2, 2, 2**30), (3, 5, 2**30), (2, 17, 2**30), (2, 37, 1), (1, 36, 2**20)]
    for threads, rows, memory in cases:
        monkeypatch.setattr(chunks, "cores", lambda threads=threads: threads)
        monkeypatch.setattr(chunks, "MIN_MULTIPLY_ADDS", 1)
        part = filter_sequences(program, tokens[-rows:], memory=memory, **ALL)
        for one, all_rows in zip(part, whole, strict=True):
            assert np.array_equal(one, all_rows[-rows:])


@numba.njit
def call_multiply(table, row_stride, shape, values, results):
    """Multiply into ``results`` from its second number on."""
    multiply(table, 0, row_stride, shape, values, 0, results, 1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("columns", [1, 3, 4, 7, 8, 12, 17, 33])
def test_products_of_every_shape(columns, dtype):
    """Rows, depth and columns that fill no vector; nothing is written outside the result."""
    rng = np.random.default_rng(columns)
    for rows in range(1, 19):
        depth = int(rng.integers(1, 12))
        table, values = rng.random((rows, depth + 2), dtype), rng.random((depth, columns), dtype)
        results = np.full(rows * columns + 2, dtype(-1))
        call_multiply(table.ravel(), depth + 2, (rows, depth, columns), values.ravel(), results)
        assert results[1:-1].reshape(rows, columns) == pytest.approx(table[:, :depth] @ values, rel=1e-5)
        assert results[[0, -1]].tolist() == [-1, -1]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 31, 32, 33, 64, 257])
def test_chunks_share_the_sequences(count, monkeypatch):
    """Each sequence is in one chunk, lanes fill vectors, and working memory stays within the limit."""
    program = program_of(Process(Graph.preset("two_chains")), np.dtype(np.float64))
    lane = chunks.Work.bytes_per_lane(program)
    assert lane == sum(array.nbytes for array in chunks.Work.of(program, 1))
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    for memory in (1, 2 * lane, 9 * lane, 1000 * lane):
        calls, spaces = [], {}

        def work(first: int, space: chunks.Work, calls=calls, spaces=spaces) -> None:
            calls.append((first, space.total.size))
            spaces[threading.get_ident()] = space

        chunks.run_chunks(work, program, count, memory, multiply_adds=10**9)
        firsts, (width, *_) = zip(*sorted(calls), strict=True)
        assert {size for _, size in calls} == {width}
        assert list(firsts) == list(range(0, count, width))
        assert width == 1 or width % 4 == 0
        assert sum(array.nbytes for space in spaces.values() for array in space) <= max(memory, lane)


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


def test_the_tables_of_a_process_are_made_once_and_go_with_it():
    process = Process(Graph.preset("single"))
    program = program_of(process, np.dtype(np.float64))
    assert program_of(process, np.dtype(np.float64)) is program
    assert program_of(process, np.dtype(np.float32)) is not program


def hidden_tokens(shape: tuple[int, int], **table) -> tuple[Process, torch.Tensor]:
    nodes = [Node(name="Z", num_states=2), Node(name="X", num_states=4, parents=("Z",), observed=True)]
    process = Process.from_kernels(Graph(nodes=nodes), {"Z": [[0.9, 0.1], [0.2, 0.8]], **table})
    return process, torch.zeros(shape, dtype=torch.int64)


def test_a_first_token_that_is_always_0_has_no_influence_on_the_second():
    process, tokens = hidden_tokens((3, 2), X=np.full((2, 4), 0.25))
    assert n2n.token_influence(process, tokens).tolist() == [[[0.0]]] * 3


def test_a_token_of_tiny_probability_does_not_make_influences_infinite():
    """Its probability underflows with a key and not without, or the reverse; it adds nothing to the divergence."""
    rare = 1e-307
    process, tokens = hidden_tokens((1, 8), X=[[0.9, 0.09, 0.01, rare], [0.01, 0.09, 0.9, rare]])
    tokens[0, [2, 5, 6]] = 2
    result = n2n.token_influence(process, tokens)
    without, _ = hidden_tokens((1, 8), X=[[0.9, 0.09, 0.01, 0.0], [0.01, 0.09, 0.9, 0.0]])
    torch.testing.assert_close(result, n2n.token_influence(without, tokens), rtol=1e-9, atol=1e-20)
    torch.testing.assert_close(result, influence_torch(process, tokens, MEMORY_BUDGET), rtol=1e-6, atol=1e-14)
    assert result.isfinite().all()


def test_influence_with_feedback_stays_within_its_budget():
    """The values of a hidden token step together as far as memory allows."""
    latents = [Node(name=f"Z{i}", num_states=4, parents=("X",) if i == 0 else ()) for i in range(6)]
    graph = Graph(nodes=[*latents, Node(name="X", num_states=100, parents=("Z0",), observed=True)])
    process = Process(graph)
    tokens = process.sample(1, length=4).tokens.astype(np.int64)
    expected = n2n.token_influence(process, tokens, memory_budget=2**30)
    budget = 10**6
    tracemalloc.start()
    result = n2n.token_influence(process, tokens, memory_budget=budget)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert torch.equal(result, expected)
    assert peak < budget


@pytest.mark.parametrize("dtype", TYPES)
def test_flat_tables_take_as_much_memory_as_the_kernels(dtype):
    """As the memory budget assumes: of a Markov chain, whose rows have one entry, and with feedback."""
    chain = Graph(nodes=[Node(name="X", num_states=50, observed=True, recurrent=True)])
    nodes = [Node(name="Z", num_states=2, parents=("X",)), Node(name="X", num_states=50, parents=("Z",), observed=True)]
    for graph in (chain, Graph(nodes=nodes)):
        program = compile_program(Process(graph), np.dtype(dtype))
        assert program.emission.nbytes + program.moves.tables.nbytes <= table_bytes(graph, TYPES[dtype]) + 2 * NARROW


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
