import inspect
import pickle
from typing import Literal

import numpy as np
import pytest
from support.hostile_values import WithoutRepr

import n2n
from n2n.utils.strict import (
    MAX_REPR,
    Count,
    Positive,
    Refused,
    Strict,
    as_integer,
    nearest_name,
    short_repr,
    unknown_name_message,
)


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


def test_one_error_lists_everything_wrong():
    message = refusal(rate=-1, steps="abc", mode="slwo", inner={"size": 0})
    for part in ("rate: saw -1", "steps: saw 'abc'", "mode: saw 'slwo'", "did you mean 'slow'?", "size: saw 0"):
        assert part in message
    assert "https://" not in message


def test_an_unknown_name_lists_the_nearest_and_all_allowed_names():
    message = refusal(step=100)
    assert "unknown parameter 'step'; did you mean 'steps'? (allowed: inner, mode, rate, steps)" in message


@pytest.mark.parametrize("value", [0, -3, 1.5, "x", None, True, float("nan")])
def test_a_count_is_a_positive_whole_number(value):
    assert "steps: " in refusal(steps=value)


@pytest.mark.parametrize("value", [0, -0.1, float("inf"), float("nan"), "fast", False])
def test_a_rate_is_positive_and_finite(value):
    assert "rate: " in refusal(rate=value)


def test_values_from_a_shell_are_converted_by_type():
    values = Outer(rate="1e-4", steps=1e4)
    assert (values.rate, values.steps) == (1e-4, 10_000)
    assert isinstance(values.steps, int)


def test_an_error_lists_its_fields_and_can_be_pickled():
    with pytest.raises(Refused) as caught:
        Outer(rate=-1, inner={"size": 0})
    copy = pickle.loads(pickle.dumps(caught.value))  # errors of other processes are pickled
    assert [field for field, _ in copy.wrong] == ["rate", "inner"]
    assert str(copy) == str(caught.value)


def test_values_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Outer().steps = 3


def test_distant_names_are_not_suggested():
    assert nearest_name("zzz", ["mamba"]) == ""
    assert nearest_name("MAMBA", ["mamba"]) == "; did you mean 'mamba'?"


def test_integers_and_their_bounds():
    assert [as_integer("count", value, 1) for value in (1, np.uint8(3), 2**62 - 1)] == [1, 3, 2**62 - 1]
    for value in (0, 1.0, True, "1", None, 2**62):
        with pytest.raises(ValueError, match=rf"count: saw {value!r}; a whole number from 1 to 2\*\*62 - 1 is needed"):
            as_integer("count", value, 1)


def test_positional_arguments():
    assert n2n.Node("A", 3) == n2n.Node(name="A", num_states=3)
    assert n2n.Node("X", 3, ["A"], observed=True).parents == ("A",)
    assert n2n.Graph([n2n.Node("A", 3), n2n.Node("X", 2, ["A"], observed=True)]).vocab_size == 2
    assert n2n.TrainConfig("sparse", "mamba") == n2n.TrainConfig(graph="sparse", arch="mamba")
    for cls in (n2n.DatasetConfig, n2n.ExploreConfig, n2n.DifficultyConfig):
        assert cls("sparse") == cls(graph="sparse")
    for cls in (n2n.ProbeConfig, n2n.DynamicsConfig, n2n.WelcomeConfig, n2n.AttentionConfig):
        assert cls("example:mamba").run == "example:mamba"
    assert n2n.EvaluateConfig(["example:mamba"]).runs == ("example:mamba",)
    assert n2n.ReportConfig("example:sweep").sweep == "example:sweep"


def errors_of(call, *arguments, **fields) -> list[str]:
    with pytest.raises(Refused) as error:
        call(*arguments, **fields)
    return [message for _, message in error.value.wrong]


def test_extra_and_repeated_positional_values_are_refused():
    assert errors_of(n2n.TrainConfig, "sparse", "mamba", 3, steps=-1) == [
        "saw 3 values without names; only graph, arch may be",
        "steps: saw -1; it must be greater than 0",
    ]
    assert errors_of(n2n.TrainConfig, "sparse", graph="dense") == ["graph: given twice, by position and by name"]
    assert errors_of(n2n.launch.Resources, 3) == ["saw 1 values without names; every field needs its name"]


def test_the_signature_lists_positional_fields_first():
    kinds = {name: parameter.kind for name, parameter in inspect.signature(n2n.TrainConfig).parameters.items()}
    assert list(kinds)[:2] == ["graph", "arch"]
    assert kinds["graph"] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert kinds["steps"] is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("value", "allowed", "nearest"),
    [
        ("ran", ["run", "sequences"], "run"),
        ("sprase", ["sparse", "dense"], "sparse"),
        ("batch", ["batch_size", "heads"], "batch_size"),
        ("MAMBA", ["mamba"], "mamba"),
        ("expand", ["heads", "dim", "kernels"], None),
        ("epochs", ["steps", "heads"], None),
        ("state_dim", ["dim", "tied"], None),
        ("Z9", ["Z1", "Z2"], None),
        (3, ["3"], None),
        ("x" * 10**6, ["x"], None),
    ],
)
def test_only_near_names_are_suggested(value, allowed, nearest):
    assert nearest_name(value, allowed) == (f"; did you mean {nearest!r}?" if nearest else "")


def test_reprs_are_short_and_on_one_line():
    long = ["x" * 10**6, 10**400, 10**5000, list(range(10**6)), {i: i for i in range(10**5)}, "\n" * 500, WithoutRepr()]
    endless: list = []
    endless.append(endless)
    for value in [*long, endless]:
        assert 0 < len(short_repr(value)) <= MAX_REPR
        assert "\n" not in short_repr(value)
    for value in (None, 1, -2.5, "a b", [1, 2], {"a": 1}, 2**64, (1,), True):
        assert short_repr(value) == repr(value)
    assert len(unknown_name_message("name", "x", [str(i) * 50 for i in range(10**4)])) < 2000
