"""Figures of learning in context hold the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from support.figures import (
    assert_small,
    random_head_maps,
    random_heads,
    random_over_pools,
    random_rival_trace,
    trace,
    traces,
)

from n2n import viz
from n2n.viz.style import BASELINE, ORACLE

RIVALS = ["told oracle", "in-context oracle", "in-context unigram", "uniform"]


@pytest.fixture
def found():
    return random_rival_trace(["one", "two", "three", "four"], RIVALS)


def by_position(names: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    tables = [pd.DataFrame({"predictor": name, "position": [1.0, 2.5, 8.0], "loss": rng.random(3)}) for name in names]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(low=table["loss"] - 0.1, high=table["loss"] + 0.1)


def test_losses_by_position_are_lines_with_bands():
    learners, rivals = by_position(["mamba", "hawk"]), by_position(RIVALS)
    fig = viz.losses_by_position(learners, rivals, "title")
    for table in (learners, rivals):
        for name, rows in table.groupby("predictor"):
            np.testing.assert_allclose(trace(fig, name).y, rows["loss"], atol=1e-3)
            assert list(trace(fig, name).x) == [1.0, 2.5, 8.0]
    assert len([drawn for drawn in fig.data if drawn.fill == "toself"]) == 6
    assert [trace(fig, name).line.color for name in RIVALS] == [ORACLE, ORACLE, BASELINE, BASELINE]
    styles = {(drawn.line.color, drawn.line.dash) for drawn in fig.data if drawn.name}
    assert len(styles) == 6, "all lines differ"
    assert trace(fig, "in-context oracle").line.dash == "solid", "the best that can be learned"
    assert fig.layout.xaxis.type == "log"
    assert_small(fig)


def test_losses_over_steps_lie_among_the_levels_of_rivals(found):
    levels = {name: float(i) for i, name in enumerate(RIVALS)}
    fig = viz.losses_over_steps(found.losses, levels, "title")
    for name, level in levels.items():
        assert (list(trace(fig, name).x), list(trace(fig, name).y)) == ([0, 12], [level, level])
    for name, rows in found.losses.groupby("learner"):
        assert list(trace(fig, name).x) == [0, 4, 12]
        np.testing.assert_allclose(trace(fig, name).y, rows["loss"], atol=1e-3)


def test_distances_over_steps_have_a_panel_for_each_learner_and_mark_the_nearest(found):
    fig = viz.distances_over_steps(found.distances, "title")
    assert [text.text for text in fig.layout.annotations] == ["one", "two", "three", "four"]
    for i, learner in enumerate(["one", "two", "three", "four"]):
        rows = found.distances[found.distances["learner"] == learner]
        for name in RIVALS:
            drawn = traces(fig, name)[i]
            assert drawn.yaxis == f"y{i + 1 if i else ''}"
            np.testing.assert_allclose(drawn.y, rows.loc[rows["rival"] == name, "distance"], atol=1e-3)
        dots = traces(fig, "nearest rival")[i]
        np.testing.assert_allclose(dots.y, rows.groupby("step")["distance"].min(), atol=1e-3)
        nearest = rows.loc[rows.groupby("step")["distance"].idxmin(), "rival"]
        assert list(dots.marker.color) == [
            trace_of.line.color for trace_of in (traces(fig, name)[0] for name in nearest)
        ]
    assert [drawn.showlegend for drawn in traces(fig, "uniform")] == [True, False, False, False]
    assert_small(fig)


def test_of_equally_near_rivals_the_first_is_marked(found):
    two = found.distances[found.distances["rival"].isin(RIVALS[1:3])].assign(distance=0.5)
    two.loc[two["rival"] == RIVALS[1], "distance"] += 1e-13
    dots = traces(viz.distances_over_steps(two, "title"), "nearest rival")[0]
    assert set(dots.marker.color) == {ORACLE}


def test_a_distance_of_zero_is_drawn_at_the_foot_of_its_axis(found):
    table = found.distances.copy()
    table.loc[0, ["distance", "low"]] = 0.0
    fig = viz.distances_over_steps(table, "title")
    heights = [value for drawn in fig.data if drawn.y is not None for value in drawn.y]
    assert min(heights) > 0
    drawn = viz.losses_by_position(by_position(["mamba"]).assign(low=-0.5), by_position(RIVALS), "title")
    assert min(drawn.data[-2].y) == -0.5, "differences of losses may be negative"


def test_pools_are_in_order_with_the_unlimited_one_last():
    found = random_over_pools([16, 1, None])
    for fig, table, column, of in (
        (viz.losses_over_pools(found.losses, "title"), found.losses, "loss", "predictor"),
        (viz.distances_over_pools(found.distances, "title"), found.distances, "distance", "rival"),
    ):
        assert list(fig.layout.xaxis.ticktext) == ["1", "16", "unlimited"]
        for i, source in enumerate(["pool", "prior"]):
            for name in table[of].unique():
                rows = table[(table["source"] == source) & (table[of] == name)].set_index("pool")[column]
                drawn = traces(fig, name)[i]
                assert list(drawn.x) == [0, 1, 2]
                np.testing.assert_allclose(drawn.y, [rows[1], rows[16], rows[rows.index.isna()].iloc[0]], atol=1e-3)


def test_each_head_is_a_line_next_to_the_null_of_its_learner():
    table = random_heads(["one", "two"])
    fig = viz.heads_over_steps(table, "title")
    lines = [drawn for drawn in fig.data if drawn.customdata is not None]
    scores = table.groupby(["learner", "layer", "head"])["score"].apply(list)
    assert len(lines) == len(scores) == 8
    for drawn, expected in zip(lines, scores, strict=True):
        np.testing.assert_allclose(drawn.y, expected, atol=1e-3)
        assert list(drawn.x) == [0, 4, 12]
    colours = [drawn.line.color for drawn in lines[:4]]
    assert colours[0] == colours[1] != colours[2] == colours[3], "a colour for each block"
    bands = [drawn for drawn in fig.data if drawn.fill == "toself"]
    assert [(min(band.y), max(band.y)) for band in bands] == [(0.3, 0.5)] * 2


def test_maps_show_shares_of_each_row_and_circle_the_targets():
    maps = random_head_maps(["a head", "another head"])
    fig = viz.head_maps(maps, "title")
    drawn = [part for part in fig.data if part.type == "heatmap"]
    for part, mixing in zip(drawn, maps.mixing.values(), strict=True):
        for t, row in enumerate(part.z):
            np.testing.assert_allclose(row[: t + 1], abs(mixing[t, : t + 1]) / abs(mixing[t]).sum(), atol=1e-3)
            assert all(value is None or np.isnan(value) for value in row[t + 1 :])
    circles = [part for part in fig.data if part.type == "scatter"]
    for part in circles:
        assert list(zip(part.y, part.x, strict=True)) == [tuple(pair) for pair in np.argwhere(maps.targets)]
    assert list(fig.layout.xaxis.ticktext) == ["0", "1", "0", "2", "1"]


def test_a_head_that_mixes_nothing_has_shares_of_zero():
    maps = random_head_maps(["a head"])._replace(mixing={"a head": np.zeros((5, 5))})
    assert viz.head_maps(maps, "title").data[0].z[2][:3] == [0.0, 0.0, 0.0]
