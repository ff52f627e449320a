"""Timings of the in-context oracle, next to its twin in torch."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import torch

from n2n.benchmark.timing import Settings, medians
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.checks import MEMORY_BUDGET
from n2n.oracle.in_context import InContext, in_context_nll
from n2n.oracle.learned.filters import run_torch
from n2n.process.process import Process
from n2n.utils.progress import track

ALPHA = 0.3  # concentration of all kernels
LENGTH = 64  # tokens in the sequences of graphs with latents, at most
PARTICLES, REPEATS = 1024, 8
TWIN_SEQUENCES = 2  # sequences that the twin is timed on; its time is proportional to their number


def in_context_graphs() -> dict[str, Graph]:
    """Graphs of three sizes by name; the kernels of all nodes are redrawn for every sequence."""
    return {
        "observed chain, V = 32": Graph([_node("X", 32, observed=True, recurrent=True)]),
        "2 latents of 4, V = 16": _with_latents(2, 16),
        "4 latents of 4, V = 32": _with_latents(4, 32),
    }


def in_context_table(settings: Settings) -> pd.DataFrame:
    """Time ``n2n.in_context_nll`` on the CPU next to its twin in torch.

    Returns:
        A row for each graph: number of joint states, sequences and tokens in each, how the loss was computed, seconds
        of the oracle and of its twin (particle filters in torch, extrapolated from two sequences; without latents one
        filter with one particle, which is exact), their ratio, the standard error of the mean loss that the particles
        leave, in nats per token, and whether the twin agrees: exactly, or within four standard errors.
    """
    return pd.DataFrame([_row(name, graph, settings) for name, graph in track(in_context_graphs().items(), "process")])


def _row(name: str, graph: Graph, settings: Settings) -> dict[str, object]:
    process, hidden = Process(graph), bool(graph.latents)
    count = max(TWIN_SEQUENCES, settings.sequences // 4 if hidden else 8 * settings.sequences)
    length = min(settings.length, LENGTH) if hidden else settings.length
    tokens = torch.from_numpy(process.sample(count, length=length, split="test").tokens.astype(np.int64))
    found = in_context_nll(process, tokens, hypotheses=0)
    (seconds,) = medians(min(3, settings.repeats), lambda: in_context_nll(process, tokens, hypotheses=0), warm=0)
    start = time.perf_counter()
    twin = _twin(process, tokens[:TWIN_SEQUENCES], hidden)
    twin_seconds = (time.perf_counter() - start) * count / TWIN_SEQUENCES
    row = {"graph": name, "S": graph.num_joint_states, "sequences": count, "tokens": length, "method": found.method}
    row |= {"s": seconds, "twin, s": twin_seconds, "times the twin": twin_seconds / seconds}
    return row | {"standard error": float(found.mean_loss.standard_error), "agrees": _agree(found, twin)}


def _twin(process: Process, tokens: torch.Tensor, hidden: bool) -> torch.Tensor:
    """Log likelihoods by particle filters in torch, ``(sequences,)``, without the first token's."""
    particles, repeats = (PARTICLES, REPEATS) if hidden else (1, 1)
    rows = torch.arange(len(tokens))
    evidence, _ = run_torch(process, tokens, rows, particles, repeats, 1, MEMORY_BUDGET)
    return evidence.sum(-1).logsumexp(1) - np.log(repeats)


def _agree(found: InContext, twin: torch.Tensor) -> bool:
    difference = (twin + found.nll[: len(twin)].sum(1)).abs()
    allowed = 4 * 2**0.5 * found.log_likelihood_standard_error[: len(twin)]  # of two independent estimates
    return bool((difference <= allowed + 1e-9).all())


def _with_latents(count: int, vocab_size: int) -> Graph:
    names = [f"Z{i + 1}" for i in range(count)]
    return Graph([*(_node(name, 4) for name in names), _node("X", vocab_size, names, observed=True)])


def _node(name: str, num_states: int, parents: list[str] | None = None, **fields: bool) -> Node:
    return Node(name=name, num_states=num_states, parents=parents or [], mode="context", alpha=ALPHA, **fields)
