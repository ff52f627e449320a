"""Graphs in YAML files: what is written is read back, and errors have line and column."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from ruamel.yaml import YAML
from support.context_graphs import in_context
from support.random_graphs import random_graph

from n2n.graph.graph import Graph
from n2n.graph.node import Node

EXPERIMENT = """\
model: {name: transformer, n_layer: 2}
optim:
  lr: 1e-3
data:
  batch_size: 64
  gssm:
    - {name: Z1, state_dim: 6, kernel_type: fullrank, mode: SLOW, alpha: 1e-3, parents: null}
    - name: Z2
      state_dim: 4
      kernel_type: Product
      parents: [Z1]
    - {name: X, state_dim: 32, alpha: 0.1, parents: [Z1, Z2], observed: true}
"""


@pytest.mark.parametrize("seed", range(30))
def test_a_graph_is_the_same_after_yaml(seed, tmp_path):
    initial = ["zero", "uniform", "stationary"][seed % 3]
    graph = random_graph(seed).model_copy(
        update={"name": ["", "yes", "1e-3", "größe: 2"][seed % 4], "initial": initial}
    )
    text = graph.to_yaml(tmp_path / "g.yaml")
    assert (tmp_path / "g.yaml").read_text(encoding="utf-8") == text == graph.to_yaml()
    assert Graph.from_yaml(tmp_path / "g.yaml") == graph
    assert os.listdir(tmp_path) == ["g.yaml"]  # no temporary file is left


def test_a_pool_is_written_and_read(tmp_path):
    graph = in_context(0).model_copy(update={"pool": 64})
    assert "\npool: 64\n" in "\n" + graph.to_yaml(tmp_path / "g.yaml")
    assert Graph.from_yaml(tmp_path / "g.yaml") == graph
    assert "pool" not in in_context(0).to_yaml()


def test_a_frozen_latent_is_written_and_read(write_yaml, tmp_path):
    text = """
    initial: uniform
    nodes:
      R: {num_states: 2, stickiness: 1, initial: [0.25, 7.5e-1]}
      X: {num_states: 3, parents: [R], observed: true, recurrent: true}
    """
    graph = Graph.from_yaml(write_yaml(text))
    assert graph["R"] == Node("R", 2, stickiness=1, initial=[0.25, 0.75])
    assert "initial: [0.25, 0.75]" in graph.to_yaml(tmp_path / "g.yaml")
    assert Graph.from_yaml(tmp_path / "g.yaml") == graph


HOSTILE = ["yes", "NO", "on", "y", "~", "null", "true", "010", "1e3", "1:30", "0x10", ".inf", "2024-01-01", "1_000"]
HOSTILE += [
    "<<",
    "=",
    "-",
    "?",
    "a: b",
    "a #b",
    "#",
    " a ",
    "a\n",
    "[a",
    "{a}",
    "*a",
    "&a",
    "!a",
    "%a",
    "@",
    "`",
    "'",
    '"',
]
HOSTILE += [
    "größe",
    "\u2028",
    "\ufeff",
    "\x00",
    "\x7f",
    "\x85",
    "\U0001f600",
    "nodes",
    "gssm",
    "\\",
    "---",
    "...",
    "x" * 200,
]
WORDS = st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=100)


def assert_same_after_yaml(names: list[str], title: str, alpha: float, path: Path) -> None:
    """Check our reader, and ruamel's own readers of YAML 1.1 and 1.2."""
    latents = [Node(name=name, num_states=2, alpha=alpha) for name in names[:-1]]
    graph = Graph(nodes=[*latents, Node(name=names[-1], num_states=3, parents=names[:-1], observed=True)], name=title)
    text = graph.to_yaml(path)
    assert Graph.from_yaml(path) == graph
    for version in ("1.1", "1.2"):
        reader = YAML(typ="safe", pure=True)
        reader.version = version
        assert Graph(**reader.load(text)) == graph


def test_names_that_yaml_could_misread(tmp_path):
    for i in range(0, len(HOSTILE), 10):
        assert_same_after_yaml([*HOSTILE[i : i + 10], "X"], HOSTILE[i], 1e-7, tmp_path / "g.yaml")


@settings(deadline=None, max_examples=40, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(names=st.lists(WORDS, min_size=2, max_size=3, unique=True), title=WORDS, alpha=st.floats(1e-9, 1e9))
def test_any_name(names, title, alpha, tmp_path):
    assert_same_after_yaml(names, title, alpha, tmp_path / "g.yaml")


def test_only_fields_that_differ_from_defaults_are_written():
    graph = Graph.preset("slow_switch", alpha_x=1.0)
    assert graph.to_yaml().splitlines() == [
        "name: slow_switch",
        "nodes:",
        "- {name: Z1, num_states: 16, mode: slow, alpha: 0.03}",
        "- {name: Z2, num_states: 16, parents: [Z1], alpha: 0.03}",
        "- {name: X, num_states: 128, parents: [Z1, Z2], observed: true}",
    ]


def test_tiny_numbers_are_written_as_numbers():
    text = Graph.preset("single", alpha_z=1e-9).to_yaml()
    assert "alpha: 1.0e-09}" in text, "without the point, YAML 1.1 would read a text"


def test_an_experiment_file_in_the_older_spelling_is_read(write_yaml):
    graph = Graph.from_yaml(write_yaml(EXPERIMENT))
    assert graph == Graph(
        nodes=[
            Node(name="Z1", num_states=6, mode="slow", alpha=0.001),
            Node(name="Z2", num_states=4, kernel="product", parents=["Z1"]),
            Node(name="X", num_states=32, alpha=0.1, parents=["Z1", "Z2"], observed=True, kernel="product"),
        ]
    )


@pytest.mark.parametrize("shape", ["gssm: {}", "gssm: {{nodes: {}}}", "data: {{gssm: {{nodes: {}}}}}", "nodes: {}"])
def test_four_places_of_the_list_are_read(shape, write_yaml):
    nodes = "[{name: A, num_states: 2}, {name: X, num_states: 3, parents: [A], observed: true}]"
    assert Graph.from_yaml(write_yaml(shape.format(nodes))).num_joint_states == 2


def test_anchors_and_merges_are_read(write_yaml):
    text = (
        "like: &like {state_dim: 5, alpha: 1e-2}\n"
        "gssm:\n"
        "- {<<: *like, name: A}\n"
        "- {<<: *like, name: X, state_dim: 3, parents: [A], observed: true}\n"
    )
    graph = Graph.from_yaml(write_yaml(text))
    assert [(node.num_states, node.alpha) for node in graph.nodes] == [(5, 0.01), (3, 0.01)]


X = "- {name: X, num_states: 3, parents: [A], observed: true, kernel: full}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: [\n  {name: A", "line 2, column 11: "),
        ("nodes: &a [*b]\n", "line 1, column 12: found undefined alias"),
        ("- a\n", "line 1, column 1: no graph under 'nodes' or 'gssm'; saw ['a']"),
        ("", "line 1, column 1: no graph under 'nodes' or 'gssm'; saw nothing"),
        ("nodes: []\n---\nnodes: []\n", "line 2, column 1: but found another document"),
        (
            f"nodes:\n- {{name: A, num_states: 2}}\n{X}nodes: []",
            "line 4, column 1: the key 'nodes' is on line 1 already",
        ),
        (f"nodes:\n- name: A\n  alpha: 1\n  alpha: 2\n{X}", "line 4, column 3: the key 'alpha' is on line 3 already"),
        (
            f"model: 1\nnode:\n{X}",
            "line 1, column 1: no graph under 'nodes' or 'gssm'; saw the keys ['model', 'node']",
        ),
        (f"nodes:\n{X}intial: zero\n", "line 3, column 1: unknown key 'intial'; did you mean 'initial'?"),
        (
            f"nodes:\n- name: A\n  num_state: 2\n{X}",
            "line 3, column 3: unknown key 'num_state'; did you mean 'num_states'?",
        ),
        (f"nodes:\n- name: A\n  num_states: 0\n{X}", "line 3, column 3: num_states: saw 0; it must be greater than 0"),
        (
            f"nodes:\n- name: A\n  state_dim: two\n{X}",
            "line 3, column 3: state_dim: saw 'two'; it must be a valid integer",
        ),
        (
            f"nodes:\n- name: A\n  state_dim: 2\n  num_states: 2\n{X}",
            "line 3, column 3: state_dim: the same as num_states, which",
        ),
        (
            f"nodes:\n- {{name: A, num_states: 2, kernel_type: fulrank}}\n{X}",
            "line 2, column 28: kernel_type: saw 'fulrank'",
        ),
        (f"nodes:\n- {{name: A, num_states: 2, mode: Slo}}\n{X}", "line 2, column 28: mode: saw 'slo'"),
        (f"nodes:\n- {{name: A}}\n{X}", "line 2, column 3: num_states: missing"),
        (f"nodes:\n- A\n{X}", "line 2, column 3: saw 'A'; a node is a mapping"),
        (f"nodes:\n- {{[a]: 2}}\n{X}", "line 2, column 4: a key must be a single word"),
        ("nodes: 3\n", "line 1, column 1: a list of nodes is needed, or a mapping of them by name; saw 3"),
        ("data:\n  gssm: 3\n", "line 2, column 3: a list of nodes is needed, or a mapping that has"),
        (f"nodes:\n{X}gssm:\n{X}", "line 1, column 1: saw 2 graphs, and one is needed; Graph.from_yaml("),
        (f"pool: 8\nnodes:\n- {{name: A, num_states: 2}}\n{X}", "line 2, column 1: pool: saw 8; a pool is of kernels"),
        (f"pool: some\nnodes:\n- {{name: A, num_states: 2}}\n{X}", "line 1, column 1: pool: saw 'some'"),
        (f"initial: zer\nnodes:\n- {{name: A, num_states: 2}}\n{X}", "line 1, column 1: initial: saw 'zer'"),
        (f"nodes:\n- {{name: B, num_states: 2}}\n{X}", "line 3, column 3: X: unknown parent 'A'"),
        (
            f"nodes:\n- {{name: B, num_states: 2}}\n- {{name: B, num_states: 2}}\n{X}",
            "line 3, column 3: node 'B' is def",
        ),
        (
            f"a: 1\ngssm:\n- {{name: A, num_states: 2, parents: [A]}}\n{X}",
            "line 3, column 3: the nodes see one another",
        ),
        ("\nnodes:\n- {name: A, num_states: 2}\n", "line 2, column 1: saw 0 observed nodes"),
        ("nodes: [{name: A, num_states: 010}]", "line 1, column 19: saw 010, which is octal for some readers"),
        ("nodes: [{name: A, num_states: 1:30}]", "line 1, column 19: num_states: saw '1:30'; it must be"),
    ],
)
def test_errors_have_file_line_and_column(text, message, write_yaml):
    with pytest.raises(ValueError, match=re.escape(f"graph.yaml was refused:\n  - {message}")):
        Graph.from_yaml(write_yaml(text))


def test_errors_of_all_nodes_are_reported_together(write_yaml):
    text = "nodes:\n- {name: A, num_states: 0}\n- name: X\n  num_states: 2\n  alpha: -1\n  observd: true\n"
    with pytest.raises(
        ValueError, match=r"(?s)line 2, .*line 6, column 3: unknown key.*line 5, column 3: alpha: saw -1"
    ):
        Graph.from_yaml(write_yaml(text))


def test_bytes_that_are_not_utf_8_are_refused(tmp_path):
    (tmp_path / "g.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ValueError, match=r"g\.yaml was refused:\n.*#x00ff.*position 6"):
        Graph.from_yaml(tmp_path / "g.yaml")


def test_the_error_of_a_missing_file_has_the_nearest_name(write_yaml, tmp_path):
    write_yaml(EXPERIMENT, "sparse.yaml")
    with pytest.raises(ValueError, match=r"sprase\.yaml was refused:\n  - No such file.*did you mean 'sparse\.yaml'"):
        Graph.from_yaml(str(tmp_path / "sprase.yaml"))
    with pytest.raises(ValueError, match="No such file"):
        Graph.from_yaml(tmp_path / "nowhere" / "graph.yaml")


def test_a_failed_write_keeps_the_old_file(write_yaml, tmp_path, monkeypatch):
    path = write_yaml("old")

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no room"):
        Graph.preset("single").to_yaml(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["graph.yaml"]


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        Graph.preset("single").to_yaml(tmp_path / "nowhere" / "g.yaml")
