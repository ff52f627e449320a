"""Entropy over the concentrations of a graph."""

import math

import numpy as np
import pytest
from scipy.special import digamma
from support.random_graphs import iid_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


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
    assert one == other, "the latent does not affect the tokens, and the random numbers are the same"


def test_a_point_of_the_plane_is_the_mean_over_its_processes():
    grid = n2n.entropy_grid("two_chains", [0.05], [0.02, 0.2], seeds=[3, 5, 8], sequences=16, length=12)
    for _, row in grid.iterrows():
        graph = Graph.preset("two_chains", alpha_z=0.05, alpha_x=row["alpha_x"])
        entropies = []
        for seed in (3, 5, 8):
            tokens = Process(graph, seed).sample(16, length=12, split="valid").tokens
            predictive = n2n.filter(Process(graph, seed), tokens, predictive=True).predictive.numpy()
            entropies.append(-(predictive * np.log(np.maximum(predictive, 1e-300))).sum(-1).mean())
        assert row["entropy"] == pytest.approx(np.mean(entropies), abs=1e-9)
        assert row["standard_error"] == pytest.approx(np.std(entropies, ddof=1) / math.sqrt(3))
    assert grid.attrs == {"graph": "two_chains", "vocab_size": 32, "given": (0.03, 0.01)}


def test_the_surface_is_smooth():
    """With common random numbers, second differences along a fine grid are far below the spread over processes."""
    alphas = np.geomspace(0.02, 0.2, 13)
    grid = n2n.entropy_grid("four_chains", [0.03], alphas, sequences=16, length=16)
    assert np.abs(np.diff(grid["entropy"], 2)).max() < 0.5 * grid["standard_error"].min()
    assert (np.diff(grid["entropy"]) > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"graph": "two_chain"}, "did you mean 'two_chains'"),
        ({"alphas_x": [0.1, -1.0]}, "alpha: saw -1.0"),
        ({"alphas_z": []}, "saw 0 alphas_z and 1 alphas_x"),
        ({"seeds": [0]}, r"seeds: saw \[0\]; a standard error over processes needs at least 2"),
        ({"seeds": [0, 0]}, r"seeds: saw \[0, 0\]; seeds must be different"),
        ({"sequences": 1}, "sequences: saw 1"),
        ({"length": 1}, "length: saw 1"),
        ({"graph": Graph(nodes=[Node(name="X", num_states=3, observed=True, recurrent=True)])}, "no latent node"),
        ({"graph": Graph.independent(2, stickiness=1, initial="uniform")}, "graph: all latents are frozen"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        n2n.entropy_grid(**{"graph": "two_chains", "alphas_z": [0.1], "alphas_x": [0.1], **arguments})
