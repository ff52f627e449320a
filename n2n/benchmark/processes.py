"""How fast the sampler and the oracle are, each beside its slow twin in the same run."""

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
from n2n.utils.cpu import compiled, cores
from n2n.utils.philox import derive_key, fill_uniforms
from n2n.utils.progress import track

SAMPLED = {"single": 20, "two_chains": 20, "four_chains": 20, "sparse": 20, "slow_switch": 20, "debug": 40}
FILTERED = {"single": 15, "four_chains": 60, "slow_switch": 100, "dense": 1000, "sparse": 1000}
COUNTS = (256, 4096)  # sequences that the sampler draws
WHOLE_STEPS = 2e7  # entries of the textbook's sums that are timed, at least; longer sequences are scaled to
TWIN_LENGTH = 17  # tokens in each sequence of the sampler's twin; its time is in proportion to them
GROWTH_LENGTH = 17  # tokens in a sequence there
MAX_FLAT = 1024  # joint states up to which the textbook is drawn in the figure of growth


def debug_graph() -> Graph:
    """Large nodes: latents of 256 and 512 states, 256 symbols."""
    first = Node(name="Z1", num_states=256, alpha=ALPHA_Z)
    second = Node(name="Z2", num_states=512, parents=("Z1",), kernel="product", alpha=ALPHA_Z)
    x = Node(name="X", num_states=256, parents=("Z2",), observed=True, alpha=ALPHA_X)
    return Graph(nodes=(first, second, x), name="debug")


def sampler_table(settings: Settings) -> pd.DataFrame:
    """The compiled sampler beside its numpy twin, and beside the random numbers alone.

    Returns:
        a row for each graph and number of sequences: million tokens a second, the same on one thread, how many times
        as fast as the twin (scaled from shorter sequences) and the target for it, the share of one thread's time that
        its random numbers take by themselves, and whether the tokens are the twin's.
    """
    rows = []
    for name, target in track(SAMPLED.items(), "process"):
        program = Process(debug_graph() if name == "debug" else Graph.preset(name)).program
        key = derive_key("sequences", 0, "train")
        agrees = np.array_equal(draw(program, key, 0, 64, 64, False)[0], draw_numpy(program, key, 0, 64, 64, False)[0])
        for count in COUNTS:
            tokens = count * settings.length
            asked = (program, key, 0, count, settings.length, False)
            all_cores, one, twin, numbers = medians(
                settings.repeats,
                lambda asked=asked: draw(*asked),
                lambda asked=asked: draw(*asked, threads=1),
                lambda asked=asked: draw_numpy(*asked[:4], TWIN_LENGTH, False),
                lambda tokens=tokens, program=program: _numbers(tokens, len(program.num_states)),
            )
            ratio = twin * (settings.length - 1) / (TWIN_LENGTH - 1) / all_cores
            row = {"graph": name, "sequences": count, "Mtokens/s": tokens / all_cores / 1e6}
            row |= {"Mtokens/s, 1 thread": tokens / one / 1e6, "times the twin": ratio, "target": target}
            rows.append(row | {"random numbers": numbers / one, "met": ratio >= target, "agrees": agrees})
    return pd.DataFrame(rows)


def filter_table(settings: Settings, dtype: torch.dtype = torch.float64) -> pd.DataFrame:
    """The factored filter beside the textbook's log-sum-exp forward algorithm in float32 on the flattened chain.

    Returns:
        a row for each preset: joint states, milliseconds of both, their ratio and its target, the largest error in
        nats a token of both (against the textbook's algorithm in float64), and whether target and error are met.
    """
    rows = []
    for name, target in track(FILTERED.items(), "process"):
        process = Process(Graph.preset(name))
        on_device = _tokens(process, settings.sequences, settings.length, settings.device)
        flat = _flat(process, settings.device)
        states = process.graph.num_joint_states
        short = on_device[:, : _steps_timed(settings, states) + 1]
        fast, slow = medians(
            settings.repeats,
            partial(_filtered, process, on_device, dtype),
            lambda flat=flat, short=short: textbook_nll(*(table.float() for table in flat), short).cpu(),
        )
        slow *= (settings.length - 1) / (short.shape[1] - 1)
        ours, theirs = _errors(process, flat, on_device[:4, :33], dtype)
        row = {"graph": name, "S": states, "filter, ms": 1e3 * fast, "textbook, ms": 1e3 * slow}
        row |= {"times the textbook": slow / fast, "target": target, "error": ours, "textbook's error": theirs}
        rows.append(row | {"met": slow / fast >= target, "exact": ours <= theirs})
    return pd.DataFrame(rows)


def growth_table(settings: Settings) -> pd.DataFrame:
    """The filter's time against S, on independent binary latents that X sees all of; the textbook's while it can.

    Returns:
        a row for each number of latents from 2 to ``largest``: S, milliseconds a token a sequence of the filter and of
        the textbook (nan above 1,024 joint states), and MiB that the filter holds while it runs.
    """
    rows = []
    for latents in track(range(2, settings.largest + 1, 2), "graph"):
        process = Process(binary_chains(latents))
        states = process.graph.num_joint_states
        count = max(1, min(64, 2**20 // states))
        on_device = _tokens(process, count, GROWTH_LENGTH, settings.device)
        run = partial(_filtered, process, on_device)
        held = peak_memory(run, settings.device)
        (fast,) = medians(3, run)
        slow = float("nan")
        if states <= MAX_FLAT:
            flat = tuple(table.float() for table in _flat(process, settings.device))
            short = on_device[:, :3]
            (slow,) = medians(3, lambda flat=flat, short=short: textbook_nll(*flat, short).cpu())
            slow *= (GROWTH_LENGTH - 1) / 2
        per_token = 1e3 / (count * (GROWTH_LENGTH - 1))
        row = {"latents": latents, "S": states, "filter, ms": fast * per_token, "textbook, ms": slow * per_token}
        rows.append(row | {"filter, MiB": held})
    return pd.DataFrame(rows)


def binary_chains(latents: int, vocab_size: int = 32) -> Graph:
    """Independent latents of two states, all of which X sees; by a product kernel, so that it is soon drawn."""
    return Graph.independent(latents, 2, vocab_size, kernel="product")


def thread_table(settings: Settings) -> pd.DataFrame:
    """The sampler on 1, 2, 4, .. threads up to the cores at hand: million tokens a second, and times one thread."""
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
    return int(min(settings.length - 1, max(2, np.ceil(WHOLE_STEPS / (settings.sequences * states**2)))))


def _flat(process: Process, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of the S x S transitions and the ``(S, V)`` emissions, float64."""
    emission = Emission.of(process, torch.device("cpu"), torch.float64)
    everywhere = torch.ones(process.graph.num_joint_states, process.graph.vocab_size, dtype=torch.float64)
    emission = emission.weigh(everywhere, emission.rows[0].T.contiguous())
    return whole_table(process).log().to(device), emission.log().to(device)


def _errors(process: Process, flat, tokens: torch.Tensor, dtype: torch.dtype) -> tuple[float, float]:
    truth = textbook_nll(*flat, tokens)
    ours = filter(process, tokens, dtype=dtype).nll
    theirs = textbook_nll(*(table.float() for table in flat), tokens)
    return float((ours - truth).abs().max()), float((theirs - truth).abs().max())


def _numbers(tokens: int, nodes: int) -> None:
    """The random numbers of so many tokens, and nothing else."""
    words, values = np.empty((4, WIDTH), np.uint64), np.empty((2, WIDTH))
    _draw_numbers(-(-tokens // WIDTH) * -(-nodes // 2), np.zeros((2, WIDTH), np.uint64), words, values)


@compiled
def _draw_numbers(blocks, index, words, values):
    for block in range(blocks):
        fill_uniforms(index, index.shape[1], np.uint64(block), np.uint64(0), np.uint64(1), np.uint64(2), words, values)
