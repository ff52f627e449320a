"""What general compressors make of a process's tokens, beside the entropy that no lossless code beats on average."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import pandas as pd
from pydantic import Field

from n2n.baselines import compression_nats
from n2n.difficulty import entropy
from n2n.fields import preset
from n2n.graph import Graph
from n2n.process import Process
from n2n.strict import Count, Ordered, whole

MOST = 24  # 2^24 tokens are compressed at most
PowersOfTwo = Annotated[Ordered[Annotated[Count, Field(le=MOST)]], Field(min_length=1)]


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

    The fixed first token of each sequence is left out, so that ``n2n.entropy`` at this length is the mean
    ``-log P`` per token of what is compressed, given the kernels. A lossless code does not beat it in expectation;
    a compressor lies above it for it must find the statistics in the tokens themselves.

    Args:
        graphs: or presets' names; those with another start than "zero" have their first token left out all the same.
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
        ValueError: an unknown preset, or numbers out of range.
    """
    counts = {k: max(1, 2 ** whole("tokens", k, 1, MOST) // (whole("length", length, 2) - 1)) for k in tokens}
    whole("samples", samples, 2)
    rows = []
    for graph in [preset(graph) for graph in graphs]:
        process = Process(graph, seed)
        found = entropy(process, length, precision=precision)
        exact = {"entropy": found.mean, "entropy_se": found.standard_error}
        for count in counts.values():
            sizes = _sizes(process, count, length, samples)
            rows += [{"graph": graph.name or "graph", **size, **exact} for size in sizes]
    return pd.DataFrame(rows)


def _sizes(process: Process, count: int, length: int, samples: int) -> list[dict]:
    drawn = [process.sample(count, length=length, start=i * count, latents=False).tokens[:, 1:] for i in range(samples)]
    sizes = pd.DataFrame([compression_nats(tokens, process.graph.vocab_size) for tokens in drawn])
    shared = {"tokens": count * (length - 1), "samples": samples}
    return [
        {"compressor": name, **shared, "nats": nats.mean(), "lowest": nats.min(), "highest": nats.max()}
        for name, nats in sizes.items()
    ]
