"""Entropy over concentrations, graphs of equal difficulty, and compressors compared with the exact entropy."""

import math

import numpy as np
import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


def iid_graph(vocab_size: int) -> Graph:
    """The latent has one state, so tokens are independent draws from a single Dirichlet row."""
    x = Node(name="X", num_states=vocab_size, parents=("Z",), observed=True)
    return Graph(nodes=(Node(name="Z", num_states=1), x), name="iid")


def context_graph() -> Graph:
    return Graph(nodes=[Node(name="X", num_states=3, observed=True, recurrent=True, mode="context")])


def digamma(x: float) -> float:
    """Compute the digamma function by recurrence and the asymptotic series (Abramowitz and Stegun 6.3.5 and 6.3.18)."""
    shift = 0.0
    while x < 10:
        shift, x = shift - 1 / x, x + 1
    return shift + math.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


def test_independent_tokens_have_the_closed_form():
    """A Dirichlet(alpha) row of V symbols has E[H] = psi(V alpha + 1) - psi(alpha + 1), for any alpha of the latent."""
    alphas, seeds = [0.05, 0.3, 2.0], range(200)
    grid = n2n.entropy_grid(iid_graph(8), [0.1, 1.0], alphas, seeds=seeds, sequences=2, length=2)
    for _, row in grid.iterrows():
        expected = digamma(8 * row["alpha_x"] + 1) - digamma(row["alpha_x"] + 1)
        assert abs(row["entropy"] - expected) < 4 * row["standard_error"]
        assert row["standard_error"] < 0.06
        assert row["lowest"] < row["entropy"] < row["highest"] <= math.log(8) + 1e-9
    one, other = (grid[grid["alpha_z"] == alpha]["entropy"].tolist() for alpha in (0.1, 1.0))
    assert one == other, "the latent has no part in it, and the random numbers are the same"


def test_a_point_of_the_plane_is_the_mean_over_its_processes():
    grid = n2n.entropy_grid("two_chains", [0.05], [0.02, 0.2], seeds=[3, 5, 8], sequences=16, length=12)
    for _, row in grid.iterrows():
        graph = Graph.preset("two_chains", alpha_z=0.05, alpha_x=row["alpha_x"])
        found = []
        for seed in (3, 5, 8):
            tokens = Process(graph, seed).sample(16, length=12, split="valid").tokens
            predictive = n2n.filter(Process(graph, seed), tokens, predictive=True).predictive.numpy()
            found.append(-(predictive * np.log(np.maximum(predictive, 1e-300))).sum(-1).mean())
        assert row["entropy"] == pytest.approx(np.mean(found), abs=1e-9)
        assert row["standard_error"] == pytest.approx(np.std(found, ddof=1) / math.sqrt(3))
    assert grid.attrs == {"graph": "two_chains", "vocab_size": 32, "given": (0.03, 0.01)}


def test_the_surface_is_smooth():
    """With common random numbers, second differences along a fine grid are far below the spread over processes."""
    alphas = np.geomspace(0.02, 0.2, 13)
    grid = n2n.entropy_grid("four_chains", [0.03], alphas, sequences=16, length=16)
    assert np.abs(np.diff(grid["entropy"], 2)).max() < 0.5 * grid["standard_error"].min()
    assert (np.diff(grid["entropy"]) > 0).all()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"graph": "two_chain"}, "did you mean 'two_chains'"),
        ({"alphas_x": [0.1, -1.0]}, "alpha: saw -1.0"),
        ({"alphas_z": []}, "saw 0 alphas_z and 1 alphas_x"),
        ({"seeds": [0]}, r"seeds: saw \[0\]; a standard error over processes needs at least 2"),
        ({"seeds": [0, 0]}, r"seeds: saw \[0, 0\]; seeds must be different"),
        ({"sequences": 1}, "sequences: saw 1"),
        ({"length": 1}, "length: saw 1"),
        ({"graph": Graph(nodes=[Node(name="X", num_states=3, observed=True, recurrent=True)])}, "no latent node"),
    ],
)
def test_bad_planes_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        n2n.entropy_grid(**{"graph": "two_chains", "alphas_z": [0.1], "alphas_x": [0.1], **asked})


def test_equal_difficulty_calibrates_and_judges_on_other_processes():
    asked = {"seeds": range(2), "fresh": range(2, 4), "sequences": 32, "length": 16}
    found = n2n.equal_difficulty(["two_chains", "four_chains"], 1.2, **asked)
    assert found.table.index.tolist() == ["two_chains", "four_chains"]
    for name, row in found.table.iterrows():
        assert abs(row["entropy"] - 1.2) <= 0.01
        direct = n2n.calibrate(Graph.preset(name), 1.2, "X", length=16, seeds=range(2), sequences=32)
        assert (row["alpha"], row["entropy"]) == (direct.alpha, direct.entropy)
        given = n2n.entropy_grid(name, [0.03], [0.01], seeds=range(2), sequences=32, length=16)
        assert row["entropy given"] == pytest.approx(given["entropy"][0])
        of_other = n2n.entropy_grid(name, [0.03], [row["alpha"]], seeds=[2, 3], sequences=32, length=16)
        assert row["fresh"] == pytest.approx(of_other["entropy"][0])
        assert row["fresh_standard_error"] == pytest.approx(of_other["standard_error"][0])
        half = 12.7062 * row["fresh_standard_error"]  # the 97.5% quantile of t with one degree of freedom, from tables
        assert [row["fresh_low"], row["fresh_high"]] == pytest.approx([row["fresh"] - half, row["fresh"] + half])
    assert found.processes["seed"].tolist() == [2, 3, 2, 3]


@pytest.mark.parametrize(
    ("asked", "said"),
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
def test_bad_comparisons_are_refused(asked, said):
    given = {"graphs": ["two_chains"], "target": 1.0, "seeds": [0, 1], "fresh": [2, 3], "sequences": 4, "length": 4}
    with pytest.raises(ValueError, match=said):
        n2n.equal_difficulty(**{**given, **asked})


def test_bytes_that_cannot_be_compressed_are_not():
    """256 nearly equally probable symbols cost at least log 256 each; the containers' overhead shrinks with size."""
    graph = iid_graph(256)
    flat = [node.model_copy(update={"alpha": 1000.0}) if node.observed else node for node in graph.nodes]
    table = n2n.compression_table([graph.model_copy(update={"nodes": flat})], [10, 14], precision=0.001, samples=3)
    assert table["tokens"].tolist() == [1008, 1008, 16380, 16380]
    assert table["entropy"].tolist() == pytest.approx([math.log(256)] * 4, abs=0.01)
    few, many = (table[table["tokens"] == tokens]["nats"] for tokens in (1008, 16380))
    assert math.log(256) < many.min() <= many.max() < 1.04 * math.log(256) < few.min()


def test_compressed_is_what_the_entropy_is_of():
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
    assert row["nats"] == pytest.approx(np.mean([size["lzma"] for size in sizes]))
    assert (row["lowest"], row["highest"]) == tuple(sorted(size["lzma"] for size in sizes))
    assert (table["lowest"] > np.max(losses)).all()


@pytest.mark.parametrize(
    ("asked", "said"),
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
def test_bad_compressions_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        n2n.compression_table(**{"graphs": ["sparse"], "tokens": [10], **asked})


def test_the_configuration_says_all_that_is_wrong():
    with pytest.raises(ValueError, match="DifficultyConfig") as told:
        n2n.DifficultyConfig(graph="spars", seeds=1, target=-1, tokens=[30], alphas_x=[0.1])
    for said in ("did you mean 'sparse'", "seeds: saw 1", "target: saw -1", "tokens.0: saw 30", "alphas_x"):
        assert said in str(told.value)


def test_what_would_be_merged_is_refused_by_the_configuration():
    with pytest.raises(ValueError, match="DifficultyConfig") as told:
        n2n.DifficultyConfig(alphas_x=[0.1, 0.1], alphas_z=[0.1, 0.2, 0.1], graphs=["sparse", "sparse"])
    for said in ("alphas_x: saw [0.1, 0.1]; no number", "alphas_z: saw [0.1, 0.2", "graphs: saw graphs of the names"):
        assert said in str(told.value)
    with pytest.raises(ValueError, match=r"tokens: saw the exponents \[2, 4\], which at length 64"):
        n2n.DifficultyConfig(tokens=[2, 4], length=64)


def test_graphs_without_a_name_are_told_apart():
    nameless = iid_graph(4).model_copy(update={"name": ""})
    table = n2n.compression_table([nameless, nameless], [6], length=8, precision=0.1, samples=2)
    assert table["graph"].tolist() == ["graph 1"] * 2 + ["graph 2"] * 2
