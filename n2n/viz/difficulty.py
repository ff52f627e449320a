"""Figures of difficulty: entropy over concentrations, equal difficulty, compressors, best losses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from n2n.viz.style import ACCENT, BASELINE, MODEL, NATS, ORACLE, SCALE, TEXT, bars, faint, figure, lines, plain, rounded

if TYPE_CHECKING:
    from n2n.difficulty.calibration import EqualDifficulty

SYMBOLS = ("circle", "diamond", "square", "cross")  # one per compressor
DECADES = {"type": "log", "dtick": 1, "exponentformat": "power"}


def phase_diagram(grid: pd.DataFrame) -> go.Figure:
    """The oracle's mean loss over the two concentrations; dots mark the measured points.

    Args:
        grid: from ``n2n.entropy_grid``.
    """
    z, x = (np.unique(grid[name]) for name in ("alpha_z", "alpha_x"))
    surface = grid.pivot_table(index="alpha_z", columns="alpha_x", values="entropy").to_numpy()
    max_loss = float(np.log(grid.attrs["vocab_size"]))
    title = (
        f"{grid.attrs['graph']}: the oracle's mean loss, {grid['processes'].iloc[0]} processes per point, "
        f"standard error at most {grid['standard_error'].max():.2g}"
    )
    fig = figure(title, "concentration of the observed node, alpha_x", "concentration of the latents, alpha_z")
    ticks = [tick for tick in np.arange(0, max_loss, 0.5).round(1) if max_loss - tick > 0.25]
    bar = {"title": {"text": NATS, "side": "right"}, "tickvals": [*ticks, max_loss], "outlinewidth": 0}
    bar["ticktext"] = [*(f"{tick:g}" for tick in ticks), f"log V = {max_loss:.2f}"]
    levels = {"start": 0.5, "end": 0.5 * (max_loss // 0.5), "size": 0.5, "coloring": "heatmap", "showlabels": True}
    fig.add_contour(
        x=x.tolist(),
        y=z.tolist(),
        z=[rounded(row, 6) for row in surface],
        zmin=0.0,
        zmax=max_loss,
        colorscale=SCALE,
        colorbar=bar,
        contours=levels,
        hoverinfo="skip",
        line={"width": 1},
    )
    _add_measured(fig, grid)
    if grid.attrs["given"] is not None:
        _add_original(fig, *grid.attrs["given"])
    fig.update_xaxes(**DECADES)
    fig.update_yaxes(**DECADES)
    fig.update_layout(height=460)
    return fig


def _add_measured(fig: go.Figure, grid: pd.DataFrame) -> None:
    columns = ["entropy", "standard_error", "lowest", "highest"]
    fig.add_scatter(
        x=grid["alpha_x"].tolist(),
        y=grid["alpha_z"].tolist(),
        customdata=[rounded(row, 6) for row in grid[columns].to_numpy()],
        name="measured",
        mode="markers",
        marker={"size": 7, "color": "rgba(255, 255, 255, 0.8)", "line": {"color": TEXT, "width": 1}},
        hovertemplate="alpha_x = %{x:.3g}, alpha_z = %{y:.3g}<br>"
        "%{customdata[0]:.3f} ± %{customdata[1]:.3f} nats per token (standard error)<br>"
        "processes from %{customdata[2]:.3f} to %{customdata[3]:.3f}<extra></extra>",
    )


def _add_original(fig: go.Figure, alpha_z: float, alpha_x: float) -> None:
    fig.add_scatter(
        x=[alpha_x],
        y=[alpha_z],
        name="original graph",
        mode="markers",
        marker={"size": 17, "symbol": "star", "color": ACCENT, "line": {"color": "white", "width": 1}},
        hovertemplate="original graph<br>alpha_x = %{x:.3g}, alpha_z = %{y:.3g}<extra></extra>",
    )


def equal_difficulty(equal: EqualDifficulty) -> go.Figure:
    """Entropies of graphs before and after calibration, and on fresh processes. A dotted line marks the target.

    Args:
        equal: from ``n2n.equal_difficulty``.
    """
    table, names = equal.table, [plain(name) for name in equal.table.index]
    rows = list(range(len(names)))
    title = f"Calibrated to {equal.target:g} nats per token by alpha_x, on {equal.searched} processes of each graph"
    fig = figure(title, f"the oracle's mean loss, {NATS}", "")
    target = {"color": BASELINE, "dash": "dot", "width": 2}
    fig.add_vline(equal.target, line=target)
    fig.add_scatter(x=[None], y=[None], name="target", mode="lines", line=target)
    fig.add_scatter(
        x=rounded(table["entropy given"]),
        y=rows,
        customdata=list(zip(names, rounded(table["alpha given"]), strict=True)),
        name="original",
        mode="markers",
        marker={"color": BASELINE, "size": 10, "symbol": "circle-open", "line": {"width": 2}},
        hovertemplate="%{customdata[0]}, original: %{x:.3f} nats per token<br>"
        "alpha_x = %{customdata[1]:.3g}<extra></extra>",
    )
    half = rounded(table["high"] - table["entropy"])
    fig.add_scatter(
        x=rounded(table["entropy"]),
        y=rows,
        error_x={"type": "data", "array": half, "thickness": 2},
        customdata=list(zip(half, rounded(table["alpha"]), names, strict=True)),
        name="calibrated, 95% over processes",
        mode="markers",
        marker={"color": MODEL, "size": 10},
        hovertemplate="%{customdata[2]}, calibrated: %{x:.3f} ± %{customdata[0]:.3f} nats per token<br>"
        "alpha_x = %{customdata[1]:.4g}<extra></extra>",
    )
    _add_fresh_processes(fig, equal)
    fig.update_yaxes(range=[len(names) - 0.4, -0.6], tickvals=rows, ticktext=names, automargin=True)
    fig.update_layout(height=230 + 80 * len(names), xaxis={"rangemode": "tozero"})
    fig.update_layout(margin={"t": 90}, title={"y": 0.97, "yanchor": "top"})  # the legend needs two lines
    return fig


def _add_fresh_processes(fig: go.Figure, equal: EqualDifficulty) -> None:
    """Add processes outside the calibration, a little below their graph's row, with their mean and 95% interval."""
    processes, graphs = equal.processes, equal.table.index.tolist()
    fig.add_scatter(
        x=rounded(processes["entropy"]),
        y=[graphs.index(graph) + 0.25 for graph in processes["graph"]],
        customdata=[[plain(graph), seed] for graph, seed in zip(processes["graph"], processes["seed"], strict=True)],
        name="fresh processes",
        mode="markers",
        marker={"color": ACCENT, "size": 7, "opacity": 0.7},
        hovertemplate="%{customdata[0]}, seed %{customdata[1]}: %{x:.3f} nats per token<extra></extra>",
    )
    mean, low, high = (equal.table[name] for name in ("fresh", "fresh_low", "fresh_high"))
    fig.add_scatter(
        x=rounded(mean),
        y=[i + 0.25 for i in range(len(graphs))],
        error_x=bars(rounded(high - mean), rounded(mean - low), 2),
        customdata=list(zip(map(plain, graphs), rounded(low), rounded(high), strict=True)),
        name="their mean, 95% over processes",
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 20, "color": ACCENT, "line": {"width": 3}},
        hovertemplate="%{customdata[0]}, fresh processes: mean %{x:.3f}, "
        "95% from %{customdata[1]:.3f} to %{customdata[2]:.3f} nats per token<extra></extra>",
    )


def compression_against_entropy(table: pd.DataFrame) -> go.Figure:
    """Compressed size against the exact entropy, at the largest number of tokens.

    Vertical bars are ranges over samples, horizontal bars 95% intervals of the entropy.

    Args:
        table: from ``n2n.compression_table``.
    """
    longest = table[table["tokens"] == table["tokens"].max()]
    title = f"Compressors on {longest['tokens'].iloc[0]:,} tokens against the exact entropy"
    fig = figure(title, f"exact entropy, {NATS}", f"compressed size, {NATS}")
    top = 1.08 * float(longest["highest"].max())
    oracle = {"color": ORACLE, "width": 2}
    name = "oracle: size = entropy"
    fig.add_scatter(x=[0, top], y=[0, top], name=name, mode="lines", line=oracle, hoverinfo="skip")
    for name, style, symbol, rows in _series(longest):
        fig.add_scatter(
            x=rounded(rows["entropy"]),
            y=rounded(rows["nats"]),
            error_x=bars(
                rounded(rows["entropy_high"] - rows["entropy"]), rounded(rows["entropy"] - rows["entropy_low"])
            ),
            error_y=_range(rows),
            name=name,
            mode="markers",
            marker={"color": style["color"], "size": 11, "symbol": symbol},
            hovertemplate=f"{name}<br>entropy %{{x:.3f}}, compressed %{{y:.3f}} nats per token<extra></extra>",
        )
    fig.update_xaxes(range=[0, 1.15 * float(longest["entropy"].max())])
    fig.update_yaxes(range=[0, top])
    _move_legend_right(fig)
    return fig


def compression_by_tokens(table: pd.DataFrame) -> go.Figure:
    """Compressed size minus the exact entropy, against the number of tokens. Bars are ranges over samples.

    Args:
        table: from ``n2n.compression_table``.
    """
    title = f"Compressed size minus entropy, mean and range of {table['samples'].iloc[0]} samples"
    fig = figure(title, "tokens compressed", f"compressed size minus entropy, {NATS}")
    oracle = {"color": ORACLE, "width": 2}
    fig.add_hline(0.0, line=oracle)
    fig.add_scatter(x=[None], y=[None], name="oracle", mode="lines", line=oracle)
    for name, style, symbol, rows in _series(table):
        fig.add_scatter(
            x=rows["tokens"].tolist(),
            y=rounded(rows["nats"] - rows["entropy"]),
            error_y=_range(rows),
            name=name,
            mode="lines+markers",
            line=style,
            marker={"symbol": symbol, "size": 8},
            hovertemplate=f"{name}<br>%{{x:,}} tokens: %{{y:.3f}} nats per token above the entropy<extra></extra>",
        )
    fig.update_xaxes(**DECADES)
    fig.update_yaxes(rangemode="tozero")
    _move_legend_right(fig)
    return fig


def _series(table: pd.DataFrame) -> Iterator[tuple[str, dict, str, pd.DataFrame]]:
    """Name, line, symbol and rows of each curve: a colour per graph, a symbol and a dash per compressor."""
    graphs, compressors = table["graph"].unique(), table["compressor"].unique()
    styles, dashes = dict(zip(graphs, lines(len(graphs)), strict=True)), ("solid", "dot", "dash", "dashdot")
    for graph, (k, compressor) in product(graphs, enumerate(compressors)):
        rows = table[(table["graph"] == graph) & (table["compressor"] == compressor)]
        yield plain(f"{graph}, {compressor}"), {**styles[graph], "dash": dashes[k % 4]}, SYMBOLS[k % 4], rows


def _range(rows: pd.DataFrame) -> dict:
    return bars(rounded(rows["highest"] - rows["nats"]), rounded(rows["nats"] - rows["lowest"]))


def _move_legend_right(fig: go.Figure) -> None:
    fig.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1.0, "yanchor": "top"}, height=420)


def draw_losses(table: pd.DataFrame) -> go.Figure:
    """Best losses of predictors with more and more knowledge, with 95% intervals. The oracle is the last row.

    A bar is the gain over the row above. The last bar is the gain of looking back more than one token, or of knowing
    the position in the sequence, which the bigram does not.

    Args:
        table: from ``n2n.best_losses``.
    """
    fig = figure("Best losses with more and more knowledge (bars: gain over the row above)", f"loss, {NATS}", "")
    losses, halves = table["loss"].tolist(), table["half"].tolist()
    values = [_with_half(loss, half) for loss, half in zip(losses, halves, strict=True)]
    names = [f"{plain(name)}<br><b>{value}</b>" for name, value in zip(table.index, values, strict=True)]
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


def _with_half(loss: float, half: float) -> str:
    return f"{loss:.3f} ± {half:.3f}" if half else f"{loss:.3f}"
