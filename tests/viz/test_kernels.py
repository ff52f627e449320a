"""Heat maps of kernels: rows are joint states, and large kernels are averaged."""

import numpy as np
import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.process.process import Process


def test_rows_are_joint_states():
    process = Process(Graph.preset("sparse"), 3)
    figure = n2n.viz.draw_kernels(process)
    assert [note.text for note in figure.layout.annotations] == [
        f"<b>{name}</b>" for name in ("Z1", "Z2", "Z3", "Z4", "X")
    ]
    third = figure.data[2]
    assert np.array(third.z) == pytest.approx(process.kernel("Z3").reshape(36, 6), abs=5.1e-4)
    assert third.z[third.y.index("2 5")] == pytest.approx(process.kernel("Z3")[2, 5].tolist(), abs=5.1e-4)
    assert "Z3 at t - 1, Z1 at t: %{y}" in third.hovertemplate
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_a_large_kernel_is_averaged_with_a_note():
    process = Process(Graph.preset("slow_switch"))
    figure = n2n.viz.draw_kernels(process, ["X"])
    (trace,) = figure.data
    assert np.array(trace.z) == pytest.approx(process.kernel("X").reshape(64, 4, 64, 2).mean(axis=(1, 3)), abs=5.1e-4)
    assert "256 rows averaged to 64" in figure.layout.annotations[0].text
    assert "128 columns averaged to 64" in figure.layout.annotations[0].text
    assert "mean probability" in trace.hovertemplate
    assert (trace.y[1], trace.y[-1]) == ("0 4 to 0 7", "15 12 to 15 15")
    assert (trace.x[1], trace.x[-1]) == ("2 to 3", "126 to 127")


def test_labels_of_uneven_blocks():
    """50 symbols have 48 columns; the first two columns hold two symbols each."""
    graph = Graph.independent(4, num_states=2, vocab_size=50)
    (*_, trace) = n2n.viz.draw_kernels(Process(graph)).data
    assert trace.x[:4] == ("0 to 1", "2 to 3", "4", "5")
    assert trace.x[-1] == "49"


def test_kernels_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="saw 21 nodes; 1 to 12 are drawn at once"):
        n2n.viz.draw_kernels(Process(Graph.chain(20, 2)))
    with pytest.raises(ValueError, match="unknown node 'Z9'"):
        n2n.viz.draw_kernels(Process(Graph.chain(2)), ["Z9"])
    with pytest.raises(ValueError, match="redrawn for every sequence"):
        n2n.viz.draw_kernels(Process(Graph.chain(2, mode="context")))
