"""Points of a sweep from files, shells and Python: their values, their names and their errors."""

import re

import numpy as np
import pytest
from support.notebooks import TRAIN
from support.small_notebook import trivial

import n2n
from n2n import launch
from n2n.launch import points, submission

TANGLED, MANY = [], [0] * 9
TANGLED.append(TANGLED)
for _ in range(8):
    MANY = [MANY] * 9


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("compile=on,off", ["on", "off"]),
        ("steps=1:30,1_000", ["1:30", "1_000"]),
        ("seed='007'", ["007"]),
        ("data=a.npy#b,http://h/x#frag", ["a.npy#b", "http://h/x#frag"]),
        ("day=2024-01-01", ["2024-01-01"]),
    ],
)
def test_values_in_a_shell_are_read_as_yaml_1_2(text, values):
    assert points.parse_axis(text)[1] == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *[(text, "NAME=VALUE,VALUE,.. is needed") for text in ("seed", "=1", "a b=1")],
        ("x=[1", "expected ',' or ']'"),
        ("seed=007,008,009,010", "saw 007, which is octal for some readers of YAML and not for others; write 7, or"),
        ("model={state_dim: 1, state_dim: 2}", "the key 'state_dim' is on line 1 already"),
        ("x=" + "[" * 5000, "nested more than 100 levels deep"),
        ("x=" + "9" * 5000, "saw a whole number of 5,000 digits"),
    ],
)
def test_bad_axes_are_refused(text, message):
    with pytest.raises(ValueError, match=r"grid: saw") as error:
        points.parse_axis(text)
    assert message in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"a": TANGLED}], "points: point 0: nested more than 100 levels deep"),
        ([{"a": MANY}], "points: point 0: stands for more than 2,000,000 values"),
        ([{"a": object(), "b": ["y" * 10**6]}], "cannot be passed to a notebook"),
        ([{"a": ["y" * 10**6]}] * 2, "twice"),
    ],
)
def test_oversized_points_are_refused_with_a_short_message(values, message):
    with pytest.raises(ValueError, match="points: ") as error:
        points.points_by_name(values)
    assert message in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "line 1, column 1: a list of mappings is needed"),
        ("", "line 1, column 1: a list of mappings is needed"),
        ("- {a: 1}\n- 3", "line 2, column 3: saw 3; a mapping is needed"),
        ("[", "line 1, column 2: expected the node content"),
        ("- {arch: mamba, seed: 1, seed: 2}", "line 1, column 26: the key 'seed' is on line 1 already"),
        ("- arch: mamba\n  seed: 1\n  seed: 2\n", "line 3, column 3: the key 'seed' is on line 2 already"),
        ("- {a: 1}\n- {a: 010}", "line 2, column 4: saw 010, which is octal for some readers"),
        ("[" * 3000, "line 1, column 101: nested more than 100 levels deep"),
    ],
)
def test_bad_files_of_points_are_refused_with_line_and_column(content, message, tmp_path):
    path = tmp_path / "points.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"points.yaml was refused:\n  - {message}")):
        points.read_points(path)


def test_files_and_shells_are_read_alike(tmp_path):
    values = "1, 1e-4, .5, 0x10, 1:30, yes, NO, ~, true, '010', 2024-01-01, 1_000, {a: [b]}"
    (tmp_path / "points.yaml").write_text(f"- {{x: [{values}]}}")
    assert points.read_points(tmp_path / "points.yaml") == [{"x": points.parse_axis(f"x={values}")[1]}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"seed": 1}, {"seed": 1.0}], "{'seed': 1} and {'seed': 1.0} mean the same run"),
        ([{"seed": 7}, {"seed": "007"}], "{'seed': 7} and {'seed': '007'} mean the same run"),
        ([{"lr": "1e-3"}, {"seed": 1}, {"lr": 0.001}], "{'lr': '1e-3'} and {'lr': 0.001} mean the same run"),
        ([{"seed": 0}, {"seed": 0, "dim": 64}], "mean the same run"),
        ([{"compile": True}, {"compile": "on"}], "mean the same run"),
        ([{"graph": "sparse"}, {"graph": n2n.Graph.preset("sparse").model_dump(mode="json")}], "mean the same run"),
    ],
)
def test_points_that_make_the_same_configuration_are_refused(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        launch.submit(TRAIN, values, name="twice", cluster="debug")
    assert not n2n.runs.root().exists()


def test_points_of_a_notebook_without_a_configuration_are_compared_as_they_are(tmp_path):
    notebook = trivial(tmp_path / "small.ipynb")
    with pytest.raises(ValueError, match=r"'i': 1} and .*'i': 1.0} mean the same run"):
        submission.plan(notebook, [{"i": 1}, {"i": 1.0}], name="twice", cluster="debug")
    with pytest.raises(ValueError, match="mean the same run"):
        submission.plan(notebook, [{"i": 1}, {"i": 1, "fail": False}], name="twice", cluster="debug")
    assert len(submission.plan(notebook, [{"i": 1}, {"i": True}, {"i": 2}], name="apart", cluster="debug").points) == 3


def test_a_point_may_hold_a_graph_in_the_older_spelling():
    nodes = [{"name": "Z", "state_dim": 4}, {"name": "X", "state_dim": 8, "parents": ["Z"], "observed": True}]
    planned = submission.plan(TRAIN, [{"graph": {"gssm": {"nodes": nodes}}}], name="older", cluster="debug")
    (point,) = planned.points.values()
    assert {node.kernel for node in n2n.TrainConfig(**point).graph.nodes} == {"product"}


def test_a_grid_is_every_combination():
    grid = launch.grid(arch=["a", "b"], seed=range(2), lr=0.1, graph="sparse")
    assert grid == [{"arch": a, "seed": s, "lr": 0.1, "graph": "sparse"} for a in "ab" for s in (0, 1)]


@pytest.mark.parametrize(
    ("axes", "message"), [({}, "grid: saw no parameter"), ({"seed": [], "arch": ["a"]}, "grid: saw no value of 'seed'")]
)
def test_an_empty_grid_is_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        launch.grid(**axes)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([{"arch": "a", "seed": 0, "lr": 0.1}, {"arch": "a", "seed": 1, "lr": 0.1}], ["seed=0", "seed=1"]),
        ([{"seed": np.int64(3), "lr": 1e-4}], ["seed=3,lr=0.0001"]),
        ([{}], ["defaults"]),
        ([{"a": -1}, {"a": 1}, {"a": None}, {"a": True}], ["a=-1", "a=1", "a=null", "a=true"]),
        ([{"a": 1}, {}], ["a=1", "defaults"]),
    ],
)
def test_points_are_named_by_what_varies(values, names):
    assert list(points.points_by_name(values)) == names


def test_long_or_unsafe_values_still_give_different_names():
    values = [{"data": "/a/b c"}, {"data": "/a/b/c"}, {"x": {"k": 1}}, {"x": {"k": 2}}, {"s": "y" * 300}]
    names = list(points.points_by_name(values))
    assert len(set(names)) == 5
    assert all(len(name) <= points.MAX_NAME and "/" not in name and " " not in name for name in names)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "points: saw none"),
        ([{"a": 1}, {"a": 2}, {"a": 1}], r"points: saw \{'a': 1\} twice"),
        ([{"a": object()}], r"points: point 0, .* cannot be passed to a notebook: .* is of type object"),
        ([{"a": float("nan")}], "points: point 0"),
        (["a"], "points: saw 'a'; a dictionary of parameters is needed"),
    ],
)
def test_bad_points_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        points.points_by_name(values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=0,1,2", [0, 1, 2]),
        ("arch=transformer,mamba", ["transformer", "mamba"]),
        ("lr=1e-4,0.01", [1e-4, 0.01]),
        ("batches=[16, 64],[32]", [[16, 64], [32]]),
        ("x='a,b',null,true", ["a,b", None, True]),
        ("x=", []),
    ],
)
def test_axes_in_a_shell(text, values):
    assert points.parse_axis(text) == (text.split("=")[0], values)


def test_points_in_a_file(tmp_path):
    path = tmp_path / "points.yaml"
    path.write_text("- {arch: mamba, lr: 1e-4}\n- {arch: hawk}\n")
    crossed = points.cross(points.read_points(path), launch.grid(seed=[0, 1]))
    assert crossed == [
        {"arch": "mamba", "lr": 1e-4, "seed": 0},
        {"arch": "mamba", "lr": 1e-4, "seed": 1},
        {"arch": "hawk", "seed": 0},
        {"arch": "hawk", "seed": 1},
    ]
    with pytest.raises(ValueError, match="'arch' is in the file and in the grid"):
        points.cross(crossed, launch.grid(arch=["mamba"]))
    for content in ("{}", "- 3", "[", "[]"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"points.yaml"):
            points.read_points(path)
