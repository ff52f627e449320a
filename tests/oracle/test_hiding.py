"""Compiled influence of hidden tokens in extreme cases; test_compiled.py compares it with its twin."""

import tracemalloc

import numpy as np
import torch

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.checks import MEMORY_BUDGET
from n2n.oracle.influence import influence_torch
from n2n.process.process import Process


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
