"""Figures of learning in context: losses beside those of rivals, distances from them, induction heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from n2n.viz.style import (
    BASELINE,
    DASHES,
    MODEL,
    NATS,
    ORACLE,
    PINK,
    SCALE,
    TEMPLATE,
    add_band,
    ends,
    faint,
    figure,
    layer_name,
    lines,
    log_foot,
    plain,
    rounded,
)

if TYPE_CHECKING:
    from n2n.analysis.in_context import HeadMaps

LOSS, DISTANCE = f"loss, {NATS}", f"distance, {NATS}"
COLUMNS = 3  # panels beside each other
_ABOVE, _BELOW = 120, 50  # pixels of margin; above a figure are its title and a legend of up to two rows
_BRIGHTEST = 0.5  # share of a row that has the last colour, and so have larger ones
_TICKS = [digit * 10.0**power for power in range(-6, 6) for digit in (1, 2, 5)]
_LOG = {"type": "log", "tickvals": _TICKS, "ticktext": [f"{tick:,g}" for tick in _TICKS]}
_POOL_LINES = {
    "learner": {"color": MODEL, "width": 2},
    "oracle of the pool": {"color": PINK, "width": 2, "dash": "dash"},
    "oracle of the prior": {"color": ORACLE, "width": 2},
}


def losses_by_position(learners: pd.DataFrame, rivals: pd.DataFrame, title: str, label: str = LOSS) -> go.Figure:
    """Mean loss of learners and rivals by position of the predicted token, on a logarithmic axis, with 95% bands.

    Args:
        learners, rivals: from ``n2n.rivals.loss_by_position``.
        title: title of the figure.
        label: label of the y-axis, if the tables have something else than losses.
    """
    fig = _below_a_legend(figure(title, "position t of the predicted token", label))
    names = learners["predictor"].unique()
    styles = {**_rival_lines(rivals["predictor"]), **dict(zip(names, lines(len(names)), strict=True))}
    for table in (rivals, learners):
        for name, rows in _by(table, "predictor"):
            _add_line(
                fig, rows, "position", "loss", name, styles[name], f"{plain(name)}, position %{{x:.3g}}<br>%{{y:.3f}}"
            )
    return fig.update_xaxes(**_LOG)


def losses_over_steps(losses: pd.DataFrame, rivals: Mapping[str, float], title: str) -> go.Figure:
    """Mean loss of learners by training step with 95% bands, and the levels of rivals on the same sequences.

    Args:
        losses: ``losses`` of ``n2n.in_context.trace``.
        rivals: the mean loss of each rival, nats per token.
        title: title of the figure.
    """
    fig = _below_a_legend(figure(title, "training step", LOSS))
    steps = [int(losses["step"].min()), int(losses["step"].max())]
    for name, line in _rival_lines(rivals).items():
        hover = f"{plain(name)}: {rivals[name]:.4f} {NATS}<extra></extra>"
        level = {"x": steps, "y": [float(rivals[name])] * 2, "hovertemplate": hover}
        fig.add_scatter(**level, mode="lines", name=plain(name), line=line)
    for (name, rows), line in zip(_by(losses, "learner"), lines(losses["learner"].nunique()), strict=True):
        _add_line(fig, rows, "step", "loss", name, line, f"{plain(name)}, step %{{x}}<br>%{{y:.4f}}")
    return fig


def distances_over_steps(distances: pd.DataFrame, title: str) -> go.Figure:
    """Distance of each learner from each rival by training step, on logarithmic axes, with 95% bands.

    A panel is a learner. A dot marks the nearest rival at each checkpoint, the first one if several are equally near.

    Args:
        distances: ``distances`` of ``n2n.in_context.trace``.
        title: title of the figure.
    """
    distances, styles = _with_logarithms(distances), _rival_lines(distances["rival"])
    fig = _panels(list(dict.fromkeys(distances["learner"])), title, "training step", DISTANCE, shared_yaxes="all")
    for i, (name, rows) in enumerate(_by(distances, "learner")):
        where = _place(i)
        for rival, part in _by(rows, "rival"):
            hover = f"{plain(name)}, from the {plain(rival)}<br>step %{{x}}: %{{y:.3f}}"
            _add_line(fig, part, "step", "distance", rival, styles[rival], hover, where)
        near = rows.loc[rows["distance"].round(9).groupby(rows["step"], sort=False).idxmin()]
        colours = [styles[rival]["color"] for rival in near["rival"]]
        marked = {"x": near["step"].tolist(), "y": rounded(near["distance"]), "hoverinfo": "skip"}
        marker = {"mode": "markers", "marker": {"color": colours, "size": 7}}
        fig.add_scatter(**marked, **marker, name="nearest rival", showlegend=i == 0, **where)
    return fig.update_yaxes(**_LOG)


def losses_over_pools(losses: pd.DataFrame, title: str) -> go.Figure:
    """Mean loss of learners by the size of the pool that they were trained on, beside the oracles.

    The left panel has fresh sequences of that pool, the right one has sequences with new kernels.

    Args:
        losses: ``losses`` of ``n2n.in_context.over_pools``.
        title: title of the figure.
    """
    return _over_pools(losses, "loss", "predictor", LOSS, title)


def distances_over_pools(distances: pd.DataFrame, title: str) -> go.Figure:
    """Distance of learners from both oracles by the size of the pool that they were trained on, on logarithmic axes.

    Args:
        distances: ``distances`` of ``n2n.in_context.over_pools``.
        title: title of the figure.
    """
    return _over_pools(_with_logarithms(distances), "distance", "rival", DISTANCE, title).update_yaxes(**_LOG)


def heads_over_steps(heads: pd.DataFrame, title: str) -> go.Figure:
    """Induction score of each head by training step; a panel is a learner, and a colour is a block.

    The grey band contains 95% of the null of every head of the learner: its scores with targets of other sequences.

    Args:
        heads: from ``n2n.in_context.heads``.
        title: title of the figure.
    """
    learners, blocks = list(dict.fromkeys(heads["learner"])), sorted(heads["layer"].unique())
    fig = _panels(learners, title, "training step", "induction score", shared_yaxes="all")
    styles = dict(zip(blocks, lines(len(blocks)), strict=True))
    for i, (name, rows) in enumerate(_by(heads, "learner")):
        null = rows.groupby("step").agg(low=("null_low", "min"), high=("null_high", "max"))
        add_band(fig, null.index, rounded(null["low"]), rounded(null["high"]), BASELINE, **_place(i))
        for (layer, head), part in rows.groupby(["layer", "head"]):
            _add_head(fig, part.sort_values("step"), f"{name}, {layer_name(layer)}, head {head}", styles[layer], i)
    for layer, style in styles.items():
        fig.add_scatter(x=[None], y=[None], mode="lines", line=style, name=f"heads of {layer_name(layer)}")
    band = {"color": faint(BASELINE), "size": 12, "symbol": "square"}
    fig.add_scatter(x=[None], y=[None], mode="markers", marker=band, name="95% of the null")
    return fig.update_yaxes(range=[0, 1.02])


def _add_head(fig: go.Figure, rows: pd.DataFrame, name: str, line: dict, panel: int) -> None:
    columns = rows[["standard_error", "null_low", "null_high"]].to_numpy().round(4).tolist()
    hover = (
        f"{plain(name)}<br>step %{{x}}: %{{y:.3f}} (standard error %{{customdata[0]}})<br>"
        "null %{customdata[1]} to %{customdata[2]}<extra></extra>"
    )
    points = {"x": rows["step"].tolist(), "y": rounded(rows["score"]), "customdata": columns, "hovertemplate": hover}
    fig.add_scatter(**points, mode="lines+markers", marker_size=4, line=line, showlegend=False, **_place(panel))


def head_maps(maps: HeadMaps, title: str) -> go.Figure:
    """Mixing of one head of each learner on one sequence, queries down and keys across.

    Absolute weights are divided by the sum of their row; shares from 0.5 on have one colour. Circles mark the keys that
    an induction head would read.

    Args:
        maps: from ``n2n.in_context.clearest_heads``.
        title: title of the figure.
    """
    fig = _panels(list(maps.mixing), title, "key", "query")
    queries, keys = maps.targets.nonzero()
    circles = {"x": keys.tolist(), "y": queries.tolist(), "mode": "markers", "hoverinfo": "skip"}
    marker = {"symbol": "circle-open", "size": 5, "color": ORACLE, "line": {"width": 1}}
    for i, (name, mixing) in enumerate(maps.mixing.items()):
        weights = np.abs(mixing)
        shares = weights / np.maximum(weights.sum(1, keepdims=True), np.finfo(float).tiny)
        z = [rounded(row, 3) for row in np.where(np.tri(len(shares), dtype=bool), shares, np.nan)]
        hover = f"{plain(name)}<br>query %{{y}}, key %{{x}}: share %{{z:.3f}}<extra></extra>"
        fig.add_heatmap(z=z, coloraxis="coloraxis", hovertemplate=hover, hoverongaps=False, **_place(i))
        legend = {"name": "followed the query's symbol before", "showlegend": i == 0}
        fig.add_scatter(**circles, marker=marker, **legend, **_place(i))
    texts = {"tickvals": list(range(len(maps.tokens))), "ticktext": [str(token) for token in maps.tokens]}
    axes = {"showgrid": False, "tickfont_size": 10, "ticks": "", **texts}
    fig.update_xaxes(tickangle=0, **axes).update_yaxes(autorange="reversed", **axes)
    colours = {"colorscale": SCALE, "cmin": 0, "cmax": _BRIGHTEST, "colorbar": {"title": "share", "thickness": 12}}
    return fig.update_layout(coloraxis=colours)


def _with_logarithms(distances: pd.DataFrame) -> pd.DataFrame:
    """The table with distances of 0 raised to the foot of the axis."""
    columns, foot = ["distance", "low", "high"], log_foot(distances["distance"])
    return distances.assign(**distances[columns].clip(lower=foot))


def _over_pools(table: pd.DataFrame, value: str, of: str, label: str, title: str) -> go.Figure:
    names = {"pool": "fresh sequences of the pool", "prior": "sequences with new kernels"}
    table = table.assign(panel=table["source"].map(names))
    pools = sorted(table["pool"].dropna().unique()) + ([None] if table["pool"].isna().any() else [])
    texts = ["unlimited" if pool is None else f"{pool:,}" for pool in pools]
    fig = _panels(list(dict.fromkeys(table["panel"])), title, "kernel sets in the pool", label, shared_yaxes="all")
    for i, (name, rows) in enumerate(_by(table, "panel")):
        for predictor, part in _by(rows, of):
            sizes = ["unlimited" if pd.isna(pool) else f"{pool:,}" for pool in part["pool"]]
            part = part.assign(place=[texts.index(size) for size in sizes]).sort_values("place")
            hover = f"{plain(predictor)}, {plain(name)}<br>%{{y:.3f}}"
            _add_line(fig, part, "place", value, predictor, _POOL_LINES[predictor], hover, _place(i))
    return fig.update_xaxes(tickvals=list(range(len(texts))), ticktext=texts)


def _by(table: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each name in a column, in the order in which names first appear."""
    return ((str(name), rows) for name, rows in table.groupby(column, sort=False))


def _rival_lines(names: Sequence[str] | Mapping[str, float] | pd.Series) -> dict[str, dict]:
    """A line for each rival: oracles are orange and the others grey, each with a dash of its own."""
    distinct = list(dict.fromkeys(names))
    oracles = [name for name in distinct if "oracle" in name]
    others = [name for name in distinct if name not in oracles]
    # The last oracle knows least, so it is the best that a learner can reach, and its line is solid.
    solid_last = {name: {"color": ORACLE, "dash": DASHES[i % 4]} for i, name in enumerate(reversed(oracles))}
    grey = {name: {"color": BASELINE, "dash": DASHES[(i + 1) % 4]} for i, name in enumerate(others)}
    return {name: {"width": 2, **{**solid_last, **grey}[name]} for name in distinct}


def _add_line(
    fig: go.Figure,
    rows: pd.DataFrame,
    x: str,
    y: str,
    name: str,
    line: dict,
    hover: str,
    where: Mapping[str, int] | None = None,
) -> None:
    """Add a line with its 95% band; the first panel has the legend."""
    where = where or {}
    add_band(fig, rows[x], rounded(rows["low"]), rounded(rows["high"]), line["color"], **where)
    fig.add_scatter(
        x=rows[x].tolist(),
        y=rounded(rows[y]),
        customdata=rows[["low", "high"]].to_numpy(float).round(4).tolist(),
        mode="lines",
        name=plain(name),
        line=line,
        legendgroup=name,
        showlegend=where in ({}, {"row": 1, "col": 1}),
        hovertemplate=f"{hover} {ends()}",
        **where,
    )


def _panels(names: Sequence[str], title: str, x: str, y: str, **options: str) -> go.Figure:
    """An empty figure with a panel for each name, up to three beside each other."""
    across, down = min(len(names), COLUMNS), -(-len(names) // COLUMNS)
    height = (280 if across == COLUMNS else 340) * down
    spacing = {"horizontal_spacing": 0.15 / across, "vertical_spacing": 80 / height}
    fig = make_subplots(down, across, subplot_titles=[plain(name) for name in names], **spacing, **options)
    for i in range(len(names)):
        lowest = i + across >= len(names)
        fig.update_xaxes(title_text=plain(x) if lowest else None, **_place(i))
        fig.update_yaxes(title_text=plain(y) if i % across == 0 else None, **_place(i))
    fig.update_layout(template=TEMPLATE, title=plain(title))
    return _below_a_legend(fig, height, 25).update_annotations(font_size=13)


def _below_a_legend(fig: go.Figure, height: int = 380, headings: int = 5) -> go.Figure:
    """Give a plot this height, and room above it for the title, the legend and the panels' headings."""
    whole = height + _ABOVE + _BELOW
    title = {"yref": "container", "y": 1 - 15 / whole, "yanchor": "top"}
    margin = {"t": _ABOVE, "b": _BELOW}
    return fig.update_layout(height=whole, title=title, legend_y=1 + headings / height, margin=margin)


def _place(index: int) -> dict[str, int]:
    """Arguments that put a trace or an axis in a panel."""
    return {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
