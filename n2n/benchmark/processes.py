"""Timings of the sampler and the oracle, each next to a slow reference implementation."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch

from n2n.benchmark.timing import Settings, medians, peak_memory
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import ALPHA_X, ALPHA_Z
from n2n.oracle.emission import Emission
from n2n.oracle.filtering import filter
from n2n.oracle.reference import textbook_nll
from n2n.oracle.transition import whole_table
from n2n.process.process import Process
from n2n.process.sampler import WIDTH, draw
from n2n.process.sampler_reference import draw_numpy
from n2n.utils.compilation import compiled
from n2n.utils.cpu import cores
from n2n.utils.philox import derive_key, fill_uniforms
from n2n.utils.progress import track

SAMPLED = {"single": 20, "two_chains": 20, "four_chains": 20, "sparse": 20, "slow_switch": 20, "debug": 40}
FILTERED = {"single": 15, "four_chains": 60, "slow_switch": 100, "dense": 1000, "sparse": 1000}
COUNTS = (256, 4096)  # numbers of sequences to draw
MIN_TIMED_ENTRIES = 2e7  # entries of the textbook's sums to time; the time of longer sequences is extrapolated
TWIN_LENGTH = 17  # tokens in a sequence of the sampler's twin, whose time is proportional to the length
GROWTH_LENGTH = 17  # tokens in a sequence of ``growth_table``
MAX_FLAT = 1024  # joint states up to which ``growth_table`` times the textbook's algorithm


def debug_graph() -> Graph:
    """A graph of large nodes: latents of 256 and 512 states, and 256 symbols."""
    first = Node(name="Z1", num_states=256, alpha=ALPHA_Z)
    second = Node(name="Z2", num_states=512, parents=("Z1",), kernel="product", alpha=ALPHA_Z)
    x = Node(name="X", num_states=256, parents=("Z2",), observed=True, alpha=ALPHA_X)
    return Graph(nodes=(first, second, x), name="debug")


def sampler_table(settings: Settings) -> pd.DataFrame:
    """Time the compiled sampler next to its numpy twin and next to drawing only the random numbers.

    Returns:
        A row for each graph and number of sequences: million tokens per second on all cores and on one thread, the
        speed-up over the twin (extrapolated from shorter sequences) and its target, the share of one thread's time
        that the random numbers take, whether the target is met, and whether both samplers draw the same tokens.
    """
    rows = []
    for name, target in track(SAMPLED.items(), "process"):
        program = Process(debug_graph() if name == "debug" else Graph.preset(name)).program
        key = derive_key("sequences", 0, "train")
        agrees = np.array_equal(draw(program, key, 0, 64, 64, False)[0], draw_numpy(program, key, 0, 64, 64, False)[0])
        for count in COUNTS:
            tokens = count * settings.length
            arguments = (program, key, 0, count, settings.length, False)
            all_cores, one, twin, numbers = medians(
                settings.repeats,
                partial(draw, *arguments),
                partial(draw, *arguments, threads=1),
                partial(draw_numpy, *arguments[:4], TWIN_LENGTH, False),
                partial(_numbers, tokens, len(program.num_states)),
            )
            ratio = twin * (settings.length - 1) / (TWIN_LENGTH - 1) / all_cores
            row = {"graph": name, "sequences": count, "Mtokens/s": tokens / all_cores / 1e6}
            row |= {"Mtokens/s, 1 thread": tokens / one / 1e6, "times the twin": ratio, "target": target}
            rows.append(row | {"random numbers": numbers / one, "met": ratio >= target, "agrees": agrees})
    return pd.DataFrame(rows)


def filter_table(settings: Settings, dtype: torch.dtype = torch.float64) -> pd.DataFrame:
    """Time the factored filter next to the textbook's forward algorithm on the flattened chain.

    The textbook's algorithm uses log-sum-exp in float32. It is also the reference for the errors, in float64.

    Returns:
        A row for each preset: number of joint states, milliseconds of both algorithms, their ratio and its target, the
        largest error of both in nats per token, whether the target is met, and whether the filter's error is at most
        the textbook's.
    """
    rows = []
    for name, target in track(FILTERED.items(), "process"):
        process = Process(Graph.preset(name))
        on_device = _tokens(process, settings.sequences, settings.length, settings.device)
        flat = flat_tables(process, settings.device)
        states = process.graph.num_joint_states
        short = on_device[:, : _steps_timed(settings, states) + 1]
        fast, slow = medians(
            settings.repeats,
            partial(_filtered, process, on_device, dtype),
            lambda flat=flat, short=short: textbook_nll(*(table.float() for table in flat), short).cpu(),
        )
        slow *= (settings.length - 1) / (short.shape[1] - 1)
        error, textbook_error = _errors(process, flat, on_device[:4, :33], dtype)
        row = {"graph": name, "S": states, "filter, ms": 1e3 * fast, "textbook, ms": 1e3 * slow}
        row |= {"times the textbook": slow / fast, "target": target, "error": error, "textbook's error": textbook_error}
        rows.append(row | {"met": slow / fast >= target, "exact": error <= textbook_error})
    return pd.DataFrame(rows)


def growth_table(settings: Settings) -> pd.DataFrame:
    """Time the filter against the number S of joint states, on independent binary latents that are all parents of X.

    Returns:
        A row for each number of latents from 2 to ``largest``: S, milliseconds per token and sequence of the filter and
        of the textbook's algorithm (nan above 1,024 joint states), and the filter's peak memory in MiB.
    """
    rows = []
    for latents in track(range(2, settings.largest + 1, 2), "graph"):
        process = Process(binary_chains(latents))
        states = process.graph.num_joint_states
        count = max(1, min(64, 2**20 // states))
        on_device = _tokens(process, count, GROWTH_LENGTH, settings.device)
        run = partial(_filtered, process, on_device)
        peak = peak_memory(run, settings.device)
        (fast,) = medians(3, run)
        slow = float("nan")
        if states <= MAX_FLAT:
            flat = tuple(table.float() for table in flat_tables(process, settings.device))
            short = on_device[:, :3]
            (slow,) = medians(3, lambda flat=flat, short=short: textbook_nll(*flat, short).cpu())
            slow *= (GROWTH_LENGTH - 1) / 2
        per_token = 1e3 / (count * (GROWTH_LENGTH - 1))
        row = {"latents": latents, "S": states, "filter, ms": fast * per_token, "textbook, ms": slow * per_token}
        rows.append(row | {"filter, MiB": peak})
    return pd.DataFrame(rows)


def binary_chains(latents: int, vocab_size: int = 32) -> Graph:
    """Independent latents of two states, all parents of X. A product kernel keeps drawing the kernels fast."""
    return Graph.independent(latents, 2, vocab_size, kernel="product")


def thread_table(settings: Settings) -> pd.DataFrame:
    """Time the sampler on 1, 2, 4, .. threads, up to the number of cores.

    Returns:
        A row for each number of threads: million tokens per second, and the speed-up over one thread.
    """
    program = Process(Graph.preset("sparse")).program
    key = derive_key("sequences", 0, "train")
    threads = sorted({2**i for i in range(cores().bit_length())} | {cores()})
    threads = [number for number in threads if number <= cores()]
    count, length = max(COUNTS), settings.length
    work = [lambda n=n: draw(program, key, 0, count, length, False, threads=n) for n in threads]
    rates = [count * length / seconds / 1e6 for seconds in medians(settings.repeats, *work)]
    return pd.DataFrame({"threads": threads, "Mtokens/s": rates, "times one": [rate / rates[0] for rate in rates]})


def _tokens(process: Process, count: int, length: int, device: str) -> torch.Tensor:
    tokens = process.sample(count, length=length, latents=False).tokens
    return torch.from_numpy(tokens.astype(np.int64)).to(device)


def _filtered(process: Process, tokens: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return filter(process, tokens, dtype=dtype).nll.cpu()


def _steps_timed(settings: Settings, states: int) -> int:
    return int(min(settings.length - 1, max(2, np.ceil(MIN_TIMED_ENTRIES / (settings.sequences * states**2)))))


def flat_tables(process: Process, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Log probabilities of the transitions ``(S, S)`` and the emissions ``(S, V)``, float64."""
    emission = Emission.of(process, torch.device("cpu"), torch.float64)
    everywhere = torch.ones(process.graph.num_joint_states, process.graph.vocab_size, dtype=torch.float64)
    emission = emission.weigh(everywhere, emission.rows[0].T.contiguous())
    return whole_table(process).log().to(device), emission.log().to(device)


def _errors(process: Process, flat, tokens: torch.Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """Largest errors of the filter and of the textbook's algorithm in float32, nats per token."""
    truth = textbook_nll(*flat, tokens)
    filtered = filter(process, tokens, dtype=dtype).nll
    textbook = textbook_nll(*(table.float() for table in flat), tokens)
    return float((filtered - truth).abs().max()), float((textbook - truth).abs().max())


def _numbers(tokens: int, nodes: int) -> None:
    """Draw only the random numbers that this number of tokens needs."""
    words, values = np.empty((4, WIDTH), np.uint64), np.empty((2, WIDTH))
    _draw_numbers(-(-tokens // WIDTH) * -(-nodes // 2), np.zeros((2, WIDTH), np.uint64), words, values)


@compiled
def _draw_numbers(blocks, index, words, values):
    for block in range(blocks):
        fill_uniforms(index, index.shape[1], np.uint64(block), np.uint64(0), np.uint64(1), np.uint64(2), words, values)
