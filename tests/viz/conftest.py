"""Shared by the tests of figures."""

import pytest

from n2n import models
from n2n.analysis.mixing import MixingResult, measure_mixing
from n2n.graph.graph import Graph
from n2n.process.process import Process


@pytest.fixture(scope="session", params=["transformer", "mamba", "mingru"])
def result(request) -> MixingResult:
    """The mixing of an untrained model, with weights of both signs for mamba."""
    model = models.build(request.param, vocab_size=32, dim=16, layers=2, heads=2)
    return measure_mixing(Process(Graph.preset("four_chains")), model, 6, 33)
