"""What is compared: the excess loss, or its ratio to the excess loss of token frequencies.

Processes of one entropy can differ in what there is to learn: if the tokens are almost independent, a unigram is almost
optimal, and every learner has a small excess loss. The relative excess loss is comparable between such processes: it is
1 for a unigram and 0 for the oracle.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from n2n.utils.strict import unknown_name_message


class Measure(NamedTuple):
    """A loss that is compared, and how a sentence names it."""

    column: str
    phrase: str


MEASURES = {
    "excess": Measure("excess", "excess loss"),
    "relative_excess": Measure("relative_excess", "excess loss relative to the unigram's"),
}


def with_measure(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A copy of the table whose columns ``value`` and ``value_error`` hold a measure and its standard error.

    Args:
        table: results with the columns ``excess``, ``standard_error``, ``oracle`` and ``unigram``, nats per token.
        measure: ``"excess"``, in nats per token; or ``"relative_excess"``, the excess loss divided by that of the best
            unigram. Its standard error takes the unigram's excess loss as exact: both are means over the same
            held-out sequences, and that of the learner is by far the smaller.

    Raises:
        ValueError: if the measure is unknown.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure: {unknown_name_message('measure', measure, MEASURES)}")
    scale = 1.0 if measure == "excess" else (table["unigram"] - table["oracle"]).astype(float)
    return table.assign(value=table["excess"] / scale, value_error=table["standard_error"] / scale)
