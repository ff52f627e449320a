"""The compiled oracle next to its twin in torch, to other libraries where they are installed, and to the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from math import nan

import numpy as np
import pandas as pd
import torch

from n2n.benchmark.processes import flat_tables
from n2n.benchmark.timing import Settings, matrix_rate, medians
from n2n.graph.graph import Graph
from n2n.oracle.checks import MEMORY_BUDGET
from n2n.oracle.compiled.chunks import multiply_adds
from n2n.oracle.compiled.program import program_of
from n2n.oracle.decoding import decode, decode_torch
from n2n.oracle.filtering import filter, filter_torch
from n2n.oracle.influence import influence_torch, token_influence
from n2n.oracle.mean_field import mean_field, mean_field_torch
from n2n.oracle.smoothing import STEP_COPIES, smooth, smooth_torch
from n2n.process.process import Process
from n2n.utils.progress import track
from n2n.utils.threads import torch_threads

PRESETS = ("single", "four_chains", "sparse")
BATCHES = (8, 64, 512)  # numbers of sequences
TARGET = 2.0  # times the rate of dynamax
DYNAMAX = "dynamax"


def filter_rates(settings: Settings) -> pd.DataFrame:
    """Time the compiled filter on the CPU.

    dynamax runs jitted and mapped over the batch, in float32, on the flattened chain; it is timed where it is
    installed (``pip install dynamax``). The multiply-adds are those of the filter's own products, and the limit is the
    rate of large matrix products on all cores.

    Returns:
        A row for each preset and number of sequences: thousand tokens per second in float64 and in float32, of the twin
        in torch (float64) and of dynamax, the ratio of the faster type to dynamax and whether it meets its target of 2,
        and the shares of the limit that the multiply-adds in float64 and in float32 reach.
    """
    limits = [matrix_rate(settings, name) / 2 for name in ("float64", "float32")]
    rows = []
    for name in track(PRESETS, "process"):
        process = Process(Graph.preset(name))
        other = dynamax_filter(process)
        for count in BATCHES:
            tokens = _tokens(process, count, settings.length)
            work = [partial(filter, process, tokens, dtype=dtype) for dtype in (torch.float64, torch.float32)]
            work += [partial(filter_torch, process, tokens, None, torch.float64, MEMORY_BUDGET, **_NOTHING)]
            work += [partial(other, tokens.numpy())] if other else []
            rates = [count * settings.length / seconds / 1e3 for seconds in _one_by_one(settings, work)]
            double, single, twin, peer = [*rates, nan][:4]
            row = {"graph": name, "S": process.graph.num_joint_states, "sequences": count, "float64": double}
            row |= {"float32": single, "torch": twin, DYNAMAX: peer, "times": max(double, single) / peer}
            row["met"] = row["times"] >= TARGET  # False where dynamax is not installed
            done = 1e3 * multiply_adds(program_of(process, np.dtype(np.float64)))
            shares = [done * rate / limit for rate, limit in zip((double, single), limits, strict=True)]
            rows.append(row | {"of limit, float64": shares[0], "of limit, float32": shares[1]})
    return pd.DataFrame(rows)


_NOTHING = {"predictive": False, "beliefs": False, "joint": False}


def oracle_rates(settings: Settings) -> pd.DataFrame:
    """Time the other parts of the compiled oracle next to their twins in torch, in float64.

    Returns:
        A row for each preset and function: number of sequences, milliseconds of both, and their ratio.
    """
    rows = []
    for name in track(PRESETS, "process"):
        process = Process(Graph.preset(name))
        few, many = _tokens(process, 2, min(64, settings.length)), _tokens(process, 16, settings.length)
        copies = settings.length + STEP_COPIES
        pairs = {
            "smooth": (
                partial(smooth, process, many),
                partial(smooth_torch, process, many, False, torch.float64, MEMORY_BUDGET, copies),
            ),
            "decode": (partial(decode, process, many), partial(decode_torch, process, many, MEMORY_BUDGET)),
            "mean_field": (
                partial(mean_field, process, many),
                partial(mean_field_torch, process, many, torch.float64, MEMORY_BUDGET),
            ),
            "token_influence": (
                partial(token_influence, process, few),
                partial(influence_torch, process, few, MEMORY_BUDGET),
            ),
        }
        for function, pair in pairs.items():
            fast, slow = (1e3 * seconds for seconds in _one_by_one(settings, pair))
            count = len(few) if function == "token_influence" else len(many)
            row = {"graph": name, "function": function, "sequences": count, "ms": fast, "torch, ms": slow}
            rows.append(row | {"times": slow / fast})
    return pd.DataFrame(rows)


def dynamax_filter(process: Process) -> Callable[[np.ndarray], np.ndarray] | None:
    """``log P(x_1, .., x_{T-1} | x_0)`` of ``tokens (batch, T)`` by dynamax; None where dynamax is not installed.

    The graph starts in state 0, so the first hidden step of dynamax is the one after it.
    """
    if find_spec(DYNAMAX) is None:
        return None
    import jax
    import jax.numpy as jnp
    from dynamax.hidden_markov_model import hmm_filter

    log_transitions, log_emissions = (jnp.asarray(table.numpy(), jnp.float32) for table in flat_tables(process, "cpu"))
    transitions = jnp.exp(log_transitions)

    def log_likelihood(tokens: jax.Array) -> jax.Array:
        return hmm_filter(transitions[0], transitions, log_emissions[:, tokens[1:]].T).marginal_loglik

    batched = jax.jit(jax.vmap(log_likelihood))
    return lambda tokens: np.asarray(batched(tokens))


def _one_by_one(settings: Settings, work: Iterable[Callable[[], object]]) -> list[float]:
    """Median seconds of each function, one after the other, on one thread of torch, as the oracle uses it.

    They do not take turns, because the threads of other libraries spin for some time after their work.
    """
    with torch_threads(1):
        return [medians(settings.repeats, piece)[0] for piece in work]


def _tokens(process: Process, count: int, length: int) -> torch.Tensor:
    tokens = process.sample(count, length=length, latents=False).tokens
    return torch.from_numpy(tokens.astype(np.int64))
