"""Compressed sizes compared with the exact entropy."""

import math

import numpy as np
import pytest
from support.random_graphs import iid_graph

import n2n
from n2n.difficulty.compression import compression_nats
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process
from n2n.utils.statistics import t_interval


def context_graph() -> Graph:
    return Graph(nodes=[Node(name="X", num_states=3, observed=True, recurrent=True, mode="context")])


def test_incompressible_bytes_keep_their_size():
    """256 nearly equally probable symbols cost at least log 256 each; the containers' overhead shrinks with size."""
    graph = iid_graph(256)
    flat = [node.model_copy(update={"alpha": 1000.0}) if node.observed else node for node in graph.nodes]
    table = n2n.compression_table([graph.model_copy(update={"nodes": flat})], [10, 14], precision=0.001, samples=3)
    assert table["tokens"].tolist() == [1008, 1008, 16380, 16380]
    assert table["entropy"].tolist() == pytest.approx([math.log(256)] * 4, abs=0.01)
    few, many = (table[table["tokens"] == tokens]["nats"] for tokens in (1008, 16380))
    assert math.log(256) < many.min() <= many.max() < 1.04 * math.log(256) < few.min()


def test_sizes_and_entropy_are_of_the_same_tokens():
    """The table's entropy is the mean -log P of the compressed tokens, and every compressed size is larger than it."""
    table = n2n.compression_table(["four_chains"], [14], length=32, samples=2)
    process = Process(Graph.preset("four_chains"), 0)
    count = 2**14 // 31
    losses, sizes = [], []
    for start in (0, count):
        tokens = process.sample(count, length=32, start=start).tokens
        losses.append(n2n.filter(process, tokens).nll.mean().item())
        sizes.append(n2n.compression_nats(tokens[:, 1:], 32))
    row = table[table["compressor"] == "lzma"].iloc[0]
    assert row["tokens"] == count * 31
    assert row["entropy"] == pytest.approx(np.mean(losses), abs=0.03)
    exact = n2n.entropy(process, 32, precision=0.01)
    low, high = t_interval(exact.mean, exact.standard_error, exact.sequences)
    assert (row["entropy"], row["entropy_low"], row["entropy_high"]) == pytest.approx((exact.mean, low, high))
    assert row["nats"] == pytest.approx(np.mean([size["lzma"] for size in sizes]))
    assert (row["lowest"], row["highest"]) == tuple(sorted(size["lzma"] for size in sizes))
    assert (table["lowest"] > np.max(losses)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": [0]}, "tokens: saw 0"),
        ({"tokens": []}, "at least one is needed"),
        ({"samples": 1}, "samples: saw 1"),
        ({"length": 1}, "length"),
        ({"graphs": ["sparse", "sparse"]}, "no name twice"),
        ({"graphs": []}, "at least one is needed"),
        ({"tokens": [2, 4], "length": 64}, r"exponents \[2, 4\], which at length 64 make \[1, 1\] whole sequences"),
        ({"tokens": [10, 10]}, "their numbers must differ"),
        ({"graphs": [Graph.preset("sparse"), context_graph()]}, "mode 'context'"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        n2n.compression_table(**{"graphs": ["sparse"], "tokens": [10], **arguments})


def test_graphs_without_a_name_are_numbered():
    nameless = iid_graph(4).model_copy(update={"name": ""})
    table = n2n.compression_table([nameless, nameless], [6], length=8, precision=0.1, samples=2)
    assert table["graph"].tolist() == ["graph 1"] * 2 + ["graph 2"] * 2


def test_compression_of_known_entropies():
    """Compressed sizes exceed the entropy, and are close to it for sequences that are easy to code."""
    rng = np.random.default_rng(0)
    of_bytes = compression_nats(rng.integers(0, 256, (64, 1024)), 256)
    assert set(of_bytes) == {"lzma", "bz2"}
    of_wide = compression_nats(rng.integers(0, 2**16, 2**16), 2**16)
    of_bits = compression_nats(rng.integers(0, 2, (64, 1024)), 2)
    for name in ("lzma", "bz2"):
        assert np.log(256) < of_bytes[name] < 1.01 * np.log(256)
        assert np.log(2**16) < of_wide[name] < 1.01 * np.log(2**16)
        assert np.log(2) < of_bits[name] < 1.3 * np.log(2)
        assert compression_nats(np.zeros((64, 1024), int), 256)[name] < 0.02


def test_compression_uses_the_smallest_type():
    """Symbols cost the same as uint8 and as int64, and more if the vocabulary requires wider integers."""
    tokens = np.random.default_rng(0).integers(0, 200, 10_000)
    assert compression_nats(tokens, 200) == compression_nats(tokens.astype(np.uint8), 200)
    assert compression_nats(tokens, 2**20)["lzma"] > compression_nats(tokens, 200)["lzma"]


def test_a_single_token_costs_the_container():
    assert compression_nats([[0]], 2)["bz2"] > 100


def test_invalid_tokens_are_refused():
    for wrong, message in (
        (np.array([], int), r"saw shape \(0,\); at least one"),
        ([0.0, 1.0], "saw list of type float64"),
        ([0, 4], "saw 4; the vocabulary is 0 to 3"),
    ):
        with pytest.raises(ValueError, match=f"tokens: {message}"):
            compression_nats(wrong, 4)
