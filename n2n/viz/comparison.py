"""Excess loss of models by position, state and time since a switch; n-grams and calibration."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from n2n.viz.style import (
    BASELINE,
    EXCESS,
    GRID,
    ORACLE,
    add_band,
    add_oracle_at_zero,
    bars,
    ends,
    figure,
    lines,
    log_foot,
    plain,
)


def excess_along(table: pd.DataFrame, column: str, label: str, title: str) -> go.Figure:
    """Mean excess loss of each model against a whole number, with a pointwise 95% band. The oracle is the line at 0.

    Args:
        table: from ``n2n.comparison.by_position`` or ``after_switch``.
        column: column of the x-axis, ``"position"`` or ``"since"``.
        label: label of the x-axis.
        title: title of the figure.
    """
    fig = figure(title, label, EXCESS)
    models = list(dict.fromkeys(table["model"]))
    for model, line in zip(models, lines(len(models)), strict=True):
        rows = table[table["model"] == model]
        add_band(fig, rows[column], rows["low"].round(4), rows["high"].round(4), line["color"])
        fig.add_scatter(
            **_points(rows, column),
            mode="lines",
            name=plain(model),
            line=line,
            hovertemplate=f"{plain(model)}, {plain(label)} %{{x}}<br>%{{y:.3f}} {ends()}",
        )
    add_oracle_at_zero(fig)
    return fig


def excess_by_state(table: pd.DataFrame, latent: str, title: str) -> go.Figure:
    """Mean excess loss of each model by a latent's true state, with 95% intervals. The oracle is the line at 0.

    Args:
        table: from ``n2n.comparison.by_state``.
        latent: name of the latent.
        title: title of the figure.
    """
    fig = figure(title, f"true state of {latent} (its share of the tokens)", EXCESS)
    models = list(dict.fromkeys(table["model"]))
    states = table["state"].unique().tolist()
    tokens = table[table["model"] == models[0]].set_index("state")["tokens"]
    share = tokens / tokens.sum()
    for i, (model, line) in enumerate(zip(models, lines(len(models)), strict=True)):
        rows = table[table["model"] == model]
        shift = 0.12 * (i - (len(models) - 1) / 2)
        state = plain(f"{model}, {latent} in state")
        fig.add_scatter(
            x=[states.index(state) + shift for state in rows["state"]],
            y=rows["excess_loss"].tolist(),
            customdata=_columns(rows, "low", "high", "state", "tokens"),
            mode="markers",
            name=plain(model),
            marker={"color": line["color"], "size": 9},
            error_y=_bars(rows),
            hovertemplate=f"{state} %{{customdata[2]}}, %{{customdata[3]:,}} tokens<br>%{{y:.3f}} {ends()}",
        )
    add_oracle_at_zero(fig)
    names = [f"{state}<br>{share[state]:.1%}" for state in states]
    fig.update_xaxes(tickvals=list(range(len(states))), ticktext=names)
    return fig


def excess_against_ngrams(table: pd.DataFrame, title: str) -> go.Figure:
    """Excess loss of n-grams, and of the best predictors with the same windows, by order, and the level of each model.

    The axis is logarithmic, so the oracle, at 0, is below it. The title names models whose excess loss is not positive.
    Interval ends that are not positive are drawn at the foot of the axis.

    Args:
        table: from ``n2n.comparison.against_ngrams``.
        title: title of the figure.
    """
    positive = table["excess_loss"] > 0
    foot = log_foot(table["excess_loss"])
    below = table[~positive]
    not_drawn = "".join(
        f"; {name} at {loss:.4f}" for name, loss in zip(below["predictor"], below["excess_loss"], strict=True)
    )
    fig = figure(title + not_drawn, "order n: the last n - 1 tokens are seen", EXCESS)
    table = table[positive].assign(low=table["low"].clip(lower=foot))
    ngrams = table[table["predictor"] == "n-gram"]
    _add_ngrams(fig, ngrams, _counted(ngrams), "solid")
    _add_ngrams(fig, table[table["predictor"] == "exact"], "exact, same window", "dot")
    models, orders = table[table["order"].isna()], table["order"].dropna()
    ends = [int(orders.min()), int(orders.max())]
    for (_, row), line in zip(models.iterrows(), lines(len(models)), strict=True):
        add_band(fig, ends, [row["low"]] * 2, [row["high"]] * 2, line["color"])
        name = plain(row["predictor"])
        fig.add_scatter(
            x=ends,
            y=[row["excess_loss"]] * 2,
            mode="lines",
            line=line,
            name=name,
            hovertemplate=f"{name}: {row['excess_loss']:.4f} ({row['low']:.4f} to {row['high']:.4f})<extra></extra>",
        )
    fig.update_layout(showlegend=True)
    fig.update_yaxes(type="log", dtick="D2")
    fig.update_xaxes(dtick=1)
    return fig


def _counted(ngrams: pd.DataFrame) -> str:
    """A name of n-grams that says what they have counted."""
    numbers = ngrams["fitted_on"].dropna()
    return f"n-gram, fitted on {numbers.max():,} sequences" if len(numbers) else "n-gram of each sequence's own tokens"


def _add_ngrams(fig: go.Figure, rows: pd.DataFrame, name: str, dash: str) -> None:
    if rows.empty:
        return
    fig.add_scatter(
        **_points(rows, "order"),
        mode="lines+markers",
        name=name,
        line={"color": BASELINE, "width": 2, "dash": dash},
        error_y=_bars(rows),
        hovertemplate=f"{name}, order %{{x}}<br>%{{y:.4f}} {ends()}",
    )


def reliability_diagram(table: pd.DataFrame, title: str) -> go.Figure:
    """Observed frequency against predicted probability on logarithmic axes, with 95% intervals.

    If no prediction of a bin came true, an open triangle marks the upper end of its interval.

    Args:
        table: from ``n2n.comparison.reliability``.
        title: title of the figure.
    """
    fig = figure(title, "predicted probability of a symbol", "observed frequency")
    smallest = float(table["predicted"].min())
    ideal = {"color": GRID, "width": 2}
    fig.add_scatter(x=[smallest, 1], y=[smallest, 1], mode="lines", line=ideal, name="calibrated", hoverinfo="skip")
    names = list(dict.fromkeys(table["model"]))
    models = [name for name in names if name != "oracle"]
    styles = {**dict(zip(models, lines(len(models)), strict=True)), "oracle": {"color": ORACLE, "width": 2}}
    for name in names:
        _add_reliability(fig, table[table["model"] == name], plain(name), styles[name], smallest / 3)
    fig.update_xaxes(type="log", dtick=1, exponentformat="power")
    fig.update_yaxes(type="log", dtick=1, exponentformat="power")
    fig.update_layout(height=480)
    return fig


def _add_reliability(fig: go.Figure, table: pd.DataFrame, name: str, line: dict, foot: float) -> None:
    rows, never = table[table["observed"] > 0], table[table["observed"] == 0]
    fig.add_scatter(
        **_points(rows, "predicted", "observed"),
        mode="lines+markers",
        name=name,
        line=line,
        error_y=_bars(rows.assign(low=rows["low"].clip(lower=foot)), "observed", 1),
        hovertemplate=f"{name}, predicted %{{x:.3g}}, observed %{{y:.3g}}<br>{ends('.3g')}",
    )
    fig.add_scatter(
        x=never["predicted"].tolist(),
        y=never["high"].tolist(),
        mode="markers",
        showlegend=False,
        marker={"symbol": "triangle-down-open", "color": line["color"]},
        hovertemplate=f"{name}, predicted %{{x:.3g}}, never observed, at most %{{y:.3g}}<extra></extra>",
    )


def _points(rows: pd.DataFrame, x: str, y: str = "excess_loss") -> dict:
    return {"x": rows[x].tolist(), "y": rows[y].tolist(), "customdata": _columns(rows, "low", "high")}


def _columns(rows: pd.DataFrame, *names: str) -> list[list]:
    return rows[list(names)].to_numpy(dtype=object).tolist()


def _bars(rows: pd.DataFrame, column: str = "excess_loss", thickness: float = 1.5) -> dict:
    return bars(rows["high"] - rows[column], rows[column] - rows["low"], thickness)
