"""What general compressors make of a process's tokens, beside the entropy that no lossless code beats on average."""

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
from n2n.difficulty.ngrams import _refuse_strangers
from n2n.graph.by_name import graphs_by_name
from n2n.graph.graph import Graph
from n2n.oracle.checks import check_fixed
from n2n.process.process import Process
from n2n.process.sampler import smallest_dtype
from n2n.utils.arrays import integers
from n2n.utils.progress import track
from n2n.utils.strict import Count, Ordered, as_integer

MAX_EXPONENT = 24  # 2^24 tokens are compressed at most
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
    """Compressed size of more and more tokens of some processes, beside their exact entropy.

    The first token of each sequence is left out. With ``initial="zero"`` it is fixed, and ``n2n.entropy`` at this
    length is the mean ``-log P`` per token of what is compressed, given the kernels. With another start ``n2n.entropy``
    is given the first token, which a compressor is not: it is a lower bound. A lossless code does not beat it in
    expectation; a compressor lies above it for it must find the statistics in the tokens themselves.

    Args:
        graphs: or presets' names, no two of one name.
        tokens: exponents of 2: 2^k tokens are compressed, at least one sequence of ``length - 1``, whole ones alone.
        seed: of the kernels and of the sequences.
        length: tokens in a sequence, the first included.
        samples: disjoint samples of the training split that are each compressed, two at least.
        precision: standard error of the entropy, nats per token.

    Returns:
        a row for each graph, number of tokens and compressor: ``graph``, ``compressor``, ``tokens`` (as many as the
        whole sequences hold), the mean over samples of the size, ``nats`` per token, with ``lowest`` and ``highest`` of
        them, ``samples``; ``entropy`` and ``entropy_se``, nats per token.

    Raises:
        ValueError: as ``named`` and ``whole_sequences``, kernels redrawn for every sequence, numbers out of range, or
            what ``n2n.entropy`` refuses.
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
    """How many whole sequences 2^k tokens are, for each k, the first token of each left out; one at least.

    Raises:
        ValueError: numbers out of range, or two k of equally many sequences.
    """
    held = as_integer("length", length, 2) - 1
    counts = [max(1, 2 ** as_integer("tokens", k, 1, MAX_EXPONENT) // held) for k in tokens]
    if len(set(counts)) < len(counts) or not counts:
        raise ValueError(
            f"tokens: saw the exponents {list(tokens)}, which at length {length} make {counts} whole sequences; "
            "at least one is needed, and no number of sequences twice"
        )
    return counts


def _sizes(process: Process, counts: list[int], length: int, samples: int, precision: float) -> pd.DataFrame:
    exact = entropy(process, length, precision=precision)
    rows = [size for count in counts for size in _compressed(process, count, length, samples)]
    return pd.DataFrame(rows).assign(entropy=exact.mean, entropy_se=exact.standard_error)


def _compressed(process: Process, count: int, length: int, samples: int) -> list[dict]:
    drawn = [process.sample(count, length=length, start=i * count, latents=False).tokens[:, 1:] for i in range(samples)]
    sizes = pd.DataFrame([compression_nats(tokens, process.graph.vocab_size) for tokens in drawn])
    shared = {"tokens": count * (length - 1), "samples": samples}
    return [
        {"compressor": name, **shared, "nats": nats.mean(), "lowest": nats.min(), "highest": nats.max()}
        for name, nats in sizes.items()
    ]


def compression_nats(tokens: np.ndarray, vocab_size: int) -> dict[str, float]:
    """What general compressors make of the tokens, one sequence after another: ``{"lzma": .., "bz2": ..}``.

    Bytes of xz (LZMA2, preset 9, extreme) and of bzip2 (level 9), containers included, of the tokens in the smallest
    unsigned integer type, in nats per token. An estimate of the entropy rate from above: it is well above it where
    there are few tokens, and these programs find repeated strings rather than probabilities.

    Raises:
        ValueError: no tokens, or tokens that are not integers of the vocabulary.
    """
    tokens = integers(tokens)
    _refuse_strangers(tokens, as_integer("vocab_size", vocab_size, 1))
    data = tokens.astype(smallest_dtype(vocab_size).newbyteorder("<")).tobytes()
    sizes = {
        "lzma": len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
        "bz2": len(bz2.compress(data, compresslevel=9)),
    }
    return {name: size * 8 * math.log(2) / tokens.size for name, size in sizes.items()}
