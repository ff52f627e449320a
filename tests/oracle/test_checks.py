"""Invalid arguments to the oracle and related functions: each raises one clear ValueError before any computation."""

import numpy as np
import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node

GRAPH = Graph.preset("two_chains")
PROCESS = n2n.Process(GRAPH)
TOKENS = PROCESS.sample(2, length=8).tokens
REDRAWN = Graph(nodes=(Node(name="X", num_states=3, observed=True, recurrent=True, mode="context"),))

BAD = [
    (lambda: n2n.entropy(GRAPH, 10), "process: saw a Graph; a Process is needed"),
    (lambda: n2n.entropy_rate(GRAPH, 10), "process: saw a Graph; a Process is needed"),
    (lambda: n2n.markov_nll(GRAPH, TOKENS, 1), "process: saw a Graph; a Process is needed"),
    (lambda: n2n.smooth(GRAPH, TOKENS), "process: saw a Graph; a Process is needed"),
    (lambda: n2n.decode(GRAPH, TOKENS), "process: saw a Graph; a Process is needed"),
    (lambda: n2n.in_context_nll(GRAPH, TOKENS), "process: saw a Graph; a Process is needed"),
    (lambda: n2n.in_context_nll(PROCESS, TOKENS, memory_budget=None), "memory_budget: saw None; a whole number"),
    (lambda: n2n.mixture_nll([GRAPH], TOKENS), "process: saw a Graph; a Process is needed"),
    (lambda: n2n.mixture_nll([PROCESS], TOKENS, memory_budget=None), "memory_budget: saw None; a whole number"),
    (lambda: n2n.entropy(PROCESS, 10, device="gpu7"), "saw 'gpu7'; "),
    (lambda: n2n.entropy(PROCESS, 10, max_sequences=1), "max_sequences: saw 1; a whole number from 2"),
    (lambda: n2n.filter(PROCESS, TOKENS, memory_budget=None), "memory_budget: saw None; a whole number"),
    (lambda: n2n.filter(PROCESS, TOKENS, dtype="float64"), "dtype: saw float64; torch.float64 or torch.float32"),
    (lambda: n2n.filter(PROCESS, TOKENS, start=[0, 0]), r"start: saw \[0, 0\]; a state of each latent"),
    (lambda: n2n.calibrate(PROCESS, 1.0, "X"), "graph: saw a Process; a Graph is needed"),
    (lambda: n2n.calibrate(GRAPH, 1.0, None), "unknown node None"),
    (lambda: n2n.calibrate(REDRAWN, 1.0, "X"), r"redraws the kernels of \['X'\]"),
    (lambda: n2n.entropy_rate(n2n.Process(REDRAWN), 10), r"redraws the kernels of \['X'\]"),
    (lambda: n2n.markov_entropy(n2n.Process(REDRAWN), 1), r"redraws the kernels of \['X'\]"),
    (lambda: PROCESS.sample(1, length=3, do=[("Z1", 1, 1)]), r"do: saw a list; \{name: \(time, state\)\} is needed"),
    (lambda: PROCESS.sample(1, length=3, do={"Z1": [(1, 0), (1, 1)]}), "do: Z1: saw several states for time 1"),
    (lambda: n2n.calibrate(GRAPH, 1.0, "X", seeds=[0, -1]), "seeds: saw -1"),
    (
        lambda: n2n.filter(PROCESS, TOKENS, start={"Z1": [0.0, 0.0], "Z2": [0, 0]}),
        "start: Z1: saw list of type float64; integers are needed",
    ),
    (
        lambda: n2n.Process.from_kernels(GRAPH, {**PROCESS.kernels, "Z1": np.eye(16) * 1j}),
        "Z1: saw ndarray of type complex128; real numbers are needed",
    ),
    (lambda: n2n.Process.from_kernels(GRAPH, None), "kernels: saw a NoneType; a table for each node"),
    (
        lambda: n2n.Process.from_kernels(GRAPH, {**PROCESS.kernels, "Z1": [[1], [1, 2]]}),
        r"Z1: saw rows of unequal lengths in \[\[1\], \[1, 2\]\]",
    ),
    (
        lambda: n2n.Process.from_kernels(GRAPH, {**PROCESS.kernels, "Z1": np.full((16, 16), np.inf)}),
        r"Z1: row \(0,\) sums to inf",
    ),
    (lambda: n2n.benchmark.Settings(sequence=3), "unknown parameter 'sequence'; did you mean 'sequences'"),
    (lambda: n2n.benchmark.Settings(device="gpu7"), "device: saw 'gpu7'"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
