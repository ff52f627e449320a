"""How hard processes are: over concentrations, brought to one entropy, and beside what compressors make of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from n2n.utils.statistics import Z95
from n2n.viz.style import ACCENT, BASELINE, MODEL, NATS, ORACLE, SCALE, TEXT, bars, faint, figure, lines, plain, rounded

if TYPE_CHECKING:
    from n2n.difficulty.calibration import EqualDifficulty

SYMBOLS = ("circle", "diamond", "square", "cross")  # of compressors
DECADES = {"type": "log", "dtick": 1, "exponentformat": "power"}


def phase_diagram(grid: pd.DataFrame) -> go.Figure:
    """The oracle's mean loss over the two concentrations, from ``n2n.entropy_grid``; what was measured is dotted."""
    z, x = (np.unique(grid[name]) for name in ("alpha_z", "alpha_x"))
    surface = grid.pivot_table(index="alpha_z", columns="alpha_x", values="entropy").to_numpy()
    most = float(np.log(grid.attrs["vocab_size"]))
    title = (
        f"{grid.attrs['graph']}: the oracle's mean loss, {grid['processes'].iloc[0]} processes a point, "
        f"standard error at most {grid['standard_error'].max():.2g}"
    )
    fig = figure(title, "concentration of the observed node, alpha_x", "concentration of the latents, alpha_z")
    ticks = [tick for tick in np.arange(0, most, 0.5).round(1) if most - tick > 0.25]
    bar = {"title": {"text": NATS, "side": "right"}, "tickvals": [*ticks, most], "outlinewidth": 0}
    bar["ticktext"] = [*(f"{tick:g}" for tick in ticks), f"log V = {most:.2f}"]
    levels = {"start": 0.5, "end": 0.5 * (most // 0.5), "size": 0.5, "coloring": "heatmap", "showlabels": True}
    shown = {"x": x.tolist(), "y": z.tolist(), "z": [rounded(row, 6) for row in surface], "zmin": 0.0, "zmax": most}
    fig.add_contour(**shown, colorscale=SCALE, colorbar=bar, contours=levels, hoverinfo="skip", line={"width": 1})
    _add_measured(fig, grid)
    if grid.attrs["given"] is not None:
        _add_given(fig, *grid.attrs["given"])
    fig.update_xaxes(**DECADES)
    fig.update_yaxes(**DECADES)
    fig.update_layout(height=460)
    return fig


def _add_measured(fig: go.Figure, grid: pd.DataFrame) -> None:
    hover = (
        "alpha_x = %{x:.3g}, alpha_z = %{y:.3g}<br>%{customdata[0]:.3f} ± %{customdata[1]:.3f} nats per token"
        " (standard error)<br>processes from %{customdata[2]:.3f} to %{customdata[3]:.3f}<extra></extra>"
    )
    told = [rounded(row, 6) for row in grid[["entropy", "standard_error", "lowest", "highest"]].to_numpy()]
    marker = {"size": 7, "color": "rgba(255, 255, 255, 0.8)", "line": {"color": TEXT, "width": 1}}
    points = {"x": grid["alpha_x"].tolist(), "y": grid["alpha_z"].tolist(), "customdata": told}
    fig.add_scatter(**points, name="measured", mode="markers", marker=marker, hovertemplate=hover)


def _add_given(fig: go.Figure, alpha_z: float, alpha_x: float) -> None:
    marker = {"size": 17, "symbol": "star", "color": ACCENT, "line": {"color": "white", "width": 1}}
    hover = "the graph as given<br>alpha_x = %{x:.3g}, alpha_z = %{y:.3g}<extra></extra>"
    name = "the graph as given"
    fig.add_scatter(x=[alpha_x], y=[alpha_z], name=name, mode="markers", marker=marker, hovertemplate=hover)


def equal_difficulty(found: EqualDifficulty) -> go.Figure:
    """Graphs as given, calibrated, and judged on fresh processes, from ``n2n.equal_difficulty``; the target's line."""
    table, names = found.table, found.table.index.astype(str).tolist()
    titles = [plain(name) for name in names]
    rows = list(range(len(names)))
    title = f"Brought to {found.target:g} nats per token by alpha_x, on {found.searched} processes of each graph"
    fig = figure(title, f"the oracle's mean loss, {NATS}", "")
    fig.add_vline(found.target, line={"color": BASELINE, "dash": "dot", "width": 2})
    fig.add_scatter(
        x=[None], y=[None], name="target", mode="lines", line={"color": BASELINE, "dash": "dot", "width": 2}
    )
    marker = {"color": BASELINE, "size": 10, "symbol": "circle-open", "line": {"width": 2}}
    hover = "%{customdata[0]} as given: %{x:.3f} nats per token<br>alpha_x = %{customdata[1]:.3g}<extra></extra>"
    told = list(zip(titles, rounded(table["alpha given"]), strict=True))
    given = {"x": rounded(table["entropy given"]), "y": rows, "customdata": told}
    fig.add_scatter(**given, name="as given", mode="markers", marker=marker, hovertemplate=hover)
    half = rounded(table["high"] - table["entropy"])
    told = list(zip(half, rounded(table["alpha"]), titles, strict=True))
    hover = "%{customdata[2]} calibrated: %{x:.3f} ± %{customdata[0]:.3f} nats per token<br>"
    fig.add_scatter(
        x=rounded(table["entropy"]),
        y=rows,
        error_x={"type": "data", "array": half, "thickness": 2},
        customdata=told,
        name="calibrated, 95% over processes",
        mode="markers",
        marker={"color": MODEL, "size": 10},
        hovertemplate=hover + "alpha_x = %{customdata[1]:.4g}<extra></extra>",
    )
    _add_processes(fig, found, names)
    fig.update_yaxes(range=[len(names) - 0.4, -0.6], tickvals=rows, ticktext=titles, automargin=True)
    fig.update_layout(height=230 + 80 * len(names), xaxis={"rangemode": "tozero"})
    fig.update_layout(margin={"t": 90}, title={"y": 0.97, "yanchor": "top"})  # the legend takes two lines
    return fig


def _add_processes(fig: go.Figure, found: EqualDifficulty, names: list[str]) -> None:
    """Those that the search did not see, a little below their graph's line, with their mean and its 95% interval."""
    each = found.processes
    told = [[plain(name), seed] for name, seed in zip(each["graph"], each["seed"], strict=True)]
    marker = {"color": ACCENT, "size": 7, "opacity": 0.7}
    hover = "%{customdata[0]}, seed %{customdata[1]}: %{x:.3f} nats per token<extra></extra>"
    shift = [names.index(name) + 0.25 for name in each["graph"]]
    points = {"x": rounded(each["entropy"]), "y": shift, "customdata": told}
    fig.add_scatter(**points, name="fresh processes", mode="markers", marker=marker, hovertemplate=hover)
    bar = {"symbol": "line-ns-open", "size": 20, "color": ACCENT, "line": {"width": 3}}
    hover = (
        "%{customdata[0]}, fresh processes: mean %{x:.3f}, 95% from %{customdata[1]:.3f} to %{customdata[2]:.3f}"
        " nats per token<extra></extra>"
    )
    mean, low, high = (found.table[name] for name in ("fresh", "fresh_low", "fresh_high"))
    error = bars(rounded(high - mean), rounded(mean - low), 2)
    told = list(zip(map(plain, names), rounded(low), rounded(high), strict=True))
    means = {"x": rounded(mean), "y": [i + 0.25 for i in range(len(names))], "error_x": error}
    name = "their mean, 95% over processes"
    fig.add_scatter(**means, customdata=told, name=name, mode="markers", marker=bar, hovertemplate=hover)


def compression_against_entropy(table: pd.DataFrame) -> go.Figure:
    """Compressed size against the exact entropy at the most tokens, from ``n2n.compression_table``."""
    most = table[table["tokens"] == table["tokens"].max()]
    title = f"Compressors on {most['tokens'].iloc[0]:,} tokens against the exact entropy"
    fig = figure(title, f"exact entropy, {NATS}", f"compressed size, {NATS}")
    top = 1.08 * float(most["highest"].max())
    oracle = {"name": "oracle: size = entropy", "mode": "lines", "line": {"color": ORACLE, "width": 2}}
    fig.add_scatter(x=[0, top], y=[0, top], **oracle, hoverinfo="skip")
    for name, style, symbol, rows in _series(most):
        hover = f"{name}<br>entropy %{{x:.3f}}, compressed %{{y:.3f}} nats per token<extra></extra>"
        marker = {"color": style["color"], "size": 11, "symbol": symbol}
        error_x = {"type": "data", "array": rounded(Z95 * rows["entropy_se"])}
        points = {"x": rounded(rows["entropy"]), "y": rounded(rows["nats"]), "error_y": _range(rows)}
        fig.add_scatter(**points, error_x=error_x, name=name, mode="markers", marker=marker, hovertemplate=hover)
    fig.update_xaxes(range=[0, 1.15 * float(most["entropy"].max())])
    fig.update_yaxes(range=[0, top])
    _legend_aside(fig)
    return fig


def compression_by_tokens(table: pd.DataFrame) -> go.Figure:
    """What compressors need beyond the exact entropy, as they see more tokens, from ``n2n.compression_table``."""
    title = f"What compressors need beyond the entropy, mean and range of {table['samples'].iloc[0]} samples"
    fig = figure(title, "tokens compressed", f"compressed size less entropy, {NATS}")
    fig.add_hline(0.0, line={"color": ORACLE, "width": 2})
    fig.add_scatter(x=[None], y=[None], name="oracle", mode="lines", line={"color": ORACLE, "width": 2})
    for name, style, symbol, rows in _series(table):
        hover = f"{name}<br>%{{x:,}} tokens: %{{y:.3f}} nats per token above the entropy<extra></extra>"
        points = {"x": rows["tokens"].tolist(), "y": rounded(rows["nats"] - rows["entropy"]), "error_y": _range(rows)}
        marks = {"mode": "lines+markers", "line": style, "marker": {"symbol": symbol, "size": 8}}
        fig.add_scatter(**points, name=name, **marks, hovertemplate=hover)
    fig.update_xaxes(**DECADES)
    fig.update_yaxes(rangemode="tozero")
    _legend_aside(fig)
    return fig


def _series(table: pd.DataFrame) -> Iterator[tuple[str, dict, str, pd.DataFrame]]:
    """A colour for each graph; a symbol and a dash for each compressor."""
    graphs, compressors = table["graph"].unique(), table["compressor"].unique()
    styles, dashes = dict(zip(graphs, lines(len(graphs)), strict=True)), ("solid", "dot", "dash", "dashdot")
    for graph, (k, compressor) in product(graphs, enumerate(compressors)):
        rows = table[(table["graph"] == graph) & (table["compressor"] == compressor)]
        yield plain(f"{graph}, {compressor}"), {**styles[graph], "dash": dashes[k % 4]}, SYMBOLS[k % 4], rows


def _range(rows: pd.DataFrame) -> dict:
    return bars(rounded(rows["highest"] - rows["nats"]), rounded(rows["nats"] - rows["lowest"]))


def _legend_aside(fig: go.Figure) -> None:
    fig.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1.0, "yanchor": "top"}, height=420)


def draw_losses(table: pd.DataFrame) -> go.Figure:
    """The best loss at each stage of knowledge, of ``n2n.best_losses``, with 95% intervals; the oracle's is the last.

    A bar spans what a predictor gains on the one above it: the last bar is what is left to a learner that looks further
    back than one token, or knows where in the sequence it is, as the bigram does not.
    """
    fig = figure(
        "The best loss of predictors that know more and more (bars: the gain on the row above)", f"loss, {NATS}", ""
    )
    losses, halves = table["loss"].tolist(), table["half"].tolist()
    told = [_told(loss, half) for loss, half in zip(losses, halves, strict=True)]
    names = [f"{plain(name)}<br><b>{value}</b>" for name, value in zip(table.index, told, strict=True)]
    before = [losses[0], *losses[:-1]]
    gains = [above - loss for above, loss in zip(before, losses, strict=True)]
    colours = [*[BASELINE] * (len(names) - 1), ORACLE]
    fig.add_bar(
        x=gains,
        base=losses,
        y=names,
        orientation="h",
        width=0.5,
        marker={"color": [faint(colour) for colour in colours], "line": {"width": 0}},
        text=[f"{-gain:+.2f}" if gain else "" for gain in gains],
        textposition="inside",
        insidetextanchor="middle",
        textfont={"color": TEXT},
        hovertemplate="%{y}<br>%{x:.3f} less than the row above<extra></extra>",
    )
    fig.add_scatter(
        x=losses,
        y=names,
        mode="markers",
        marker={"color": colours, "size": 10},
        error_x={"type": "data", "array": halves, "thickness": 1.5, "color": ORACLE},
        hovertemplate="%{y} nats per token<extra></extra>",
    )
    fig.update_xaxes(range=[0.0, 1.03 * max(losses)])
    fig.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    return fig.update_layout(showlegend=False, height=120 + 50 * len(names))


def _told(loss: float, half: float) -> str:
    return f"{loss:.3f} ± {half:.3f}" if half else f"{loss:.3f}"
