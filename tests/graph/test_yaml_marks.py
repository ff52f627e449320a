"""The one reader of YAML: values of YAML 1.2, places, repeated keys, aliases, and texts that are too much."""

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
    with pytest.raises(Faults) as told:
        Page(content).refuse()
    return list(told.value.args)


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
    found = Page(f"[{text}]").value[0] if not text.startswith(("|", "#")) and text else Page(text).value
    assert repr(found) == repr(value)  # which tells 1 from 1.0 and from True, and nan is itself


@pytest.mark.parametrize("text", ["010", "007", "08", "-010", "+00", "00", "0123456789", "!!int '010'"])
def test_a_whole_number_with_a_leading_zero_is_refused(text):
    number = int(re.sub(r"[^\d+-]", "", text))
    (said,) = faults(f"a: [{text}]")
    assert said.startswith("line 1, column 5: saw ")
    assert f"octal for some readers of YAML and not for others; write {number}, or" in said


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_what_is_no_plain_value_is_refused(text, said):
    page = Page(f"a: {text}\nb: 1")
    assert page.value["b"] == 1
    page.refuse(("b",))
    assert said in faults(f"a: {text}")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", ["line 3, column 1: the key 'a' is on line 1 already"]),
        ("a: 1\n'a': 3", ["line 2, column 1: the key 'a' is on line 1 already"]),
        ("1: 1\n'1': 3", ["line 2, column 1: the key '1' is on line 1 already"]),
        ("- {b: {c: 1,\n c: 2}}\n- {c: 1, c: 2}", 2),
        ("a: &x {b: 1}\nc: {<<: *x, <<: *x}", ["line 2, column 13: the key '<<' is on line 2 already"]),
        ("? [a]\n: 1", ["line 1, column 3: a key must be a single word"]),
        ("a: {<<: 3}", ["line 1, column 9: << merges mappings alone"]),
        ("a: {<<: [{b: 1}, 3]}", ["line 1, column 18: << merges mappings alone"]),
        (
            "%YAML 1.1\n---\na: 1",
            ["line 1, column 1: saw %YAML 1.1; files are read as YAML 1.2, so leave that line out"],
        ),
        ("a: 1\n---\nb: 1", ["line 2, column 1: but found another document"]),
        ("a: *b", ["line 1, column 4: found undefined alias 'b'"]),
    ],
)
def test_faults_have_their_places(text, said):
    found = faults(text)
    assert len(found) == said if isinstance(said, int) else found == said


def test_merges_give_what_is_not_there_and_the_first_merged_wins():
    text = "x: &x {a: 1, b: 2}\ny: &y {a: 3, c: 4}\nz: {<<: [*x, *y], b: 7}\nw: {b: 8, <<: *z0}"
    page = Page(text.replace("z: {", "z: &z0 {"))
    assert page.value["z"] == {"a": 1, "b": 7, "c": 4}
    assert page.value["w"] == {"a": 1, "b": 8, "c": 4}
    assert page.at(("w", "c"), "here") == "line 2, column 14: here"
    assert page.at(("z", "b"), "here") == "line 3, column 23: here"


def test_an_anchor_may_be_set_again():
    assert Page("a: &x 1\nb: &x 2\nc: *x").value == {"a": 1, "b": 2, "c": 2}


def test_a_place_is_that_of_the_key_or_the_item():
    page = Page("a:\n  - b\n  - {c: 1}\n")
    places = {(): (1, 1), ("a",): (1, 1), ("a", 0): (2, 5), ("a", 1, "c"): (3, 6), ("a", 1, "missing"): (3, 5)}
    for route, (line, column) in places.items():
        assert page.at(route, "x") == f"line {line}, column {column}: x"


# Texts that are too much


def aliases(levels: int, width: int) -> str:
    first = "a0: &a0 [" + ",".join(["1"] * width) + "]\n"
    return first + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, levels))


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_a_text_that_is_too_much_is_refused_in_a_sentence(text, said, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(Faults) as told:
        read(tmp_path / "a.yaml").refuse()
    refusal = str(told.value.within(tmp_path / "a.yaml"))
    assert said in refusal
    assert len(refusal) < 3000


def test_a_refusal_of_many_faults_is_short():
    said = str(Faults(*(f"line {i}, column 1: {'x' * 10**5}" for i in range(1000))).within("a.yaml"))
    assert "and 980 more" in said
    assert len(said) < 10**5


def test_a_file_without_an_end_is_refused(tmp_path):
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
def test_json_is_read_as_python_s_own_reader_does(value):
    assert Page(json.dumps(value)).value == json.loads(json.dumps(value))


@properties
@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("[]{}:,-&*!|>'\"#%@<~?\n 0a")) | st.binary())
def test_any_text_is_read_or_refused(content):
    with suppress(Faults):
        Page(content).refuse()
