"""Figures of token mixing and exact influence: matrices, shares by lag, and agreement of each head."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isqrt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from n2n.utils.strict import as_integer
from n2n.viz.style import (
    BASELINE,
    COLOURS,
    DASHES,
    MODEL,
    ORACLE,
    SCALE,
    SIGNED,
    TEMPLATE,
    add_band,
    figure,
    layer_name,
    plain,
    rounded,
)

if TYPE_CHECKING:
    from n2n.analysis.mixing import MixingResult

MAX_COLUMNS = 6  # of panels of heads
MAX_WEIGHTS = 5000  # in all panels together, which keeps the figure small
MAX_QUERIES, MIN_QUERIES = 24, 8  # of a panel
SATURATED = 0.98  # quantile of the weights at the end of the colour scale; larger ones share the last colour
_ABOVE, _BELOW = 90, 110  # pixels of margin
_DECADES_SHOWN = 5  # of shares by lag


def mixing_maps(
    result: MixingResult, sequence: int = 0, query: int | None = None, layer: int | None = None
) -> go.Figure:
    """Mixing of one sequence by layer and head, next to the exact influence of its tokens; queries down, keys across.

    Influence is drawn as shares of each query's total; hover text has nats. Of a long sequence, the figure shows the
    tokens up to ``query``, fewer if there are many heads; the title says which.

    Args:
        result: from ``n2n.mixing.measure_mixing``.
        sequence: index of the sequence, from 0.
        query: the last query of the figure (None: the last one of the sequence).
        layer: the block whose heads are drawn, from 1 (None: all; choose one if there are more than 50 heads).

    Raises:
        ValueError: no such sequence, query or layer.
    """
    sequence, query = result.place(sequence, query)
    layers, heads = result.mixing.shape[1:3]
    blocks = range(1, layers + 1) if layer is None else [as_integer("layer", layer, 1, layers)]
    count = min(MAX_QUERIES, max(MIN_QUERIES, isqrt(MAX_WEIGHTS // (len(blocks) * heads))), query + 1)
    part = slice(query + 1 - count, query + 1)
    labels = [_position_label(result, sequence, t) for t in range(part.start, part.stop)]
    fig, places = _panels(blocks, heads)
    influence = result.influence[sequence, part]
    total = influence.sum(1, keepdims=True)
    share = np.divide(influence, total, out=np.zeros_like(influence), where=total > 0)[:, part]
    hover = "query %{y}<br>key %{x}<br>%{customdata:.3g} nats, %{z:.3g} of this query's<extra>exact influence</extra>"
    fig.add_trace(_map(share, labels, hover, "coloraxis", _packed(influence[:, part])), 1, 1)
    mixing = result.mixing[sequence, :, :, part, part]
    for (at, head), place in places.items():
        hover = f"query %{{y}}<br>key %{{x}}<br>weight %{{z:.3g}}<extra>{_head_name(at, head)}</extra>"
        fig.add_trace(_map(mixing[at - 1, head], labels, hover, "coloraxis2"), *place)
    _mark_times(fig, part.start, count)
    tokens = "all tokens" if count == result.influence.shape[1] else f"tokens {part.start} to {query}"
    title = f"Sequence {sequence}, {tokens}: exact influence (left) and mixing (right)"
    return fig.update_layout(
        title={"text": title}, **_scales(np.abs(mixing[[at - 1 for at in blocks]]), result.signed, fig.layout.height)
    )


def _head_name(layer: int, head: int) -> str:
    return f"{layer_name(layer)}, head {head}"


def _panels(layers: Sequence[int], heads: int) -> tuple[go.Figure, dict[tuple[int, int], tuple[int, int]]]:
    """Panels for the influence and for each head, and the (row, column) of each layer (from 1) and head.

    Every layer starts a new row.
    """
    columns = min(heads, MAX_COLUMNS)
    deep = ceil(heads / columns)
    rows = len(layers) * deep
    places = {
        (layer, head): (i * deep + head // columns + 1, head % columns + 2)
        for i, layer in enumerate(layers)
        for head in range(heads)
    }
    names = {place: _head_name(*which) for which, place in places.items()}
    titles = [names.get((row + 1, column + 2), "") for row in range(rows) for column in range(columns)]
    specs = [[{"rowspan": min(rows, 2)} if row == 0 else None, *({} for _ in range(columns))] for row in range(rows)]
    fig = make_subplots(
        rows=rows,
        cols=columns + 1,
        specs=specs,
        column_widths=[2.4, *[1.0] * columns],
        horizontal_spacing=0.035,
        vertical_spacing=0.3 / rows,
        subplot_titles=["exact influence", *titles],
    )
    fig.update_annotations(font={"size": 12})
    return fig.update_layout(template=TEMPLATE, height=_ABOVE + _BELOW + 165 * max(rows, 1.5)), places


def _scales(weights: np.ndarray, signed: bool, height: float) -> dict:
    """Colour scales of shares and of weights, and margins for their colour bars."""
    largest, end = (float(np.quantile(np.append(weights[weights > 0], 0.0), level)) for level in (1.0, SATURATED))
    bar = {"thickness": 10, "outlinewidth": 0}
    inner = height - _ABOVE - _BELOW
    below = {"orientation": "h", "x": 0.13, "y": -60 / inner, "yanchor": "top", "len": 0.26}
    below["title"] = "share of a query"
    right = {"y": 1.0, "yanchor": "top", "len": 290, "lenmode": "pixels", "title": f"weight<br>(up to {largest:.2g})"}
    return {
        "margin": {"t": _ABOVE, "b": _BELOW, "r": 90},
        "coloraxis": {"colorscale": SCALE, "cmin": 0, "cmax": 1, "colorbar": {**bar, **below}},
        "coloraxis2": {
            "colorscale": SIGNED if signed else SCALE,
            "cmin": -end if signed else 0,
            "cmax": end,
            "colorbar": {**bar, **right},
        },
    }


def _map(matrix: np.ndarray, labels: list[str], hover: str, axis: str, details: np.ndarray | None = None) -> go.Heatmap:
    """The lower triangle of a matrix; the rest stays empty."""
    return go.Heatmap(
        x=labels,
        y=labels,
        z=_packed(matrix),
        customdata=details,
        coloraxis=axis,
        hovertemplate=hover,
        hoverongaps=False,
    )


def _packed(matrix: np.ndarray) -> np.ndarray:
    """The lower triangle in float32, which plotly stores in a third of the characters; the rest is nan, drawn empty."""
    return np.where(np.tri(*matrix.shape, dtype=bool), matrix, np.nan).astype(np.float32)


def _position_label(result: MixingResult, sequence: int, t: int) -> str:
    """A position with its token and the latents' states, for hover text."""
    states = ", ".join(f"{plain(name)} {path[sequence, t]}" for name, path in result.latents.items())
    return f"t = {t}: token {result.tokens[sequence, t]}" + (f" ({states})" if states else "")


def _mark_times(fig: go.Figure, start: int, count: int) -> None:
    """Label axes with positions only. Ticks are shifted: exactly on a category they would replace its hover text."""
    step = 8 if count > 16 else 4 if count > 8 else 2
    places = [i for i in range(count) if (start + i) % step == 0]
    ticks = {"tickvals": [i + 0.01 for i in places], "ticktext": [str(start + i) for i in places], "tickangle": 0}
    fig.update_xaxes(**ticks, type="category", showgrid=False, tickfont={"size": 10})
    fig.update_yaxes(**ticks, type="category", showgrid=False, tickfont={"size": 10}, autorange="reversed")
    fig.update_layout(xaxis_title={"text": "key s", "standoff": 4}, yaxis_title={"text": "query q", "standoff": 4})


def shares_by_lag(mixing: pd.DataFrame, influence: pd.DataFrame) -> go.Figure:
    """Mixing and exact influence by lag, each as shares of its own sum, with pointwise 95% bands over sequences.

    A head whose mixing is 0 everywhere has no shares and no line; the same holds for the influence.

    Args:
        mixing: from ``n2n.mixing_by_lag``.
        influence: from ``n2n.influence_by_lag``.
    """
    fig = figure("Mixing and exact influence by lag, mean and 95% band", "lag q - s, tokens", "share of all lags")
    floor = influence["share"].fillna(1.0).max() * 10.0**-_DECADES_SHOWN
    for (layer, head), rows in mixing.groupby(["layer", "head"]):
        line = {"color": COLOURS[head % len(COLOURS)], "dash": DASHES[(layer - 1) % len(DASHES)], "width": 1.5}
        _add_shares(fig, rows, _head_name(layer, head), line, floor)
    _add_shares(fig, influence, "exact influence", {"color": ORACLE, "width": 3}, floor)
    fig.update_yaxes(type="log", range=[np.log10(floor), 0.1], exponentformat="power", dtick=1)
    legend = {"orientation": "v", "x": 1.02, "y": 1.0, "yanchor": "top"}
    return fig.update_layout(legend=legend, height=450, margin={"r": 170})


def _add_shares(fig: go.Figure, rows: pd.DataFrame, name: str, line: dict, floor: float) -> None:
    half = rows["share_high"] - rows["share"]
    low, high = (rows[end].clip(lower=floor) for end in ("share_low", "share_high"))
    add_band(fig, rows["lag"], rounded(low), rounded(high), line["color"])
    fig.add_scatter(
        x=rows["lag"].to_numpy(np.int16),  # plotly stores small types compactly
        y=rows["share"].to_numpy(np.float32),
        customdata=half.to_numpy(np.float32),
        name=name,
        mode="lines",
        line=line,
        hovertemplate="lag %{x}: %{y:.3g} ± %{customdata:.2g}<extra>" + name + "</extra>",
    )


def agreement_by_head(table: pd.DataFrame) -> go.Figure:
    """Each head's rank correlation with the exact influence, and the part that position and lag do not explain.

    In the right panel the middle of the null is subtracted. Heads right of their bar agree with the influence of the
    tokens' content more than chance; heads left of it agree less than chance.

    Args:
        table: from ``n2n.head_agreement``.
    """
    names = [_head_name(row.layer, row.head) for row in table.itertuples()]
    middle = (table["null_low"] + table["null_high"]) / 2
    fig = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.06)
    for column, shift in ((1, 0.0), (2, middle)):
        _add_scores(fig, table, names, shift, column)
    lag = {"color": BASELINE, "dash": "dot", "width": 2}
    fig.add_vline(float(table["lag_score"].iloc[0]), line=lag, row=1, col=1)
    fig.add_scatter(x=[None], y=[None], mode="lines", line=lag, name="score of the lag alone", row=1, col=1)
    pairs, constant = int(table["pairs"].iloc[0]), int(table["constant"].iloc[0])
    left_out = f" ({constant:,} left out, whose keys have equal influence)" if constant else ""
    fig.update_xaxes(title_text="mean rank correlation", row=1, col=1)
    fig.update_xaxes(title_text="the same, minus the middle of the null", row=1, col=2)
    fig.update_yaxes(autorange="reversed", type="category", automargin=True)
    title = f"Agreement with the exact influence, over {pairs:,} queries{left_out}"
    return fig.update_layout(template=TEMPLATE, title={"text": title}, height=190 + 28 * len(table), margin={"t": 90})


def _add_scores(fig: go.Figure, table: pd.DataFrame, names: list[str], shift: pd.Series | float, column: int) -> None:
    """Add a dot for each head and a bar for its null, both minus ``shift``; the first column has the legend."""
    where = {"row": 1, "col": column}
    ends = zip(rounded(table["null_low"] - shift), rounded(table["null_high"] - shift), strict=True)
    null = {"mode": "lines", "line": {"color": BASELINE, "width": 9}, "opacity": 0.6, "hoverinfo": "skip"}
    entry = {"name": "95% of the null: another sequence's influence", "legendgroup": "null"}
    for i, (name, bar) in enumerate(zip(names, ends, strict=True)):
        legend = {**entry, "showlegend": column == 1 and i == 0}
        fig.add_scatter(x=list(bar), y=[name] * 2, **null, **legend, **where)
    columns = ["score", "standard_error", "null_low", "null_high", "p_value"]
    fig.add_scatter(
        x=rounded(table["score"] - shift),
        y=names,
        customdata=table[columns].map("{:.4f}".format).to_numpy(),
        mode="markers",
        marker={"color": MODEL, "size": 10},
        name="score",
        showlegend=column == 1,
        hovertemplate="%{y}<br>score %{customdata[0]} (standard error %{customdata[1]})<br>"
        "null %{customdata[2]} to %{customdata[3]}<br>one-sided p = %{customdata[4]}<extra></extra>",
        **where,
    )
