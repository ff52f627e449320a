"""Values that are nested too deeply, contain themselves, or expand to more entries than fit in memory."""

import numpy as np
import pytest

import n2n
from n2n.utils.nested import MAX_DEPTH, check_nesting

DEEP, RECURSIVE, HUGE = [], [], [0] * 9
for _ in range(5000):
    DEEP = [DEEP]
RECURSIVE.append({"a": RECURSIVE})
for _ in range(8):
    HUGE = [HUGE] * 9


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (DEEP, "nested more than 100 levels deep"),
        (RECURSIVE, "nested more than 100 levels deep"),
        (HUGE, "stands for more than 134,217,728 values"),
    ],
)
@pytest.mark.parametrize("field", ["graph", "steps", "model_options", "tables", "profile_steps", "no_field"])
def test_excessive_values_are_refused_in_one_sentence(value, message, field):
    for argument in (value, {"nodes": value}, {"gssm": value}):
        with pytest.raises(ValueError, match="was refused") as error:
            n2n.TrainConfig(**{"graph": "sparse", field: argument})
        assert str(error.value) == f"n2n.TrainConfig was refused:\n  - {field}: {message}"


def test_shared_lists_are_counted_without_expanding_them():
    shared: list = []
    for _ in range(MAX_DEPTH - 1):
        shared = [shared, shared]
    with pytest.raises(ValueError, match="what: stands for more than 2,000,000 values"):
        check_nesting("what", shared)
    with pytest.raises(ValueError, match="what: nested more than 100 levels deep"):
        check_nesting("what", [[shared]])
    check_nesting("what", [[1] * 1000] * 1000)


@pytest.mark.parametrize(
    "value", [range(10**12), "x" * 10**7, np.zeros((1000, 1000)), n2n.Graph.preset("sparse"), None]
)
def test_only_lists_and_mappings_are_traversed(value):
    check_nesting("what", {"a": [value]})
