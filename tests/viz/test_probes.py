"""Figures of probes hold the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from support.figures import traces

import n2n


def probe_table() -> pd.DataFrame:
    rows = [("trained", 0, 0.5), ("trained", 1, 0.9), ("mean field", None, 0.8), ("constant", None, 0.0)]
    table = pd.DataFrame(rows, columns=["source", "layer", "r2"]).astype({"layer": "Int64"})
    table = pd.concat([table.assign(latent=latent) for latent in ("Z1", "Z2")])
    return table.assign(
        r2_low=table["r2"] - 0.1, r2_high=table["r2"] + 0.1, kl=1 - table["r2"], kl_low=0.0, kl_high=1.0
    )


def test_probe_curves_have_a_panel_for_each_latent():
    figure = n2n.viz.probe_curves(probe_table(), "r2")
    assert [note.text for note in figure.layout.annotations] == ["Z1", "Z2"]
    assert [list(trace.y) for trace in traces(figure, "trained")] == [[0.5, 0.9]] * 2
    assert [list(trace.y) for trace in traces(figure, "mean field")] == [[0.8, 0.8]] * 2  # the same for all layers
    assert [list(trace.y) for trace in traces(figure, "the belief itself")] == [[1, 1]] * 2
    assert list(figure.layout.xaxis.ticktext) == ["embedding", "block 1"]
    assert list(traces(n2n.viz.probe_curves(probe_table(), "kl"), "trained")[0].y) == [0.5, 0.1]
    with pytest.raises(ValueError, match=r"saw the sources \['mean field', 'constant'\], none of several layers"):
        n2n.viz.probe_curves(probe_table().query("layer.isna()"), "r2")
    with pytest.raises(ValueError, match="unknown measure 'R2'; did you mean 'r2'"):
        n2n.viz.probe_curves(probe_table(), "R2")


def test_certain_beliefs_are_corners_of_the_simplex():
    corners = np.eye(3)
    figure = n2n.viz.belief_simplex(corners, 2 * corners, "title")
    truth, image = (trace for trace in figure.data if trace.mode == "markers")
    assert (*truth.x, *truth.y) == pytest.approx((0, 1, 0.5, 0, 0, 0.866), abs=1e-3)
    assert list(image.x) == [0, 2, 1]
    assert list(truth.marker.color) == list(image.marker.color) == ["#0072b2", "#e69f00", "#009e73"]
    with pytest.raises(ValueError, match=r"saw shapes \(3, 2\) and \(3, 2\)"):
        n2n.viz.belief_simplex(corners[:, :2], corners[:, :2])
