"""Compressed size of a process's tokens, and the entropy that no lossless code beats on average."""

from __future__ import annotations

import bz2
import lzma
import math
from collections.abc import Iterable, Sequence
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from n2n.difficulty.entropies import entropy
from n2n.difficulty.ngrams import check_vocabulary
from n2n.graph.by_name import graphs_by_name
from n2n.graph.graph import Graph
from n2n.oracle.checks import check_fixed
from n2n.process.process import Process
from n2n.process.sampler_tables import smallest_dtype
from n2n.utils.arrays import integers
from n2n.utils.progress import track
from n2n.utils.statistics import t_interval
from n2n.utils.strict import Count, Ordered, as_integer

MAX_EXPONENT = 24  # at most 2^24 tokens are compressed
PowersOfTwo = Annotated[Ordered[Annotated[Count, Field(le=MAX_EXPONENT)]], Field(min_length=1)]


def compression_table(
    graphs: Iterable[Graph | str],
    tokens: Sequence[int],
    *,
    seed: int = 0,
    length: int = 64,
    samples: int = 4,
    precision: float = 0.01,
) -> pd.DataFrame:
    """Compressed size of increasing numbers of tokens of some processes, and their exact entropy.

    The first token of each sequence is left out. With ``initial="zero"`` it is fixed, and ``n2n.entropy`` at this
    length is the mean ``-log P`` per token of what is compressed, given the kernels. With another start ``n2n.entropy``
    conditions on the first token, which a compressor does not see, and is a lower bound. A lossless code does not beat
    it in expectation; a compressor lies above it because it must learn the statistics from the tokens.

    Args:
        graphs: graphs or names of presets, with different names.
        tokens: exponents k of 2: whole sequences of ``length - 1`` tokens, at most 2^k in all, at least one sequence.
        seed: seed of the kernels and the sequences.
        length: tokens in a sequence, including the first.
        samples: number of disjoint samples of the training split that are compressed, at least 2.
        precision: standard error of the entropy, nats per token.

    Returns:
        A row for each graph, number of tokens and compressor: ``graph``, ``compressor``, ``tokens`` (in the whole
        sequences), ``nats`` per token (the mean over samples), ``lowest`` and ``highest`` over samples, ``samples``,
        ``entropy``, its ``entropy_standard_error`` and the ends ``entropy_low`` and ``entropy_high`` of its 95%
        interval over sequences (``t_interval``), nats per token.

    Raises:
        ValueError: if kernels are redrawn for every sequence or a number is out of range; or as ``graphs_by_name``,
            ``whole_sequences`` and ``n2n.entropy``.
    """
    graphs, counts = graphs_by_name(graphs), whole_sequences(tokens, length)
    as_integer("samples", samples, 2)
    for graph in graphs.values():
        check_fixed(graph)
    parts = [
        _sizes(Process(graph, seed), counts, length, samples, precision) for graph in track(graphs.values(), "graph")
    ]
    return pd.concat(parts, keys=graphs, names=["graph"]).reset_index("graph").reset_index(drop=True)


def whole_sequences(tokens: Sequence[int], length: int) -> list[int]:
    """Number of whole sequences, without their first tokens, in 2^k tokens for each k; at least one.

    Raises:
        ValueError: if a number is out of range, or two k give the same number of sequences.
    """
    tokens_each = as_integer("length", length, 2) - 1
    counts = [max(1, 2 ** as_integer("tokens", k, 1, MAX_EXPONENT) // tokens_each) for k in tokens]
    if len(set(counts)) < len(counts) or not counts:
        raise ValueError(
            f"tokens: saw the exponents {list(tokens)}, which at length {length} make {counts} whole sequences; "
            "at least one is needed, and their numbers must differ"
        )
    return counts


def _sizes(process: Process, counts: list[int], length: int, samples: int, precision: float) -> pd.DataFrame:
    exact = entropy(process, length, precision=precision)
    rows = [size for count in counts for size in _compressed(process, count, length, samples)]
    low, high = t_interval(exact.mean, exact.standard_error, exact.sequences)
    interval = {"entropy_standard_error": exact.standard_error, "entropy_low": low, "entropy_high": high}
    return pd.DataFrame(rows).assign(entropy=exact.mean, **interval)


def _compressed(process: Process, count: int, length: int, samples: int) -> list[dict]:
    batches = [
        process.sample(count, length=length, start=i * count, latents=False).tokens[:, 1:] for i in range(samples)
    ]
    sizes = pd.DataFrame([compression_nats(tokens, process.graph.vocab_size) for tokens in batches])
    shared = {"tokens": count * (length - 1), "samples": samples}
    return [
        {"compressor": name, **shared, "nats": nats.mean(), "lowest": nats.min(), "highest": nats.max()}
        for name, nats in sizes.items()
    ]


def compression_nats(tokens: np.ndarray, vocab_size: int) -> dict[str, float]:
    """Compressed size of the tokens, one sequence after another, nats per token: ``{"lzma": .., "bz2": ..}``.

    The tokens are stored in the smallest unsigned integer type and compressed by xz (LZMA2, preset 9, extreme) and
    bzip2 (level 9); the size includes the containers. It estimates the entropy rate from above. It is well above it for
    few tokens, and because these programs find repeated strings rather than probabilities.

    Raises:
        ValueError: if there are no tokens, or they are not integers of the vocabulary.
    """
    tokens = integers(tokens)
    check_vocabulary(tokens, as_integer("vocab_size", vocab_size, 1))
    data = tokens.astype(smallest_dtype(vocab_size).newbyteorder("<")).tobytes()
    sizes = {
        "lzma": len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
        "bz2": len(bz2.compress(data, compresslevel=9)),
    }
    return {name: size * 8 * math.log(2) / tokens.size for name, size in sizes.items()}
