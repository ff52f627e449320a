"""Nodes in the older spelling, and their default kernel."""

import json
import re

import pytest
from support.random_graphs import random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.yaml_marks import Page


@pytest.mark.parametrize("seed", range(12))
def test_any_graph_is_read_from_the_older_spelling(seed, write_yaml):
    graph = random_graph(seed)
    older = []
    for node in graph.model_dump(mode="json", exclude_defaults=True)["nodes"]:
        kernel = node.pop("kernel", "full")
        kernel_type = {"kernel_type": ["fullrank", "FullRank", "full"][seed % 3]} if kernel == "full" else {}
        older.append({"state_dim": node.pop("num_states"), **node, **kernel_type, "parents": node.get("parents")})
    older = [{**node, "mode": node["mode"].upper()} if "mode" in node else node for node in older]
    lists = [older, [older[:1], older[1:]], {node["name"]: node for node in older}][seed % 3]
    value = {"run_config": {"seed": seed, "data": {"gssm": [lists, {"nodes": lists}][seed % 2]}}, "grid": {"lr": [1]}}
    assert Graph.from_yaml(write_yaml(json.dumps(value))) == graph  # JSON is YAML
    assert n2n.TrainConfig(graph=value).graph == graph


def kernels(nodes: str) -> list[str]:
    return [node.kernel for node in Graph(**Page(f"nodes: [{nodes}]").value).nodes]


OBSERVED = "name: X, parents: [A], observed: true"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (f"{{name: A, num_states: 2}}, {{{OBSERVED}, num_states: 2}}", ["full", "full"]),
        (f"{{name: A, state_dim: 2}}, {{{OBSERVED}, state_dim: 2}}", ["product", "product"]),
        (f"{{name: A, state_dim: 2}}, {{{OBSERVED}, num_states: 2, kernel: full}}", ["product", "full"]),
        (f"{{name: A, num_states: 2, kernel: full}}, {{{OBSERVED}, state_dim: 2}}", ["full", "product"]),
        (f"{{name: A, num_states: 2, kernel_type: fullrank}}, {{{OBSERVED}, state_dim: 2}}", ["full", "product"]),
        (f"{{name: A, state_dim: 2, kernel_type: FULL}}, {{{OBSERVED}, state_dim: 2, kernel: full}}", ["full", "full"]),
    ],
)
def test_the_default_kernel_is_a_product_in_the_older_spelling(nodes, expected, write_yaml):
    assert kernels(nodes) == expected
    assert [node.kernel for node in Graph.from_yaml(write_yaml(f"nodes: [{nodes}]")).nodes] == expected


UNCLEAR = "kernel: missing, and not clear: left out, it is 'full' in today's spelling and 'product' in the older one"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"nodes:\n- {{name: A, state_dim: 2}}\n- {{{OBSERVED}, num_states: 2}}", 3),
        (
            "graphs:\n  small:\n    nodes:\n    - {name: A, num_states: 2, kernel: full}\n"
            f"    - {{{OBSERVED}, num_states: 2}}",
            5,
        ),
    ],
)
def test_an_ambiguous_default_kernel_is_refused(text, line, write_yaml):
    with pytest.raises(ValueError, match=re.escape(UNCLEAR)) as error:
        Graph.from_yaml(write_yaml(text))
    assert f"line {line}, column " in str(error.value)
    if text.startswith("nodes"):
        with pytest.raises(ValueError, match=re.escape(f"nodes.1: {UNCLEAR}")):
            Graph(**Page(text).value)
