import pickle
from typing import Literal

import numpy as np
import pytest

from n2n.utils.strict import Count, Positive, Refused, Strict, as_integer, nearest_name


class Inner(Strict):
    size: Count


class Outer(Strict):
    rate: Positive = 1.0
    steps: Count = 1
    mode: Literal["slow", "dead"] = "slow"
    inner: Inner | None = None


def refusal(**values) -> str:
    with pytest.raises(ValueError, match="was refused") as caught:
        Outer(**values)
    return str(caught.value)


def test_everything_wrong_is_said_at_once():
    said = refusal(rate=-1, steps="abc", mode="slwo", inner={"size": 0})
    for part in ("rate: saw -1", "steps: saw 'abc'", "mode: saw 'slwo'", "did you mean 'slow'?", "size: saw 0"):
        assert part in said
    assert "https://" not in said


def test_an_unknown_name_comes_with_the_nearest_and_all_allowed():
    said = refusal(step=100)
    assert "unknown parameter 'step'; did you mean 'steps'? (allowed: inner, mode, rate, steps)" in said


@pytest.mark.parametrize("value", [0, -3, 1.5, "x", None, True, float("nan")])
def test_a_count_is_a_positive_whole_number(value):
    assert "steps: " in refusal(steps=value)


@pytest.mark.parametrize("value", [0, -0.1, float("inf"), float("nan"), "fast", False])
def test_a_rate_is_positive_and_finite(value):
    assert "rate: " in refusal(rate=value)


def test_what_a_shell_gives_is_cast_by_type():
    given = Outer(rate="1e-4", steps=1e4)
    assert (given.rate, given.steps) == (1e-4, 10_000)
    assert isinstance(given.steps, int)


def test_a_refusal_tells_fields_and_survives_pickling():
    with pytest.raises(Refused) as caught:
        Outer(rate=-1, inner={"size": 0})
    again = pickle.loads(pickle.dumps(caught.value))  # as it travels from a worker
    assert [field for field, _ in again.wrong] == ["rate", "inner"]
    assert str(again) == str(caught.value)


def test_values_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Outer().steps = 3


def test_nearest_is_silent_where_nothing_is_near():
    assert nearest_name("zzz", ["mamba"]) == ""
    assert nearest_name("MAMBA", ["mamba"]) == "; did you mean 'mamba'?"


def test_whole_numbers():
    assert [as_integer("count", value, 1) for value in (1, np.uint8(3), 2**62 - 1)] == [1, 3, 2**62 - 1]
    for value in (0, 1.0, True, "1", None, 2**62):
        with pytest.raises(ValueError, match=rf"count: saw {value!r}; a whole number from 1 to 2\*\*62 - 1 is needed"):
            as_integer("count", value, 1)
