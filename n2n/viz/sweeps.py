"""Many runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from n2n.utils.statistics import Z95
from n2n.viz.style import EXCESS, MODEL, add_band, add_oracle_at_zero, bars, figure, lines, plain, rounded

if TYPE_CHECKING:
    from n2n.sweeps.equal_size import EqualSize
    from n2n.sweeps.scaling_laws import PowerLaw, Scaling


LABELS = {  # of ``n2n.sweeps.scaling_laws.AXES``: the axis in a title, and as an axis's name
    "parameters": ("parameters", "parameters"),
    "tokens": ("data", "tokens seen in training"),
    "flops": ("compute", "floating-point operations of training"),
}
MAX_LINE = 110  # characters of a note before it is broken
MARKS = ((0.9, (1, 2, 3, 4, 6, 8)), (2.5, (1, 2, 5)), (99, (1,)))  # digits that are marked, by an axis's decades
PREFIXES = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def excess_by_run(table: pd.DataFrame) -> go.Figure:
    """Held-out excess loss of each run of ``n2n.runs.table`` with its 95% interval; the oracle is the line at 0.

    Raises:
        ValueError: no run of the table was evaluated.
    """
    found = table.dropna(subset=["excess_loss"]) if "excess_loss" in table else table.iloc[:0]
    if found.empty:
        raise ValueError("no run of the table was evaluated yet")
    missing = len(table) - len(found)
    title = "Excess loss, held out, with 95% intervals" + (f"; {missing} without one" if missing else "")
    fig = figure(title, EXCESS, "")
    half = Z95 * found["excess_standard_error"]
    add_oracle_at_zero(fig, vertical=True)
    fig.add_scatter(
        x=found["excess_loss"].tolist(),
        y=[plain(name) for name in found.index],
        error_x={"type": "data", "array": half.tolist(), "thickness": 1.5},
        customdata=half.tolist(),
        mode="markers",
        marker={"color": MODEL, "size": 9},
        name="runs",
        hovertemplate="%{y}<br>%{x:.4f} ± %{customdata:.4f} nats per token<extra></extra>",
    )
    fig.update_layout(height=180 + 28 * len(found), xaxis={"rangemode": "tozero"})
    fig.update_yaxes(automargin=True, autorange="reversed", type="category")
    return fig


def scaling_law(found: Scaling) -> go.Figure:
    """Excess loss against parameters, data or compute on logarithmic axes, with the fits and their 95% bands."""
    what, label = LABELS[found.axis]
    tokens = "" if found.tokens is None else f", after {found.tokens:,} tokens"
    joined = ", a thin line a run" if found.axis == "tokens" else ""
    fig = figure(f"Excess loss against {what}{tokens}{joined}{_left_out(found.left_out, found.runs)}", label, EXCESS)
    positive = found.points[found.points["excess_loss"] > 0]
    if positive.empty:
        return _sentence(fig, "; ".join(["no evaluation with a positive excess loss", *map(_told, found.fits)]))
    for fit, style in zip(found.fits, lines(len(found.fits)), strict=True):
        _add_points(fig, positive[positive["group"] == fit.group], found.axis, fit.group, style)
        if len(fit.sizes):
            _add_fit(fig, fit, style)
        else:
            fig.add_scatter(x=[None], y=[None], name=_told(fit), mode="markers", marker={"color": style["color"]})
    fig.update_xaxes(**_logarithmic(positive[found.axis], 0.05))
    fig.update_yaxes(**_logarithmic(positive["excess_loss"], 0.2))
    legend = {"orientation": "v", "x": 0.0, "y": -0.2, "yanchor": "top"}
    fig.update_layout(legend=legend, height=460 + 20 * len(found.fits), margin={"b": 70 + 20 * len(found.fits)})
    return fig


def _add_points(fig: go.Figure, rows: pd.DataFrame, axis: str, group: str, style: dict) -> None:
    """With intervals over held-out sequences; the evaluations of one run are joined."""
    joined = axis == "tokens"
    thin = 0.5 if joined else 1.0
    parts = [part for _, part in rows.groupby("run")] if joined else [rows]
    x, y, half, told = [], [], [], []
    for part in parts:
        x += [*part[axis].tolist(), None]
        y += [*rounded(part["excess_loss"], 6), None]
        half += [*rounded(Z95 * part["excess_standard_error"]), None]
        told += [
            *zip(
                map(plain, part["run"]),
                map(plain, part["split"]),
                rounded(Z95 * part["excess_standard_error"]),
                strict=True,
            ),
            (None, None, None),
        ]
    below = [
        None if error is None else min(error, 0.98 * mean) for error, mean in zip(half, y, strict=True)
    ]  # in a log
    hover = (
        f"{plain(group)}<br>%{{customdata[0]}}, %{{customdata[1]}} split<br>%{{x:,.4g}} {LABELS[axis][1]}"
        "<br>excess loss %{y:.4f} ± %{customdata[2]:.4f} nats per token<extra></extra>"
    )
    fig.add_scatter(
        x=x,
        y=y,
        error_y={**bars(half, below, thin), "width": 3 * thin},
        customdata=told,
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
    hover = f"{_told(fit)}<br>%{{x:,.4g}}: %{{y:.4f}} nats per token<extra></extra>"
    line = {"name": _told(fit), "mode": "lines", "line": style, "hovertemplate": hover}
    fig.add_scatter(x=sizes, y=rounded(fit.excess, 5), **line)


def _told(fit: PowerLaw) -> str:
    lost = f"; {fit.not_positive} not positive, left out" if fit.not_positive else ""
    if not np.isfinite(fit.exponent):
        return f"{plain(fit.group)}: {plain(fit.note)}{lost}"
    interval = f"95% {fit.low:.2f} to {fit.high:.2f}, {fit.runs} runs" if np.isfinite(fit.low) else plain(fit.note)
    return f"{plain(fit.group)}: exponent {fit.exponent:.2f} ({interval}{lost})"


def equal_size(found: EqualSize) -> go.Figure:
    """The excess loss of each group at one number of parameters, a dot a seed, with 95% intervals over sequences.

    A group without a dot has its note in the place of one.
    """
    there = found.table["excess_loss"].notna()
    fig = figure(_at_size(found, int((~there).sum())), EXCESS, "")
    if found.note or not there.any():
        notes = [
            plain(f"{group}: {note}") for group, note in zip(found.table["group"], found.table["note"], strict=True)
        ]
        return _sentence(fig, "; ".join([plain(found.note) or "no group has an excess loss there", *notes]))
    names = sorted(found.table["group"].unique())
    add_oracle_at_zero(fig, vertical=True)
    for place, (name, style) in enumerate(zip(names, lines(len(names)), strict=True)):
        own = found.table["group"] == name
        if (own & there).any():
            _add_seeds(fig, found.table[own & there], name, place, style["color"])
        else:
            note = plain("; ".join(found.table.loc[own, "note"].unique()))
            fig.add_annotation(text=note, x=0.5, xref="paper", y=place, yshift=10, showarrow=False)
    places = list(range(len(names)))
    fig.update_yaxes(
        range=[len(names) - 0.5, -0.5], tickvals=places, ticktext=[plain(name) for name in names], automargin=True
    )
    fig.update_layout(height=200 + 45 * len(names), xaxis={"rangemode": "tozero"})
    return fig


def _at_size(found: EqualSize, without: int) -> str:
    if found.note:
        return f"Excess loss at equal size{_left_out(found.left_out, found.runs)}"
    title = f"Excess loss at {found.parameters:,} parameters, after {found.tokens:,} tokens"
    lost = f"; {without} of {len(found.table)} without a point" if without else ""
    return f"{title}{_left_out(found.left_out, found.runs)}{lost}"


def _add_seeds(fig: go.Figure, rows: pd.DataFrame, name: str, place: int, colour: str) -> None:
    shift = np.linspace(-0.2, 0.2, len(rows)) if len(rows) > 1 else np.zeros(1)
    mean, low, high = (rows[column] for column in ("excess_loss", "low", "high"))
    told = list(zip(rows["seed"], map(plain, rows["between"]), rounded(low, 5), rounded(high, 5), strict=True))
    hover = (
        f"{plain(name)}, seed %{{customdata[0]}}<br>%{{x:.4f}}, 95% from %{{customdata[2]:.4f}} to "
        "%{customdata[3]:.4f} nats per token<br>from %{customdata[1]} parameters<extra></extra>"
    )
    error = bars(rounded(high - mean, 6), rounded(mean - low, 6), 2)
    marks = {"mode": "markers", "marker": {"color": colour, "size": 10}, "showlegend": False}
    points = {"x": rounded(mean, 6), "y": (place + shift).tolist(), "customdata": told}
    fig.add_scatter(**points, error_x=error, name=plain(name), **marks, hovertemplate=hover)


def _logarithmic(values: pd.Series, margin: float) -> dict:
    """An axis over some values and a margin in decades, marked at round numbers."""
    low, high = np.log10(values.min()) - margin, np.log10(values.max()) + margin
    digits = next(digits for decades, digits in MARKS if high - low < decades)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    marks = [digit * 10.0**power for power in powers for digit in digits]
    return {"type": "log", "range": [low, high], "tickvals": marks, "ticktext": [_marked(mark) for mark in marks]}


def _marked(value: float) -> str:
    prefix, unit = next(((name, unit) for name, unit in PREFIXES if value > 0.99 * unit), ("", 1.0))
    return f"{value / unit:g}{prefix}"


def _left_out(count: int, runs: int) -> str:
    return f"; {count} of {runs} runs left out" if count else ""


def _sentence(fig: go.Figure, text: str) -> go.Figure:
    """A figure that says in words why it is empty."""
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
