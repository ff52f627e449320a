"""The number of hypotheses that memory and time allow."""

import pytest
from support.context_graphs import TINY, latent, observed

from n2n.graph.graph import Graph
from n2n.oracle.compiled.hypotheses import bytes_per_hypothesis
from n2n.oracle.compiled.particle_program import bytes_of_program
from n2n.oracle.learned.exact import affordable_hypotheses

LARGE = Graph(nodes=[latent("A", num_states=2**10, mode="default"), observed("A", num_states=4)])


@pytest.mark.parametrize(
    ("graph", "limit", "budget", "expected"),
    [
        (TINY, 100, 2**30, 100),
        (TINY, 2**24, bytes_of_program(TINY) + 50 * bytes_per_hypothesis(TINY, 20), 50),
        (TINY, 100, 10, 0),
        (LARGE, 2**16, 2**30, 2**24 // (5 * 2**10)),
    ],
)
def test_the_number_of_hypotheses(graph, limit, budget, expected):
    assert affordable_hypotheses(graph, 20, limit, budget) == expected
