"""Learners beside the oracle and n-grams: excess loss by position, state and switch, and calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from n2n.runs.run import Run, labels
from n2n.utils.statistics import t_interval
from n2n.utils.strict import short_repr
from n2n.viz.style import (
    BASELINE,
    ENDS,
    EXCESS,
    GRID,
    MODEL,
    NATS,
    ORACLE,
    add_band,
    add_oracle_at_zero,
    bars,
    figure,
    lines,
    log_foot,
    plain,
    thinned,
)


def excess_along(table: pd.DataFrame, what: str, label: str, title: str) -> go.Figure:
    """Mean excess loss of each model along a whole number, with a pointwise 95% band; the oracle is the line at 0.

    Args:
        table: of ``n2n.comparison.by_position`` or ``after_switch``.
        what: the column on the axis, ``"position"`` or ``"since"``.
        label: of the axis.
        title: of the figure.
    """
    fig = figure(title, label, EXCESS)
    models = list(dict.fromkeys(table["model"]))
    for model, line in zip(models, lines(len(models)), strict=True):
        rows = table[table["model"] == model]
        add_band(fig, rows[what], rows["low"].round(4), rows["high"].round(4), line["color"])
        hover = f"{plain(model)}, {plain(label)} %{{x}}<br>%{{y:.3f}} {ENDS}"
        fig.add_scatter(**_points(rows, what), mode="lines", name=plain(model), line=line, hovertemplate=hover)
    add_oracle_at_zero(fig)
    return fig


def excess_by_state(table: pd.DataFrame, latent: str, title: str) -> go.Figure:
    """Mean excess loss of each model by a latent's true state, with 95% intervals; the oracle is the line at 0.

    Args:
        table: of ``n2n.comparison.by_state``.
        latent: whose states these are.
        title: of the figure.
    """
    fig = figure(title, f"true state of {latent} (its share of the tokens)", EXCESS)
    models = list(dict.fromkeys(table["model"]))
    states = table["state"].unique().tolist()
    share = table[table["model"] == models[0]].set_index("state")["tokens"]
    share = share / share.sum()
    for i, (model, line) in enumerate(zip(models, lines(len(models)), strict=True)):
        rows = table[table["model"] == model]
        aside = 0.12 * (i - (len(models) - 1) / 2)
        rows = rows.assign(place=[states.index(state) + aside for state in rows["state"]])
        where = plain(f"{model}, {latent} in state")
        hover = f"{where} %{{customdata[2]}}, %{{customdata[3]:,}} tokens<br>%{{y:.3f}} {ENDS}"
        marks = {"mode": "markers", "marker": {"color": line["color"], "size": 9}, "error_y": _bars(rows)}
        shown = _points(rows, "place", "state", "tokens")
        fig.add_scatter(**shown, **marks, name=plain(model), hovertemplate=hover)
    add_oracle_at_zero(fig)
    names = [f"{state}<br>{share[state]:.1%}" for state in states]
    fig.update_xaxes(tickvals=list(range(len(states))), ticktext=names)
    return fig


def excess_against_ngrams(table: pd.DataFrame, title: str) -> go.Figure:
    """What n-grams, and the best predictors that see as much, lose beyond the oracle by order, and each model's level.

    The axis is logarithmic, and the oracle, at 0, below it. A model whose excess loss is not positive is named in the
    title; an interval's end that is not is drawn at the foot.

    Args:
        table: of ``n2n.comparison.against_ngrams``.
        title: of the figure.
    """
    positive = table["excess_loss"] > 0
    foot = log_foot(table["excess_loss"])
    below = table[~positive]
    beyond = "".join(
        f"; {name} at {loss:.4f}" for name, loss in zip(below["predictor"], below["excess_loss"], strict=True)
    )
    fig = figure(title + beyond, "order n: the last n - 1 tokens are seen", EXCESS)
    table = table[positive].assign(low=table["low"].clip(lower=foot))
    for name, kind, dash in (("n-gram", "n-gram, fitted", "solid"), ("exact", "exact, seeing as much", "dot")):
        rows = table[table["predictor"] == name]
        style = {"mode": "lines+markers", "line": {"color": BASELINE, "width": 2, "dash": dash}, "error_y": _bars(rows)}
        hover = f"{kind}, order %{{x}}<br>%{{y:.4f}} {ENDS}"
        if len(rows):
            fig.add_scatter(**_points(rows, "order"), **style, name=kind, hovertemplate=hover)
    models, orders = table[table["order"].isna()], table["order"].dropna()
    span = [int(orders.min()), int(orders.max())]
    for (_, row), line in zip(models.iterrows(), lines(len(models)), strict=True):
        add_band(fig, span, [row["low"]] * 2, [row["high"]] * 2, line["color"])
        name = plain(row["predictor"])
        hover = f"{name}: {row['excess_loss']:.4f} ({row['low']:.4f} to {row['high']:.4f})<extra></extra>"
        level = {"x": span, "y": [row["excess_loss"]] * 2, "mode": "lines", "line": line, "name": name}
        fig.add_scatter(**level, hovertemplate=hover)
    fig.update_layout(showlegend=True)
    fig.update_yaxes(type="log", dtick="D2")
    fig.update_xaxes(dtick=1)
    return fig


def reliability_diagram(table: pd.DataFrame, title: str) -> go.Figure:
    """How often what was given a probability came true, on logarithmic axes, with 95% intervals.

    Where none of the predictions came true only the upper end of the interval is drawn, as an open triangle.

    Args:
        table: of ``n2n.comparison.reliability``.
        title: of the figure.
    """
    fig = figure(title, "predicted probability of a symbol", "how often it came")
    smallest = float(table["predicted"].min())
    ideal = {"color": GRID, "width": 2}
    fig.add_scatter(x=[smallest, 1], y=[smallest, 1], mode="lines", line=ideal, name="calibrated", hoverinfo="skip")
    names = list(dict.fromkeys(table["model"]))
    models = [name for name in names if name != "oracle"]
    styles = {**dict(zip(models, lines(len(models)), strict=True)), "oracle": {"color": ORACLE, "width": 2}}
    for name in names:
        own = table[table["model"] == name]
        rows, never = own[own["observed"] > 0], own[own["observed"] == 0]
        hover = f"{plain(name)}, predicted %{{x:.3g}}, came %{{y:.3g}}<br>{ENDS}".replace(":.3f", ":.3g")
        reach = _bars(rows.assign(low=rows["low"].clip(lower=smallest / 3)), "observed", 1)
        points = _points(rows, "predicted", value="observed")
        fig.add_scatter(
            **points, mode="lines+markers", line=styles[name], error_y=reach, name=plain(name), hovertemplate=hover
        )
        marks = {"mode": "markers", "marker": {"symbol": "triangle-down-open", "color": styles[name]["color"]}}
        none = f"{plain(name)}, predicted %{{x:.3g}}, never came, at most %{{y:.3g}}<extra></extra>"
        where = {"x": never["predicted"].tolist(), "y": never["high"].tolist(), "showlegend": False}
        fig.add_scatter(**where, **marks, hovertemplate=none)
    fig.update_xaxes(type="log", dtick=1, exponentformat="power")
    fig.update_yaxes(type="log", dtick=1, exponentformat="power")
    fig.update_layout(height=480)
    return fig


def _points(rows: pd.DataFrame, x: str, *more: str, value: str = "excess_loss") -> dict:
    return {
        "x": rows[x].tolist(),
        "y": rows[value].tolist(),
        "customdata": rows[["low", "high", *more]].to_numpy(dtype=object).tolist(),
    }


def _bars(rows: pd.DataFrame, value: str = "excess_loss", thickness: float = 1.5) -> dict:
    return bars(rows["high"] - rows[value], rows[value] - rows["low"], thickness)


def learning_curve(runs: Run | Sequence[Run]) -> go.Figure:
    """Training loss and the oracle's on the same batches, by step.

    Of a long run some 2,000 logged steps are drawn, among them the least and the largest loss of every stretch.

    Args:
        runs: one, whose baselines are dotted once it was evaluated; or several, in a colour each, named by architecture
            or folder. Runs that see the same batches share the oracle's line.

    Raises:
        ValueError: no run, or one without a logged step.
    """
    several = [runs] if isinstance(runs, Run) else runs
    if not isinstance(several, Sequence) or not several or not all(isinstance(run, Run) for run in several):
        raise ValueError(f"runs: saw {short_repr(runs)}; a Run or a list of runs is needed, such as n2n.Run(folder)")
    return _one_curve(several[0]) if len(several) == 1 else _curves(several)


def _curves(runs: Sequence[Run]) -> go.Figure:
    names = labels(runs)
    fig = figure(f"{', '.join(names)}: loss on each logged training batch", "step", f"loss, {NATS}")
    batches = [_batches(run) for run in runs]
    for i, (run, name, line) in enumerate(zip(runs, names, lines(len(runs)), strict=True)):
        rows = _logged(run)
        _add_line(fig, rows, "loss", name, line)
        if batches.index(batches[i]) == i:  # the first of those that see the same
            told = "oracle" if batches.count(batches[0]) == len(runs) else f"oracle, {name}"
            _add_line(fig, rows, "oracle_nll", told, {**line, "color": ORACLE})
    fig.update_layout(hovermode="x unified", xaxis={"unifiedhovertitle": {"text": "step %{x}"}})
    return fig


def _batches(run: Run) -> tuple:
    """What decides the tokens that a run logs its losses on."""
    config = run.config
    logged = (config.seq_len, config.batch_size, config.steps, config.log_every)
    return config.process, config.data, config.sequences, *logged


def _logged(run: Run) -> pd.DataFrame:
    rows = run.metrics
    if rows.empty:
        raise ValueError(f"{run.path} has no logged step yet; its state is {run.status['state']!r}")
    return rows.iloc[thinned(rows["loss"].to_numpy(), rows["oracle_nll"].to_numpy())]


def _add_line(fig: go.Figure, rows: pd.DataFrame, column: str, name: str, line: dict) -> None:
    name = plain(name)
    hover = f"{name}: %{{y:.3f}}<extra></extra>"
    fig.add_scatter(x=rows["step"], y=rows[column], name=name, mode="lines", line=line, hovertemplate=hover)


def _one_curve(run: Run) -> go.Figure:
    rows = _logged(run)
    fig = figure(f"{_name(run)}: loss on each logged training batch", "step", f"loss, {NATS}")
    for column, name, colour in (("loss", run.config.arch, MODEL), ("oracle_nll", "oracle", ORACLE)):
        _add_line(fig, rows, column, name, {"color": colour, "width": 2})
    for baseline, found in ((name, run.evaluation) for name in ("unigram", "bigram") if run.evaluations):
        fig.add_hline(found[baseline], line={"color": BASELINE, "dash": "dot", "width": 1.5})
        label = {"text": baseline, "x": 1.0, "xref": "paper", "y": found[baseline], "font": {"color": BASELINE}}
        fig.add_annotation(**label, xanchor="right", yanchor="bottom", showarrow=False)
    fig.update_layout(hovermode="x unified", xaxis={"unifiedhovertitle": {"text": "step %{x}"}})
    return fig


def excess_by_position(run: Run) -> go.Figure:
    """Held-out excess loss at each position, with a pointwise 95% band over sequences (``t_interval``).

    The oracle is the line at 0.

    Raises:
        ValueError: no run, or one that was not evaluated yet.
    """
    if not isinstance(run, Run):
        raise ValueError(f"run: saw {short_repr(run)}; a Run is needed, such as n2n.Run(folder)")
    evaluation = run.evaluation
    mean = np.array(evaluation["excess_by_position"])
    error = np.array(evaluation["excess_standard_error_by_position"])
    low, high = t_interval(mean, error, evaluation["sequences"])
    position = np.arange(1, len(mean) + 1)
    sample = f"{evaluation['sequences']} {evaluation['split']} sequences"
    title = f"{_name(run)}: excess loss on {sample}, mean and 95% band"
    fig = figure(title, "position t of the predicted token", EXCESS)
    add_band(fig, position, low, high, MODEL)
    fig.add_scatter(
        x=position,
        y=mean,
        customdata=high - mean,
        name=run.config.arch,
        mode="lines",
        line={"color": MODEL, "width": 2},
        hovertemplate="position %{x}: %{y:.3f} ± %{customdata:.3f}<extra></extra>",
    )
    add_oracle_at_zero(fig)
    fig.update_yaxes(rangemode="tozero")
    return fig


def _name(run: Run) -> str:
    return f"{run.config.graph.name or 'graph'}, {run.config.arch}"
