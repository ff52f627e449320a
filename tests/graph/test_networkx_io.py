import json
import re
from functools import partial
from pathlib import Path

import networkx as nx
import pytest
from support.context_graphs import in_context
from support.random_graphs import random_graph

from n2n.graph.graph import Graph


def read_json_graph(path: Path) -> nx.DiGraph:
    return nx.node_link_graph(json.loads(path.read_text()))


@pytest.mark.parametrize("seed", range(30))
def test_a_graph_is_the_same_after_networkx(seed):
    initial = ["zero", "uniform", "stationary"][seed % 3]
    graph = random_graph(seed).model_copy(update={"name": f"g{seed}", "initial": initial})
    digraph = graph.networkx()
    assert Graph.from_networkx(digraph) == graph
    assert Graph.from_networkx(digraph.copy()) == graph  # the copy has the edges of a node in another order


def test_a_copy_keeps_the_order_of_parents():
    latents = [{"name": name, "num_states": 2} for name in ("A", "B", "C")]
    latents.append({"name": "D", "num_states": 2, "parents": ["C", "X", "A"]})
    x = {"name": "X", "num_states": 3, "parents": ["D", "B", "A"], "observed": True}
    graph = Graph(nodes=[*latents, x])
    copy = graph.networkx().copy()
    assert [*copy.predecessors("D")] != ["C", "X", "A"]
    assert Graph.from_networkx(copy) == graph


@pytest.mark.parametrize(
    ("suffix", "write", "read"),
    [
        ("graphml", nx.write_graphml, nx.read_graphml),
        ("ids.graphml", partial(nx.write_graphml, edge_id_from_attribute="id"), nx.read_graphml),
        ("gexf", nx.write_gexf, nx.read_gexf),
        ("gml", nx.write_gml, nx.read_gml),
        ("json", lambda g, path: path.write_text(json.dumps(nx.node_link_data(g))), read_json_graph),
    ],
)
@pytest.mark.parametrize("seed", range(6))
def test_graphs_are_the_same_after_files_of_networkx(suffix, write, read, seed, tmp_path):
    graph = random_graph(seed).model_copy(update={"name": "mine"})
    digraph = graph.networkx()
    for i, edge in enumerate(digraph.edges):
        digraph.edges[edge]["id"] = f"e{i}"
    write(digraph, tmp_path / f"g.{suffix}")
    digraph = read(tmp_path / f"g.{suffix}")
    assert all("id" in fields for _, _, fields in digraph.edges(data=True))
    assert Graph.from_networkx(digraph) == graph


@pytest.mark.parametrize(("write", "read"), [(nx.write_graphml, nx.read_graphml), (nx.write_gml, nx.read_gml)])
def test_a_pool_and_an_initial_law_are_attributes_of_the_digraph(write, read, tmp_path):
    graph = in_context(0).model_copy(update={"pool": 5, "initial": "uniform"})
    assert Graph.from_networkx(graph.networkx()) == graph
    write(graph.networkx(), tmp_path / "g")
    assert Graph.from_networkx(read(tmp_path / "g")) == graph


def test_a_graphml_file_with_edge_ids_is_read():
    text = """
    <graphml xmlns="http://graphml.graphdrawing.org/xmlns">
      <key id="k" for="node" attr.name="num_states" attr.type="int"/>
      <graph edgedefault="directed">
        <node id="A"><data key="k">3</data></node><node id="X"><data key="k">4</data></node>
        <edge id="e0" source="A" target="X"/>
      </graph>
    </graphml>"""
    assert Graph.from_networkx(nx.parse_graphml(text)) == Graph.from_networkx(
        nx.parse_graphml(text.replace('id="e0"', ""))
    )
    with pytest.raises(ValueError, match=r"saw a MultiDiGraph; .*; networkx.DiGraph\(graph\) makes one"):
        Graph.from_networkx(nx.parse_graphml(text, force_multigraph=True))


def three_states(*edges: tuple) -> nx.DiGraph:
    digraph = nx.DiGraph(edges)
    nx.set_node_attributes(digraph, 3, "num_states")
    return digraph


def test_a_digraph_with_only_sizes_is_read():
    graph = Graph.from_networkx(three_states(("B", "A"), ("A", "X"), ("B", "X"), ("X", "A", {"lag": 1})))
    assert graph.observed.name == "X"
    assert graph.observed.parents == ("A", "B")
    assert graph["A"].parents == ("B", "X")
    assert [node.num_states for node in graph.nodes] == [3, 3, 3]


def test_a_node_can_be_marked_as_observed():
    digraph = three_states(("A", "X"), ("X", "A"))
    digraph.nodes["X"]["observed"] = True
    assert Graph.from_networkx(digraph)["A"].parents == ("X",)


def changed(change) -> nx.DiGraph:
    digraph = three_states(("A", "B"), ("B", "X"))
    change(digraph)
    return digraph


def mark_with_wrong_lag(digraph: nx.DiGraph) -> None:
    digraph.nodes["X"]["observed"] = True
    digraph.edges["A", "B"]["lag"] = 1


@pytest.mark.parametrize(
    ("digraph", "message"),
    [
        (nx.path_graph(3), "saw a Graph; a networkx.DiGraph is needed"),
        (nx.MultiDiGraph([(0, 1)]), "saw a MultiDiGraph"),
        (changed(lambda g: g.nodes["A"].clear()), "node 'A': num_states: missing"),
        (changed(lambda g: g.nodes["B"].update(num_states=0, moed="slow")), "node 'B': num_states: saw 0"),
        (
            changed(lambda g: g.nodes["B"].update(moed="slow")),
            "node 'B': unknown parameter 'moed'; did you mean 'mode'",
        ),
        (changed(lambda g: g.add_node(7, num_states=2, observed=True)), "node 7: name: saw 7"),
        (
            changed(mark_with_wrong_lag),
            "edge A -> B: saw lag 1; it is 0 where A is a latent",
        ),
        (changed(lambda g: g.edges["A", "B"].update(weight=1)), "edge A -> B: unknown attribute 'weight'"),
        (changed(lambda g: g.add_node("C", num_states=2)), "2 nodes without children ['X', 'C']"),
        (changed(lambda g: g.nodes["A"].update(label="first")), "node 'A': unknown parameter 'label'"),
        (
            changed(lambda g: g.add_edge("A", "X", position=0)),
            "edge B -> X: saw position None; each edge to X needs its own integer",
        ),
        (
            three_states(("A", "X", {"position": 1}), ("B", "X", {"position": 1})),
            "edge A -> X: saw position 1; each edge to X needs its own",
        ),
        (three_states(("A", "X", {"position": "1"})), "edge A -> X: saw position '1'"),
        (changed(lambda g: g.graph.update(initial="zer")), "did you mean 'zero'"),
        (changed(lambda g: g.add_edge("B", "A")), "cycle: "),
    ],
)
def test_errors_name_node_and_field(digraph, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Graph.from_networkx(digraph)


def test_errors_of_all_nodes_are_reported_together():
    digraph = three_states(("A", "B"), ("B", "X"))
    digraph.nodes["A"]["alpha"] = -1.0
    del digraph.nodes["B"]["num_states"]
    with pytest.raises(ValueError, match=r"(?s)'A': alpha: saw -1.*'B': num_states: missing"):
        Graph.from_networkx(digraph)
