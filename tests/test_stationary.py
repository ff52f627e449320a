import numpy as np
import pytest
from helpers import chain_seen_through, mixing_graph

from n2n import stationary
from n2n.graph import Graph
from n2n.process import Process


@pytest.mark.parametrize(("p", "q"), [(0.2, 0.3), (0.3, 0.4), (1.0, 1.0), (1e-3, 2e-3)])
def test_a_two_state_chain(p, q):
    """(q, p) / (p + q)."""
    law = chain_seen_through([[1 - p, p], [q, 1 - q]], np.eye(2), "stationary").initial_law
    assert law.sum(1) == pytest.approx([q / (p + q), p / (p + q)], abs=1e-8)
    assert np.diag(law) == pytest.approx(law.sum(1))


def test_a_cycle_is_no_obstacle():
    """0 goes to 1 or 2 and both come back: from a uniform start plain iteration would swing for ever."""
    law = chain_seen_through([[0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]], np.eye(3), "stationary").initial_law
    assert law.sum(1) == pytest.approx([0.5, 0.25, 0.25], abs=1e-10)


@pytest.mark.parametrize("seed", range(10))
def test_a_law_is_a_law(seed):
    for initial in ("uniform", "stationary"):
        process = Process(mixing_graph(seed, initial), seed)
        assert process.initial_law.shape == tuple(node.num_states for node in process.graph.order)
        assert process.initial_law.sum() == pytest.approx(1.0, abs=1e-12)
        assert (process.initial_law >= 0).all()
    assert Process(mixing_graph(seed, "zero"), seed).initial_law is None


def test_a_process_that_forgets_too_slowly_is_refused():
    slow = chain_seen_through([[1 - 1e-7, 1e-7], [3e-7, 1 - 3e-7]], np.eye(2), "stationary")
    with pytest.raises(ValueError, match=r"still changes by .* after 20000 of them"):
        _ = slow.initial_law


def test_a_law_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(stationary, "BUDGET", 1000)
    process = Process(Graph.preset("sparse").model_copy(update={"initial": "uniform"}))
    with pytest.raises(ValueError, match="41472 joint values takes 331776 bytes, more than 1000"):
        process.sample(1, length=2)
