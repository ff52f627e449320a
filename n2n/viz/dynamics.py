"""Figures of a run's development: its checkpoints side by side, and one at a time with a slider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from n2n.viz.style import (
    COLOURS,
    EXCESS,
    NATS,
    ORACLE,
    TEMPLATE,
    add_band,
    around,
    figure,
    layer_name,
    lines,
    log_foot,
    plain,
)

if TYPE_CHECKING:
    from n2n.analysis.dynamics import Dynamics

_FRAME_MS = 500
_STEPS = "step of the checkpoint (0: untrained), evenly spaced"
_LAGS = 20  # in the animation, at most


def excess_over_steps(dynamics: Dynamics, title: str) -> go.Figure:
    """Held-out excess loss of each checkpoint with its 95% band, on a logarithmic axis; the oracle, at 0, is below it.

    Checkpoints are evenly spaced, whatever their steps. Interval ends that are not positive are drawn at the foot.

    Args:
        dynamics: from ``n2n.dynamics.trace``.
        title: title of the figure.
    """
    rows, foot = dynamics.excess, log_foot(dynamics.excess["excess_loss"])
    fig = figure(title, _STEPS, EXCESS)
    place = list(range(len(rows)))
    add_band(fig, place, rows["low"].clip(lower=foot).round(4), rows["high"].round(4), COLOURS[0])
    hover = (
        f"step %{{customdata[2]}}: %{{y:.4f}} (%{{customdata[0]:.4f}} to %{{customdata[1]:.4f}}) {NATS}<extra></extra>"
    )
    ends = rows[["low", "high", "step"]].to_numpy(dtype=object).tolist()
    style = {"mode": "lines+markers", "line": {"color": COLOURS[0], "width": 2}, "showlegend": False}
    fig.add_scatter(x=place, y=rows["excess_loss"].round(5).tolist(), customdata=ends, hovertemplate=hover, **style)
    fig.update_xaxes(tickvals=place, ticktext=[str(step) for step in rows["step"]])
    fig.update_yaxes(type="log", dtick="D2")
    return fig


def beliefs_over_steps(dynamics: Dynamics, title: str) -> go.Figure:
    """R^2 of linear probes onto each latent's belief by step, with a panel for the embedding and each block.

    The belief itself is at 1. Checkpoints are evenly spaced, whatever their steps.

    Args:
        dynamics: from ``n2n.dynamics.trace``.
        title: title of the figure.
    """
    table = dynamics.beliefs
    layers, latents = sorted(table["layer"].unique()), list(dict.fromkeys(table["latent"]))
    fig = make_subplots(1, len(layers), subplot_titles=[layer_name(layer) for layer in layers], shared_yaxes=True)
    place = list(range(len(dynamics.steps)))
    for column, layer in enumerate(layers, start=1):
        where = {"row": 1, "col": column}
        for latent, line in zip(latents, lines(len(latents)), strict=True):
            rows = table[(table["layer"] == layer) & (table["latent"] == latent)]
            add_band(fig, place, rows["r2_low"].round(3), rows["r2_high"].round(3), line["color"], **where)
            hover = f"{plain(latent)}, {layer_name(layer)}, step %{{customdata}}: R² %{{y:.3f}}<extra></extra>"
            legend = {"name": plain(latent), "legendgroup": latent, "showlegend": column == 1}
            values = {"x": place, "y": rows["r2"].round(4).tolist(), "customdata": rows["step"].tolist()}
            fig.add_scatter(**values, mode="lines", line=line, hovertemplate=hover, **legend, **where)
        oracle = {"name": "the belief itself", "legendgroup": "oracle", "line": {"color": ORACLE, "width": 2}}
        ends = {"x": [place[0], place[-1]], "y": [1, 1], "mode": "lines", "hoverinfo": "skip"}
        fig.add_scatter(**ends, **oracle, showlegend=column == 1, **where)
    fig.update_layout(template=TEMPLATE, title={"text": plain(title), "yref": "container", "y": 0.96, "yanchor": "top"})
    fig.update_layout(height=420, margin={"t": 110}, legend={"y": 1.13})
    fig.update_xaxes(title_text="step", tickvals=place, ticktext=[str(step) for step in dynamics.steps], tickangle=-90)
    fig.update_yaxes(title_text="R²", col=1)
    return fig


def forming(dynamics: Dynamics, title: str) -> go.Figure:
    """Animate checkpoints with a slider and a play button: excess loss by position, beliefs by layer, mixing by lag.

    All steps share the axes. The animation also runs in a page without a notebook
    (``write_html(path, include_plotlyjs="directory")``).

    Args:
        dynamics: from ``n2n.dynamics.trace``.
        title: title of the figure.
    """
    panels = ("excess loss by position", "R² of beliefs by layer", f"share of mixing by lag, to {_LAGS}, per head")
    fig = make_subplots(1, 3, subplot_titles=panels, horizontal_spacing=0.09)
    fig.frames = [go.Frame(name=str(step), data=_traces(dynamics, step)) for step in dynamics.steps]
    for trace, column in zip(fig.frames[-1].data, _columns(dynamics), strict=True):
        fig.add_trace(trace, row=1, col=column)
    for column, level in ((1, 0.0), (2, 1.0)):
        fig.add_hline(level, line={"color": ORACLE, "width": 2}, row=1, col=column)
    fig.add_scatter(x=[None], y=[None], mode="lines", line={"color": ORACLE, "width": 2}, name="oracle")
    _scale(fig, dynamics)
    fig.update_layout(template=TEMPLATE, title={"text": plain(title), "yref": "container", "y": 0.97, "yanchor": "top"})
    fig.update_layout(height=520, margin={"t": 110, "b": 150}, legend={"y": 1.12}, **_controls(dynamics))
    for annotation in fig.layout.annotations:
        annotation.font.size = 13
    return fig


def _traces(dynamics: Dynamics, step: int) -> list[go.Scatter]:
    rows = dynamics.positions[dynamics.positions["step"] == step]
    hover = f"position %{{x}}: %{{y:.3f}} {NATS}<extra></extra>"
    blue = {"color": COLOURS[0], "width": 2}
    hidden = {"mode": "lines", "showlegend": False}
    band = around(rows["position"], rows["low"].round(3), rows["high"].round(3), COLOURS[0])
    traces = [
        go.Scatter(**band),
        go.Scatter(
            x=rows["position"].tolist(), y=_short(rows["excess_loss"]), line=blue, hovertemplate=hover, **hidden
        ),
    ]
    latents = list(dict.fromkeys(dynamics.beliefs["latent"]))
    for latent, line in zip(latents, lines(len(latents)), strict=True):
        rows = dynamics.beliefs[(dynamics.beliefs["step"] == step) & (dynamics.beliefs["latent"] == latent)]
        hover = f"{plain(latent)}, %{{x}}: R² %{{y:.3f}}<extra></extra>"
        points = {
            "x": [layer_name(layer) for layer in rows["layer"]],
            "y": _short(rows["r2"]),
            "mode": "lines+markers",
            "line": line,
        }
        traces.append(go.Scatter(**points, name=plain(latent), hovertemplate=hover))
    for layer, head, line in _heads(dynamics):
        mixing = dynamics.mixing
        of_head = (mixing["step"] == step) & (mixing["layer"] == layer) & (mixing["head"] == head)
        rows = mixing[of_head & (mixing["lag"] <= _LAGS)]
        hover = f"{layer_name(layer)}, head {head}, lag %{{x}}: %{{y:.3f}}<extra></extra>"
        legend = {"name": f"heads of {layer_name(layer)}", "legendgroup": f"layer {layer}", "showlegend": head == 0}
        points = {"x": rows["lag"].tolist(), "y": _short(rows["share"]), "mode": "lines", "line": line}
        traces.append(go.Scatter(**points, hovertemplate=hover, **legend))
    return traces


def _columns(dynamics: Dynamics) -> list[int]:
    """The panel of each of ``_traces``."""
    return [1, 1, *[2] * dynamics.beliefs["latent"].nunique(), *[3] * len(_heads(dynamics))]


def _heads(dynamics: Dynamics) -> list[tuple[int, int, dict]]:
    """Layer, index and line of each head: one colour per layer, from the last, because latents have the first ones."""
    pairs = dynamics.mixing[["layer", "head"]].drop_duplicates().itertuples(index=False)
    return [(layer, head, {"color": COLOURS[-1 - (layer - 1) % len(COLOURS)], "width": 1.5}) for layer, head in pairs]


def _scale(fig: go.Figure, dynamics: Dynamics) -> None:
    """Set axes for all steps. Only the untrained model's loss may exceed them, or it would dwarf the others."""
    learned = dynamics.positions[dynamics.positions["step"] > 0]["excess_loss"]
    last = min(_LAGS, dynamics.mixing["lag"].max())
    fig.update_yaxes(range=[min(-0.02, learned.min()), 1.05 * learned.max()], col=1, title_text=NATS, title_standoff=2)
    fig.update_yaxes(range=[min(0.0, dynamics.beliefs["r2"].min()), 1.05], col=2, title_text="R²", title_standoff=2)
    fig.update_yaxes(range=[0, 1.05 * dynamics.mixing["share"].max()], col=3)
    fig.update_xaxes(title_text="position of the token", col=1)
    fig.update_xaxes(title_text="residual stream after", col=2)
    fig.update_xaxes(title_text="lag, tokens", range=[-0.5, last + 0.5], col=3)


def _controls(dynamics: Dynamics) -> dict:
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}}
    steps = [{"label": str(s), "method": "animate", "args": [[str(s)], at_once]} for s in dynamics.steps]
    slider = {"steps": steps, "active": len(steps) - 1, "currentvalue": {"prefix": "step "}, "x": 0.0, "len": 1.0}
    play = {"frame": {"duration": _FRAME_MS, "redraw": False}, "transition": {"duration": 0}, "fromcurrent": True}
    buttons = [
        {"label": "▶", "method": "animate", "args": [None, play]},
        {"label": "❚❚", "method": "animate", "args": [[None], at_once]},
    ]
    menu = {"type": "buttons", "direction": "left", "buttons": buttons, "x": 1.0, "y": 1.12, "xanchor": "right"}
    return {
        "sliders": [{**slider, "y": -0.2, "pad": {"t": 10}}],
        "updatemenus": [{**menu, "yanchor": "bottom", "showactive": False}],
    }


def _short(values: pd.Series) -> list[float]:
    return np.round(values.to_numpy(float), 3).tolist()
