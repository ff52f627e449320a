"""The relative excess loss is 1 for a unigram and 0 for the oracle."""

import numpy as np
import pytest
from support.small_designs import planted_table

from n2n.effects import MEASURES, with_measure


def test_the_relative_excess_is_a_share_of_the_unigrams():
    table = planted_table(np.array([0.6, 0.0, 0.15]).reshape(3, 1, 1, 1), standard_error=0.06)
    table = table.assign(unigram=2.0, oracle=1.4)
    found = with_measure(table, "relative_excess")
    assert found["value"].tolist() == pytest.approx([1, 0, 0.25])
    assert found["value_error"].tolist() == pytest.approx([0.1] * 3)
    plain = with_measure(table, "excess")
    assert plain["value"].equals(table["excess"])
    assert plain["value_error"].equals(table["standard_error"])


def test_an_unknown_measure_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown measure 'relative'; did you mean 'relative_excess'"):
        with_measure(planted_table(np.ones((1, 1, 1, 1))), "relative")
    assert list(MEASURES) == ["excess", "relative_excess"]
