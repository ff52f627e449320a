"""The told oracle against the textbook forward algorithm, and against a filter for each sequence, with its kernels."""

import tracemalloc

import numpy as np
import pytest
import torch
from support.context_graphs import GRAPHS, in_context, latent, observed
from support.random_graphs import random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.oracle import told
from n2n.oracle.reference import forward_nll
from n2n.process.process import Process

CHAIN = Process(Graph(nodes=[observed(recurrent=True)], initial="uniform"))


@pytest.mark.parametrize("initial", ["zero", "uniform"])
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_the_textbook_with_the_kernels_of_each_sequence(name, initial):
    """The sequences stand in any order, also twice."""
    process = Process(Graph(nodes=GRAPHS[name], initial=initial), seed=2)
    sequences = np.array([7, 3, 2**40, 3])
    drawn = [process.sample(1, length=6, split="valid", start=int(index)) for index in sequences]
    tokens = np.concatenate([sample.tokens for sample in drawn])
    nll = n2n.told_nll(process, tokens, sequences, split="valid").numpy()
    for index, row, losses in zip(sequences, tokens, nll, strict=True):
        fixed = process.of_sequence(index, split="valid")
        assert losses == pytest.approx(forward_nll(fixed, row[None])[0], abs=1e-9)


def one_by_one(process: Process, tokens: np.ndarray, sequences, split: str = "train") -> torch.Tensor:
    """The slow twin: a filter for each sequence, on the process with its kernels."""
    rows = zip(sequences, tokens, strict=True)
    return torch.cat([n2n.filter(process.of_sequence(int(i), split=split), row[None]).nll for i, row in rows])


def wide_graph(initial: str) -> Graph:
    """Blocks of several latents, some of them fixed, a latent that sees the previous token, and a product kernel."""
    nodes = [
        latent("A", num_states=5),
        latent("B", "A", num_states=3),
        latent("C", "X", "A", num_states=4, mode="default"),
        latent("D", "B", num_states=6, mode="default"),
        latent("E", "D", "A", num_states=3, kernel="product"),
        observed("E", "B", "C", num_states=7),
    ]
    return Graph(nodes=nodes, initial=initial)


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_filter_of_each_sequence(seed):
    process = Process(in_context(seed), seed)
    tokens = process.sample(21, length=30, split="test", start=4).tokens
    nll = n2n.told_nll(process, tokens, np.arange(4, 25), split="test")
    assert nll.numpy() == pytest.approx(one_by_one(process, tokens, range(4, 25), "test").numpy(), abs=1e-12)


@pytest.mark.parametrize("initial", ["zero", "uniform"])
def test_a_sequence_has_the_same_bits_in_every_batch(initial, monkeypatch):
    """Alone, in another order, twice, with tables for one sequence at a time, and on two threads."""
    process = Process(wide_graph(initial))
    tokens = process.sample(37, length=25).tokens
    nll = n2n.told_nll(process, tokens, range(37))
    assert nll.numpy() == pytest.approx(one_by_one(process, tokens, range(37)).numpy(), abs=1e-12)
    order = np.r_[np.random.default_rng(0).permutation(37), 5, 5]
    assert n2n.told_nll(process, tokens[order], order).equal(nll[order])
    assert n2n.told_nll(process, tokens[8:9], [8]).equal(nll[8:9])
    monkeypatch.setattr(told, "TABLES_AT_ONCE", 1)
    assert n2n.told_nll(process, tokens[order], order).equal(nll[order])


@pytest.mark.parametrize("pool", [1, 3])
def test_sequences_of_a_pool_share_kernels(pool, monkeypatch):
    """Also a pool of one set, whose tables all lanes share. Each set is drawn once."""
    process = Process(wide_graph("uniform").model_copy(update={"pool": pool}))
    tokens = process.sample(20, length=12, split="valid").tokens
    nll = n2n.told_nll(process, tokens, range(20), split="valid")
    assert nll.numpy() == pytest.approx(one_by_one(process, tokens, range(20), "valid").numpy(), abs=1e-12)
    drawn, draw = [], Process.context_kernels
    monkeypatch.setattr(Process, "context_kernels", lambda *given: drawn.append(given[1]) or draw(*given))
    assert n2n.told_nll(process, tokens[::-1], range(20)[::-1], split="valid").equal(nll.flip(0))
    assert np.concatenate(drawn).tolist() == list(range(pool))


def test_the_memory_stays_within_the_budget():
    process = Process(wide_graph("uniform"))
    tokens, budget = process.sample(64, length=5).tokens, 2**23
    whole = n2n.told_nll(process, tokens, range(64))
    tracemalloc.start()
    try:
        nll = n2n.told_nll(process, tokens, range(64), memory_budget=budget)
        assert tracemalloc.get_traced_memory()[1] < budget
    finally:
        tracemalloc.stop()
    assert nll.equal(whole)
    with pytest.raises(ValueError, match=r"memory_budget: 1080 joint states need .* more than the budget of 20000"):
        n2n.told_nll(process, tokens, range(64), memory_budget=20_000)


def test_an_impossible_token_has_an_infinite_loss():
    """A fixed emission that shows the redrawn latent can emit each token in its own state only."""
    nodes = [latent("Z", num_states=2), observed("Z", num_states=3, mode="default")]
    process = Process.from_kernels(Graph(nodes=nodes), {"X": np.eye(3)[:2]})
    nll = n2n.told_nll(process, [[0, 1, 0, 1], [0, 2, 1, 1]], [3, 4])
    assert nll[0].isfinite().all()
    assert nll[1].tolist() == [np.inf, pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True)]


def test_without_context_nodes_it_is_the_filter():
    process = Process(random_graph(3))
    tokens = process.sample(5, length=20).tokens
    assert n2n.told_nll(process, tokens, np.arange(5)).equal(n2n.filter(process, tokens).nll)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([0, 1], r"sequences: saw shape \(2,\); \(3,\) is needed, an index for each row"),
        ([[0, 1, 2]], r"sequences: saw shape \(1, 3\); \(3,\) is needed"),
        ([0, -1, 2], "sequences: saw -1; the index of a sequence is a whole number from 0"),
        ([0.0, 1.0, 2.0], "sequences: saw list of type float64; integers are needed"),
    ],
)
def test_wrong_sequences_are_refused(sequences, message):
    with pytest.raises(ValueError, match=message):
        n2n.told_nll(CHAIN, CHAIN.sample(3, length=4).tokens, sequences)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="unknown split 'vald'; did you mean 'valid'"):
        n2n.told_nll(CHAIN, CHAIN.sample(3, length=4).tokens, range(3), split="vald")
