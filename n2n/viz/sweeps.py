"""Figures of many runs: excess loss by run, scaling laws, groups at equal size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from n2n.viz.style import EXCESS, MODEL, add_band, add_oracle_at_zero, bars, figure, lines, plain, rounded

if TYPE_CHECKING:
    from n2n.sweeps.equal_size import EqualSize
    from n2n.sweeps.scaling_laws import PowerLaw, Scaling


LABELS = {  # the axes of ``n2n.sweeps.scaling_laws.AXES``: in a title, and as the label of an axis
    "parameters": ("parameters", "parameters"),
    "tokens": ("data", "tokens seen in training"),
    "flops": ("compute", "floating-point operations of training"),
}
MAX_LINE = 110  # characters in a line of a note
TICKS = ((0.9, (1, 2, 3, 4, 6, 8)), (2.5, (1, 2, 5)), (99, (1,)))  # digits with a tick, by an axis's decades
PREFIXES = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def excess_by_run(table: pd.DataFrame) -> go.Figure:
    """Held-out excess loss of each run and its 95% interval over sequences (``t_interval``). The oracle is at 0.

    Args:
        table: from ``n2n.runs.table``.

    Raises:
        ValueError: no run of the table was evaluated.
    """
    rows = table.dropna(subset=["excess_loss"]) if "excess_loss" in table else table.iloc[:0]
    if rows.empty:
        raise ValueError("no run of the table was evaluated yet")
    missing = len(table) - len(rows)
    title = "Excess loss, held out, with 95% intervals" + (f"; {missing} without one" if missing else "")
    fig = figure(title, EXCESS, "")
    half = (rows["high"] - rows["excess_loss"]).tolist()
    add_oracle_at_zero(fig, vertical=True)
    fig.add_scatter(
        x=rows["excess_loss"].tolist(),
        y=[plain(name) for name in rows.index],
        error_x={"type": "data", "array": half, "thickness": 1.5},
        customdata=half,
        mode="markers",
        marker={"color": MODEL, "size": 9},
        name="runs",
        hovertemplate="%{y}<br>%{x:.4f} ± %{customdata:.4f} nats per token<extra></extra>",
    )
    fig.update_layout(height=180 + 28 * len(rows), xaxis={"rangemode": "tozero"})
    fig.update_yaxes(automargin=True, autorange="reversed", type="category")
    return fig


def scaling_law(scaling: Scaling) -> go.Figure:
    """Excess loss against parameters, data or compute on logarithmic axes, with the fits and their 95% bands.

    Args:
        scaling: from ``n2n.scaling_fits``.
    """
    title, label = LABELS[scaling.axis]
    tokens = "" if scaling.tokens is None else f", after {scaling.tokens:,} tokens"
    joined = ", one thin line per run" if scaling.axis == "tokens" else ""
    fig = figure(
        f"Excess loss against {title}{tokens}{joined}{_left_out(scaling.left_out, scaling.runs)}", label, EXCESS
    )
    positive = scaling.points[scaling.points["excess_loss"] > 0]
    if positive.empty:
        return _text_only(
            fig, "; ".join(["no evaluation with a positive excess loss", *map(_legend_name, scaling.fits)])
        )
    for fit, style in zip(scaling.fits, lines(len(scaling.fits)), strict=True):
        _add_points(fig, positive[positive["group"] == fit.group], scaling.axis, fit.group, style)
        if len(fit.sizes):
            _add_fit(fig, fit, style)
        else:
            fig.add_scatter(
                x=[None], y=[None], name=_legend_name(fit), mode="markers", marker={"color": style["color"]}
            )
    fig.update_xaxes(**_logarithmic(positive[scaling.axis], 0.05))
    fig.update_yaxes(**_logarithmic(positive["excess_loss"], 0.2))
    legend = {"orientation": "v", "x": 0.0, "y": -0.2, "yanchor": "top"}
    fig.update_layout(legend=legend, height=460 + 20 * len(scaling.fits), margin={"b": 70 + 20 * len(scaling.fits)})
    return fig


def _add_points(fig: go.Figure, rows: pd.DataFrame, axis: str, group: str, style: dict) -> None:
    """Add evaluations with their intervals over held-out sequences; against data, those of one run are joined."""
    joined = axis == "tokens"
    thin = 0.5 if joined else 1.0
    parts = [part for _, part in rows.groupby("run")] if joined else [rows]
    x, y, half, details = [], [], [], []
    for part in parts:
        x += [*part[axis].tolist(), None]
        y += [*rounded(part["excess_loss"], 6), None]
        halves = rounded(part["high"] - part["excess_loss"])
        half += [*halves, None]
        details += [*zip(map(plain, part["run"]), map(plain, part["split"]), halves, strict=True), (None, None, None)]
    # On a logarithmic axis a bar must end above 0.
    below = [None if error is None else min(error, 0.98 * mean) for error, mean in zip(half, y, strict=True)]
    hover = (
        f"{plain(group)}<br>%{{customdata[0]}}, %{{customdata[1]}} split<br>%{{x:,.4g}} {LABELS[axis][1]}"
        "<br>excess loss %{y:.4f} ± %{customdata[2]:.4f} nats per token<extra></extra>"
    )
    fig.add_scatter(
        x=x,
        y=y,
        error_y={**bars(half, below, thin), "width": 3 * thin},
        customdata=details,
        mode="lines+markers" if joined else "markers",
        marker={"color": style["color"], "size": 4 if joined else 9},
        line={"color": style["color"], "width": 0.7},
        opacity=thin,
        showlegend=False,
        hovertemplate=hover,
    )


def _add_fit(fig: go.Figure, fit: PowerLaw, style: dict) -> None:
    sizes = rounded(fit.sizes, 5)
    if np.isfinite(fit.excess_low).all():
        add_band(fig, sizes, rounded(fit.excess_low, 5), rounded(fit.excess_high, 5), style["color"])
    hover = f"{_legend_name(fit)}<br>%{{x:,.4g}}: %{{y:.4f}} nats per token<extra></extra>"
    line = {"name": _legend_name(fit), "mode": "lines", "line": style, "hovertemplate": hover}
    fig.add_scatter(x=sizes, y=rounded(fit.excess, 5), **line)


def _legend_name(fit: PowerLaw) -> str:
    lost = f"; {fit.not_positive} not positive, left out" if fit.not_positive else ""
    if not np.isfinite(fit.exponent):
        return f"{plain(fit.group)}: {plain(fit.note)}{lost}"
    interval = f"95% {fit.low:.2f} to {fit.high:.2f}, {fit.runs} runs" if np.isfinite(fit.low) else plain(fit.note)
    return f"{plain(fit.group)}: exponent {fit.exponent:.2f} ({interval}{lost})"


def equal_size(comparison: EqualSize) -> go.Figure:
    """Excess loss of each group at one number of parameters, one dot per seed, with 95% intervals over sequences.

    A group without a dot shows its note instead.

    Args:
        comparison: from ``n2n.at_equal_size``.
    """
    has_point = comparison.table["excess_loss"].notna()
    fig = figure(_at_size(comparison, int((~has_point).sum())), EXCESS, "")
    if comparison.note or not has_point.any():
        notes = [
            plain(f"{group}: {note}")
            for group, note in zip(comparison.table["group"], comparison.table["note"], strict=True)
        ]
        return _text_only(fig, "; ".join([plain(comparison.note) or "no group has an excess loss there", *notes]))
    names = sorted(comparison.table["group"].unique())
    add_oracle_at_zero(fig, vertical=True)
    for place, (name, style) in enumerate(zip(names, lines(len(names)), strict=True)):
        own = comparison.table["group"] == name
        if (own & has_point).any():
            _add_seeds(fig, comparison.table[own & has_point], name, place, style["color"])
        else:
            note = plain("; ".join(comparison.table.loc[own, "note"].unique()))
            fig.add_annotation(text=note, x=0.5, xref="paper", y=place, yshift=10, showarrow=False)
    places = list(range(len(names)))
    fig.update_yaxes(
        range=[len(names) - 0.5, -0.5], tickvals=places, ticktext=[plain(name) for name in names], automargin=True
    )
    fig.update_layout(height=200 + 45 * len(names), xaxis={"rangemode": "tozero"})
    return fig


def _at_size(comparison: EqualSize, without: int) -> str:
    if comparison.note:
        return f"Excess loss at equal size{_left_out(comparison.left_out, comparison.runs)}"
    title = f"Excess loss at {comparison.parameters:,} parameters, after {comparison.tokens:,} tokens"
    lost = f"; {without} of {len(comparison.table)} without a point" if without else ""
    return f"{title}{_left_out(comparison.left_out, comparison.runs)}{lost}"


def _add_seeds(fig: go.Figure, rows: pd.DataFrame, name: str, place: int, colour: str) -> None:
    shift = np.linspace(-0.2, 0.2, len(rows)) if len(rows) > 1 else np.zeros(1)
    mean, low, high = (rows[column] for column in ("excess_loss", "low", "high"))
    details = list(zip(rows["seed"], map(plain, rows["between"]), rounded(low, 5), rounded(high, 5), strict=True))
    hover = (
        f"{plain(name)}, seed %{{customdata[0]}}<br>%{{x:.4f}}, 95% from %{{customdata[2]:.4f}} to "
        "%{customdata[3]:.4f} nats per token<br>from %{customdata[1]} parameters<extra></extra>"
    )
    error = bars(rounded(high - mean, 6), rounded(mean - low, 6), 2)
    marks = {"mode": "markers", "marker": {"color": colour, "size": 10}, "showlegend": False}
    points = {"x": rounded(mean, 6), "y": (place + shift).tolist(), "customdata": details}
    fig.add_scatter(**points, error_x=error, name=plain(name), **marks, hovertemplate=hover)


def _logarithmic(values: pd.Series, margin: float) -> dict:
    """A logarithmic axis over the values and a margin in decades, with ticks at round numbers."""
    low, high = np.log10(values.min()) - margin, np.log10(values.max()) + margin
    digits = next(digits for decades, digits in TICKS if high - low < decades)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in digits]
    return {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": [_with_prefix(tick) for tick in ticks]}


def _with_prefix(value: float) -> str:
    prefix, unit = next(((name, unit) for name, unit in PREFIXES if value > 0.99 * unit), ("", 1.0))
    return f"{value / unit:g}{prefix}"


def _left_out(count: int, runs: int) -> str:
    return f"; {count} of {runs} runs left out" if count else ""


def _text_only(fig: go.Figure, text: str) -> go.Figure:
    """A figure without data that shows a text."""
    words, lines_of_text = text.split(" "), [""]
    for word in words:
        if len(lines_of_text[-1]) + len(word) > MAX_LINE:
            lines_of_text.append("")
        lines_of_text[-1] += f"{word} "
    fig.add_annotation(text="<br>".join(lines_of_text), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False)
    fig.update_layout(height=220)
    return fig
