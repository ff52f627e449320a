"""Values that are nested too deeply, that hold themselves, or that stand for more than a memory holds."""

import numpy as np
import pytest

import n2n
from n2n.utils.nested import MAX_DEPTH, check_nesting

TANGLED, ITSELF, MANY = [], [], [0] * 9
for _ in range(5000):
    TANGLED = [TANGLED]
ITSELF.append({"a": ITSELF})
for _ in range(8):
    MANY = [MANY] * 9


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (TANGLED, "nested more than 100 levels deep"),
        (ITSELF, "nested more than 100 levels deep"),
        (MANY, "stands for more than 134,217,728 values"),
    ],
)
@pytest.mark.parametrize("field", ["graph", "steps", "model_options", "tables", "profile_steps", "no_field"])
def test_values_that_are_too_much_are_refused_in_a_sentence(value, said, field):
    for given in (value, {"nodes": value}, {"gssm": value}):
        with pytest.raises(ValueError, match="was refused") as told:
            n2n.TrainConfig(**{"graph": "sparse", field: given})
        assert str(told.value) == f"n2n.TrainConfig was refused:\n  - {field}: {said}"


def test_a_chain_of_shared_lists_is_counted_without_being_walked():
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
def test_what_is_no_list_and_no_mapping_is_not_looked_into(value):
    check_nesting("what", {"a": [value]})
