"""Layouts of experiment files and mappings: each layout holds one or both of the same two graphs."""

import json
import re

import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.yaml_marks import Page

Z = "{name: Z, state_dim: 4, alpha: 1e-3, mode: SLOW}"
X = "{name: X, state_dim: 8, parents: [Z], observed: true}"
W = "{name: W, state_dim: 3, kernel_type: FullRank, parents: null}"
Y = "{name: Y, state_dim: 5, parents: [W], observed: yes, kernel_type: null}"

SMALL = (
    Node(name="Z", num_states=4, alpha=1e-3, mode="slow", kernel="product"),
    Node(name="X", num_states=8, parents=["Z"], observed=True, kernel="product"),
)
BIG = (
    Node(name="W", num_states=3, kernel="full"),
    Node(name="Y", num_states=5, parents=["W"], observed=True, kernel="product"),
)

ONE = {
    "run_config, data, gssm, nodes": f"""
        run_config:
          model: {{name: transformer, layers: 2}}
          data: {{batch_size: 64, gssm: {{nodes: [{Z}, {X}]}}}}
        """,
    "run_config, data, gssm, a list": f"""
        run_config:
          data:
            gssm:
              - {Z}
              - {X}
          optim: {{lr: 1e-3}}
        """,
    "data, gssm": f"data: {{gssm: {{nodes: [{Z}, {X}]}}}}",
    "gssm at the top": f"gssm: [{Z}, {X}]",
    "nodes at the top": f"nodes: [{Z}, {X}]",
    "nodes at the top next to a grid": f"nodes: [{Z}, {X}]\ngrid: {{seed: [0, 1]}}",
    "nodes by name": """
        data:
          gssm:
            Z: {state_dim: 4, alpha: '1e-3', mode: slow}
            X: {state_dim: 8, parents: [Z], observed: true}
        """,
    "one list in a list": f"gssm: [[{Z}, {X}]]",
    "lists that are joined": f"gssm: {{nodes: [[{Z}], [{X}]]}}",
    "an alias in a list": f"""
        latents: &latents [{Z}]
        run_config: {{data: {{gssm: {{nodes: [*latents, {X}]}}}}}}
        """,
    "anchors between parts": f"""
        base: &base
          nodes: &nodes [{Z}, {X}]
          initial: zero
        run_config:
          data: &data {{gssm: *base}}
        eval_config:
          data: {{<<: *data, batch_size: 9}}
        """,
    "merged nodes": """
        like: &like {alpha: 1e-3, state_dim: 4}
        gssm:
          - {<<: *like, name: Z, mode: Slow}
          - {<<: *like, name: X, state_dim: 8, alpha: 1, parents: [Z], observed: on}
        """,
    "a grid next to the graph": f"""
        run_config: {{data: {{gssm: {{nodes: [{Z}, {X}]}}}}}}
        grid:
          lr: [1e-3, 1e-4]
          data: {{gssm: {{nodes: {{alpha: [0.1, 1]}}}}, seq_len: [010, 2024-01-01]}}
        """,
    "a sweep next to the graph": f"gssm: [{Z}, {X}]\nsweep: {{gssm: [a, b]}}",
    "a list of one experiment": f"- {{run_config: {{data: {{gssm: {{nodes: [{Z}, {X}]}}}}}}}}",
    "today's keys in the older layout": """
        run_config:
          data:
            gssm:
              nodes:
                - {name: Z, num_states: 4, alpha: 0.001, mode: slow}
                - {name: X, num_states: 8, parents: [Z], observed: true}
        """,
}

TWO = {
    "entries under gssm": f"data: {{gssm: {{small: {{nodes: [{Z}, {X}]}}, big: {{nodes: [{W}, {Y}]}}}}}}",
    "entries of lists under gssm": f"gssm: {{small: [{Z}, {X}], big: [{W}, {Y}]}}",
    "entries of nodes by name": """
        gssm:
          small:
            Z: {state_dim: 4, alpha: 1e-3, mode: slow}
            X: {state_dim: 8, parents: [Z], observed: true}
          big:
            W: {state_dim: 3, kernel_type: fullrank}
            Y: {state_dim: 5, parents: [W], observed: true}
        """,
    "graphs by name": f"graphs: {{small: {{nodes: [{Z}, {X}]}}, big: {{nodes: [{W}, {Y}]}}}}",
    "lists by name": f"small: [{Z}, {X}]\nbig: [{W}, {Y}]\ngrid: {{graph: [small, big], lr: 1e-3}}",
    "experiments by name": f"""
        small: {{run_config: {{data: {{gssm: {{nodes: [{Z}, {X}]}}}}}}}}
        big: {{run_config: {{data: {{gssm: {{nodes: [{W}, {Y}]}}}}}}}}
        """,
    "names in a list": f"""
        gssm:
          - {{name: small, nodes: [{Z}, {X}]}}
          - {{name: big, nodes: [{W}, {Y}]}}
        """,
    "a list of experiments": f"""
        - run_config: {{data: {{gssm: {{name: small, nodes: [{Z}, {X}]}}}}}}
        - run_config: {{data: {{gssm: {{name: big, nodes: [{W}, {Y}]}}}}}}
        """,
    "anchors between entries": f"""
        parts: &parts
          latents: &z [{Z}]
          w: &w {W}
        graphs:
          small: {{nodes: [*z, {X}]}}
          big: {{nodes: [*w, {Y}]}}
        """,
}


@pytest.mark.parametrize("layout", ONE)
def test_the_graph_is_read_from_each_layout(layout, write_yaml):
    path = write_yaml(ONE[layout])
    graph = Graph.from_yaml(path)
    assert graph.nodes == SMALL
    assert graph.name == ""
    assert {other.nodes for other in Graph.all_from_yaml(path).values()} == {SMALL}


@pytest.mark.parametrize("layout", TWO)
def test_several_graphs_are_read_by_name(layout, write_yaml):
    path = write_yaml(TWO[layout])
    assert Graph.from_yaml(path, name="small").nodes == SMALL
    assert Graph.from_yaml(path, name="big").nodes == BIG
    assert {name: (graph.name, graph.nodes) for name, graph in Graph.all_from_yaml(path).items()} == {
        "small": ("small", SMALL),
        "big": ("big", BIG),
    }
    with pytest.raises(ValueError, match=r"(?s)saw 2 graphs, and one is needed; .*line.*'small'\n.*line.*'big'"):
        Graph.from_yaml(path)
    with pytest.raises(ValueError, match="unknown graph 'smal'; did you mean 'small'"):
        Graph.from_yaml(path, name="smal")


def test_graphs_in_lists_of_lists_are_named_by_position(write_yaml):
    path = write_yaml(f"data:\n  gssm:\n    - [{Z}, {X}]\n    - - {W}\n      - {Y}\n")
    assert {name: graph.nodes for name, graph in Graph.all_from_yaml(path).items()} == {"0": SMALL, "1": BIG}
    assert Graph.from_yaml(path, name="1").nodes == BIG


def test_several_graphs_of_one_entry_are_named_by_its_key(write_yaml):
    path = write_yaml(f"a: {{gssm: [[{Z}, {X}], [{W}, {Y}]]}}\nb: {{gssm: [{W}, {Y}]}}\n")
    assert {name: graph.nodes for name, graph in Graph.all_from_yaml(path).items()} == {
        "a.0": SMALL,
        "a.1": BIG,
        "b": BIG,
    }


def test_graphs_under_the_same_key_are_named_by_their_paths(write_yaml):
    path = write_yaml(f"data: {{gssm: [{Z}, {X}]}}\nrun_config: {{data: {{gssm: [{W}, {Y}]}}}}")
    graphs = Graph.all_from_yaml(path)
    assert {name: graph.nodes for name, graph in graphs.items()} == {"data.gssm": SMALL, "run_config.data.gssm": BIG}


def test_graphs_in_a_grid_count(write_yaml):
    path = write_yaml(f"data: {{gssm: [{Z}, {X}]}}\ngrid: {{gssm: [[{Z}, {X}], [{W}, {Y}]]}}")
    assert list(Graph.all_from_yaml(path)) == ["data.gssm", "grid.0", "grid.1"]
    with pytest.raises(ValueError, match="saw 3 graphs, and one is needed"):
        Graph.from_yaml(path)


def test_an_alias_of_a_graph_is_the_same_graph(write_yaml):
    path = write_yaml(f"run_config: {{data: &d {{gssm: [{Z}, {X}]}}}}\neval_config: {{data: *d}}")
    assert Graph.from_yaml(path).nodes == SMALL


def test_other_fields_of_the_graph_are_read(write_yaml):
    graph = Graph.from_yaml(write_yaml(f"data: {{gssm: {{nodes: [{Z}, {X}], name: mine, initial: uniform}}}}"))
    assert (graph.name, graph.initial) == ("mine", "uniform")


@pytest.mark.parametrize("layout", ONE)
def test_a_mapping_is_read_as_a_file_is(layout, write_yaml):
    value = Page(write_yaml(ONE[layout]).read_text()).value
    if isinstance(value, dict):
        assert Graph(**value).nodes == SMALL
        plain = json.loads(json.dumps(value))
        assert n2n.TrainConfig(graph=plain).graph.nodes == SMALL
        assert n2n.DatasetConfig(graph=plain, folder="x").graph.nodes == SMALL


@pytest.mark.parametrize("layout", TWO)
def test_a_mapping_of_several_graphs_is_refused(layout, write_yaml):
    value = Page(write_yaml(TWO[layout]).read_text()).value
    if isinstance(value, dict):
        with pytest.raises(ValueError, match=r"(?s)saw 2 graphs, and one is needed.*'small'.*'big'"):
            Graph(**value)


def test_a_mapping_in_today_s_spelling_is_read():
    graph = Graph.preset("sparse")
    assert Graph(**graph.model_dump(mode="json")) == graph
    with pytest.raises(ValueError, match="unknown parameter 'intial'"):
        Graph(nodes=graph.nodes, intial="zero")
    with pytest.raises(ValueError, match="nodes: missing"):
        Graph(name="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run_config:\n  data:\n    gssm: small", "line 3, column 5: a list of nodes is needed, or a mapping that has"),
        ("data:\n  gssm: !graph [a]", "line 2, column 3: unknown tag '!graph'"),
        (
            "gssm: {}",
            "line 1, column 1: a list of nodes is needed, or a mapping that has one under 'nodes'; saw the keys",
        ),
        (
            "gssm: {seed: 0}",
            "line 1, column 1: a list of nodes is needed, or a mapping that has one under 'nodes'; saw",
        ),
        ("gssm: []", "line 1, column 1: saw 0 observed nodes [] among []"),
        (
            f"gssm:\n- [{Z}, {X}]\n- [{W}]\n- [{Y}]\n- [{W}]",
            "line 1, column 1: the lists in this list have [1, 0, 1, 0] observed nodes; one is needed in all together",
        ),
        (
            f"gssm:\n  nodes: [{Z}, {X}]\n  intial: zero",
            "line 3, column 3: unknown key 'intial'; did you mean 'initial'",
        ),
        (
            "gssm:\n  Z: {name: W, state_dim: 3}\n  X: {state_dim: 3, parents: [Z]}",
            "line 2, column 3: the node 'Z' is named 'W' too",
        ),
        (f"gssm:\n- {{name: Z, state_dims: 4}}\n- {X}", "line 2, column 13: unknown key 'state_dims'; did you mean"),
        (f"gssm:\n- {Z}\n- {{name: X, parents: [Z], observed: true}}", "line 3, column 3: num_states: missing"),
        ("gssm:\n  Z: {state_dim: 4}\n  X: {parents: [Z], observed: true}", "line 3, column 3: num_states: missing"),
        (
            f"data:\n  initial: uniform\n  gssm: [{Z}, {X}]",
            "line 2, column 3: next to gssm it belongs to no graph",
        ),
        (f"data:\n  gssm: [{Z}, {X}]\n  pool: 8", "line 3, column 3: next to gssm it belongs to no graph"),
        (f"gssm:\n- {Z}\n- {X}\n- 3", "line 4, column 3: saw 3; a node is a mapping"),
    ],
)
def test_errors_have_line_and_column(text, message, write_yaml):
    with pytest.raises(ValueError, match=re.escape(f"graph.yaml was refused:\n  - {message}")):
        Graph.from_yaml(write_yaml(text))


def test_a_graph_is_read_next_to_a_damaged_one(write_yaml):
    path = write_yaml(f"gssm:\n  small: [{Z}, {X}]\n  big: [{W}, {{name: Y, state_dim: 008}}]")
    assert Graph.from_yaml(path, name="small").nodes == SMALL
    with pytest.raises(ValueError, match=r"line 3, .*: saw 008"):
        Graph.from_yaml(path, name="big")
