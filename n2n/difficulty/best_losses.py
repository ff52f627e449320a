"""The best mean loss of predictors that know nothing, token frequencies, the last token, or all tokens and kernels."""

from __future__ import annotations

import math

import pandas as pd

from n2n.difficulty.entropies import entropy
from n2n.difficulty.mutual_information import first_law, laws, one_step_apart
from n2n.process.process import Process
from n2n.utils.statistics import entropy_of, t_interval
from n2n.utils.strict import as_integer


def best_losses(process: Process, length: int, *, precision: float = 0.02) -> pd.DataFrame:
    """The smallest mean loss on sequences of a length, for predictors that know more and more; nats per token.

    Losses are means over t = 1 .. T - 1 of sequences from the process's own start, as learners are trained and
    evaluated. The unigram and the bigram are those of infinitely many such sequences; they do not know t. Each row
    knows all that the row above it knows, so its loss is at most as large.

    Args:
        process: with fixed kernels.
        length: tokens in a sequence, at least 2.
        precision: standard error of the oracle's loss, which is the only estimated one.

    Returns:
        A row for each predictor, indexed by its name, with ``loss`` and ``half``, the half-width of its 95% interval
        over sequences (``t_interval``), which is 0 for exact losses.

    Raises:
        ValueError: if the length is under 2, kernels are redrawn for every sequence, or a distribution exceeds 1 GiB;
            or as ``n2n.entropy``.
    """
    steps, law, x = as_integer("length", length, 2) - 1, first_law(process, length), process.graph.observed.name
    before = sum(laws(process, law, steps - 1)) / steps
    (pair,) = one_step_apart(process, before, 1, [x], x)[x]
    oracle = entropy(process, length, precision=precision)
    _, high = t_interval(oracle.mean, oracle.standard_error, oracle.sequences)
    rows = {
        "uniform guess": (math.log(process.graph.vocab_size), 0.0),
        "unigram": (float(entropy_of(pair.sum(axis=0))), 0.0),
        "bigram": (float(entropy_of(pair.ravel()) - entropy_of(pair.sum(axis=1))), 0.0),
        f"oracle, {length} tokens": (oracle.mean, high - oracle.mean),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["loss", "half"]).rename_axis("predictor")
