"""Memory of particle filters."""

import pytest
from support.context_graphs import GRAPHS

from n2n.graph.graph import Graph
from n2n.oracle.learned.filters import filters_at_once
from n2n.oracle.learned.particle_filter import bytes_of_tables, bytes_per_filter


def test_the_budget_bounds_the_filters():
    graph = Graph(nodes=GRAPHS["two latents and an edge"])
    shared, each = bytes_of_tables(graph), bytes_per_filter(graph, 100)
    for budget, filters in ((shared + each, 1), (shared + 5 * each - 1, 4), (shared + 5 * each, 5)):
        assert filters_at_once(graph, 100, budget) == filters
    with pytest.raises(ValueError, match="use fewer particles"):
        filters_at_once(graph, 100, shared + each - 1)
