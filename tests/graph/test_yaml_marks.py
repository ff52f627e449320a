"""The reader of YAML: values of YAML 1.2, positions, repeated keys, aliases, and oversized texts."""

import json
import math
import re
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from n2n.graph.yaml_marks import Faults, Page, read

properties = settings(
    deadline=None, max_examples=150, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def faults(content: str | bytes) -> list[str]:
    with pytest.raises(Faults) as error:
        Page(content).refuse()
    return list(error.value.args)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(text, 1e-4) for text in ("1e-4", "1E-4", "0.0001", "+1.e-4", "!!float 1e-4", "!!float '1e-4'")],
        *[(text, 10000.0) for text in ("1e4", "1e+4", "01e4", "10000.")],
        *[(".5", 0.5), ("-.5", -0.5), ("5.", 5.0), (".5e1", 5.0), ("1.0", 1.0), ("-0.0", -0.0)],
        *[("0", 0), ("-0", 0), ("+5", 5), ("-12", -12), ("0x10", 16), ("0xFf", 255), ("0o10", 8), ("!!int '3'", 3)],
        *[(text, None) for text in ("", "~", "null", "Null", "NULL", "!!null ''", "# a comment")],
        *[(text, True) for text in ("true", "True", "TRUE", "!!bool true")],
        *[(text, False) for text in ("false", "False", "FALSE")],
        *[(text, math.inf) for text in (".inf", "+.Inf", ".INF")],
        (".nan", math.nan),
        *[(text, text) for text in ("yes", "no", "NO", "on", "off", "y", "n", "nULL", "tRUE", "none", "None")],
        *[(text, text) for text in ("1:30", "190:20:30", "1_000", "1_0.5", "0b11", "-0x10", "0o8", "0x", "1e", "e1")],
        *[(text, text) for text in ("2024-01-01", "2024-01-01T10:00:00Z", "1.2.3", "-", ".", "=", "inf", "nan", "--1")],
        *[('"010"', "010"), ("'null'", "null"), ('"1e3"', "1e3"), ("!!str 010", "010"), ("''", "")],
        *[
            ("'<<'", "<<"),
            ("<<", "<<"),
            ("[010.5]", [10.5]),
            ("{a}", {"a": None}),
            ("{1: a, null: b}", {"1": "a", "null": "b"}),
        ],
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_values_are_those_of_the_core_schema(text, value):
    read_value = Page(f"[{text}]").value[0] if not text.startswith(("|", "#")) and text else Page(text).value
    assert repr(read_value) == repr(value)  # 1, 1.0 and True have different reprs, and nan equals nan


@pytest.mark.parametrize("text", ["010", "007", "08", "-010", "+00", "00", "0123456789", "!!int '010'"])
def test_a_whole_number_with_a_leading_zero_is_refused(text):
    number = int(re.sub(r"[^\d+-]", "", text))
    (message,) = faults(f"a: [{text}]")
    assert message.startswith("line 1, column 5: saw ")
    assert f"octal for some readers of YAML and not for others; write {number}, or" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1e400", "line 1, column 1: saw 1e400, which is beyond the largest floating-point number"),
        ("-1e400", "saw -1e400, which is beyond"),
        ("9" * 5000, "saw a whole number of 5,000 digits; at most 160 are read"),
        (r'"\ud800"', "which has half of a character"),
        ("!!int x", "saw 'x', which is no int"),
        ("!!bool yes", "saw 'yes', which is no bool"),
        ("!foo 3", "unknown tag '!foo'"),
        ("!!binary aGk=", "unknown tag 'tag:yaml.org,2002:binary'"),
        ("!!timestamp 2024-01-01", "unknown tag"),
        ("!!set {b, c}", "unknown tag"),
        ("!!python/object/apply:os.system [ls]", "unknown tag"),
        ("!!map [1]", "unknown tag"),
    ],
)
def test_values_outside_the_core_schema_are_refused(text, message):
    page = Page(f"a: {text}\nb: 1")
    assert page.value["b"] == 1
    page.refuse(("b",))
    assert message in faults(f"a: {text}")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", ["line 3, column 1: the key 'a' is on line 1 already"]),
        ("a: 1\n'a': 3", ["line 2, column 1: the key 'a' is on line 1 already"]),
        ("1: 1\n'1': 3", ["line 2, column 1: the key '1' is on line 1 already"]),
        ("- {b: {c: 1,\n c: 2}}\n- {c: 1, c: 2}", 2),
        ("a: &x {b: 1}\nc: {<<: *x, <<: *x}", ["line 2, column 13: the key '<<' is on line 2 already"]),
        ("? [a]\n: 1", ["line 1, column 3: a key must be a single word"]),
        ("a: {<<: 3}", ["line 1, column 9: << merges only mappings"]),
        ("a: {<<: [{b: 1}, 3]}", ["line 1, column 18: << merges only mappings"]),
        (
            "%YAML 1.1\n---\na: 1",
            ["line 1, column 1: saw %YAML 1.1; files are read as YAML 1.2, so leave that line out"],
        ),
        ("a: 1\n---\nb: 1", ["line 2, column 1: but found another document"]),
        ("a: *b", ["line 1, column 4: found undefined alias 'b'"]),
    ],
)
def test_faults_have_line_and_column(text, expected):
    messages = faults(text)
    assert len(messages) == expected if isinstance(expected, int) else messages == expected


def test_merges_add_missing_keys_and_the_first_mapping_wins():
    text = "x: &x {a: 1, b: 2}\ny: &y {a: 3, c: 4}\nz: {<<: [*x, *y], b: 7}\nw: {b: 8, <<: *z0}"
    page = Page(text.replace("z: {", "z: &z0 {"))
    assert page.value["z"] == {"a": 1, "b": 7, "c": 4}
    assert page.value["w"] == {"a": 1, "b": 8, "c": 4}
    assert page.at(("w", "c"), "here") == "line 2, column 14: here"
    assert page.at(("z", "b"), "here") == "line 3, column 23: here"


def test_an_anchor_may_be_redefined():
    assert Page("a: &x 1\nb: &x 2\nc: *x").value == {"a": 1, "b": 2, "c": 2}


def test_positions_are_those_of_keys_and_items():
    page = Page("a:\n  - b\n  - {c: 1}\n")
    positions = {(): (1, 1), ("a",): (1, 1), ("a", 0): (2, 5), ("a", 1, "c"): (3, 6), ("a", 1, "missing"): (3, 5)}
    for route, (line, column) in positions.items():
        assert page.at(route, "x") == f"line {line}, column {column}: x"


# Oversized texts


def aliases(levels: int, width: int) -> str:
    first = "a0: &a0 [" + ",".join(["1"] * width) + "]\n"
    return first + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, levels))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 3000, "line 1, column 101: nested more than 100 levels deep"),
        ("{a: " * 5000, "nested more than 100 levels deep"),
        ("- " * 5000, "nested more than 100 levels deep"),
        (aliases(8, 9), "line 7, column 5: stands for more than 2,000,000 values"),
        (aliases(200, 1), "line 100, column 6: nested more than 100 levels deep, or an alias holds itself"),
        ("a: &a [1, *a]", "line 1, column 4: nested more than 100 levels deep, or an alias holds itself"),
        ("a: &a {b: {<<: *a}}", "or an alias holds itself"),
        ("a: *" + "b" * 10**5, "found undefined alias"),
        ("a: !" + "b" * 10**4 + " 3", "unknown tag"),
        ("b" * 1000 + ": 1\n" + "b" * 1000 + ": 2", "is on line 1 already"),
    ],
)
def test_an_oversized_text_is_refused_with_a_short_message(text, message, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(Faults) as error:
        read(tmp_path / "a.yaml").refuse()
    refusal = str(error.value.within(tmp_path / "a.yaml"))
    assert message in refusal
    assert len(refusal) < 3000


def test_the_message_of_many_faults_is_short():
    message = str(Faults(*(f"line {i}, column 1: {'x' * 10**5}" for i in range(1000))).within("a.yaml"))
    assert "and 980 more" in message
    assert len(message) < 10**5


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(Faults, match="larger than 16 MB"):
        read("/dev/zero")
    with pytest.raises(Faults, match="Is a directory"):
        read(tmp_path)
    with pytest.raises(Faults, match="null"):
        read("a\0b")


# Properties

KEYS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=100)
NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@properties
@given(PLAIN)
def test_json_is_read_as_by_python(value):
    assert Page(json.dumps(value)).value == json.loads(json.dumps(value))


@properties
@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("[]{}:,-&*!|>'\"#%@<~?\n 0a")) | st.binary())
def test_any_text_is_read_or_refused(content):
    with suppress(Faults):
        Page(content).refuse()
