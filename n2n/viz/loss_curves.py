"""Figures of a run's losses: by step, and by position in the sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from n2n.runs.run import Run, labels
from n2n.utils.statistics import t_interval
from n2n.utils.strict import short_repr
from n2n.viz.style import (
    BASELINE,
    EXCESS,
    MODEL,
    NATS,
    ORACLE,
    add_band,
    add_oracle_at_zero,
    figure,
    lines,
    plain,
    thinned,
)


def learning_curve(runs: Run | Sequence[Run]) -> go.Figure:
    """Training loss by step, and the oracle's loss on the same batches.

    For a long run about 2,000 logged steps are drawn, including the smallest and the largest loss of every stretch.

    Args:
        runs: one run, with its baselines as dotted lines if it was evaluated; or several runs, each in its own colour
            and named by architecture or folder. Runs with the same batches share the oracle's line.

    Raises:
        ValueError: no run, or one without a logged step.
    """
    several = [runs] if isinstance(runs, Run) else runs
    if not isinstance(several, Sequence) or not several or not all(isinstance(run, Run) for run in several):
        raise ValueError(f"runs: saw {short_repr(runs)}; a Run or a list of runs is needed, such as n2n.Run(folder)")
    fig = _one_curve(several[0]) if len(several) == 1 else _curves(several)
    return fig.update_layout(hovermode="x unified", xaxis={"unifiedhovertitle": {"text": "step %{x}"}})


def _curves(runs: Sequence[Run]) -> go.Figure:
    names = labels(runs)
    fig = figure(f"{', '.join(names)}: loss on each logged training batch", "step", f"loss, {NATS}")
    batches = [_batches(run) for run in runs]
    for i, (run, name, line) in enumerate(zip(runs, names, lines(len(runs)), strict=True)):
        rows = _logged(run)
        _add_line(fig, rows, "loss", name, line)
        if batches.index(batches[i]) == i:  # the first run with these batches
            oracle = "oracle" if batches.count(batches[0]) == len(runs) else f"oracle, {name}"
            _add_line(fig, rows, "oracle_nll", oracle, {**line, "color": ORACLE})
    return fig


def _batches(run: Run) -> tuple:
    """Fields of the configuration that decide the tokens of the logged losses."""
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
    last = (run.evaluations or [{}])[-1]
    for baseline in ("unigram", "bigram") if last else ():
        line, label = {"color": BASELINE, "dash": "dot", "width": 1.5}, {"text": baseline, "font": {"color": BASELINE}}
        fig.add_hline(last[baseline], line=line, annotation=label, annotation_position="top right")
    return fig


def excess_by_position(run: Run) -> go.Figure:
    """Held-out excess loss at each position, with a pointwise 95% band over sequences (``t_interval``).

    The oracle is the line at 0. A run in context has two curves: the excess over the oracle that knows the kernels of
    each sequence, and over the one that must learn them too.

    Raises:
        ValueError: no run, or one that was not evaluated yet.
    """
    if not isinstance(run, Run):
        raise ValueError(f"run: saw {short_repr(run)}; a Run is needed, such as n2n.Run(folder)")
    evaluation = run.evaluation
    sample = f"{evaluation['sequences']} {evaluation['split']} sequences"
    title = f"{_name(run)}: excess loss on {sample}, mean and 95% band"
    fig = figure(title, "position t of the predicted token", EXCESS)
    if "in_context_excess_by_position" in evaluation:
        _add_excess(fig, evaluation, "", "over the oracle that knows the kernels", "dot")
        _add_excess(fig, evaluation, "in_context_", "over the oracle that learns them", "solid")
    else:
        _add_excess(fig, evaluation, "", run.config.arch, "solid")
    add_oracle_at_zero(fig)
    fig.update_yaxes(rangemode="tozero")
    return fig


def _add_excess(fig: go.Figure, evaluation: dict[str, Any], over: str, name: str, dash: str) -> None:
    """Add the excess loss over an oracle by position, with its band."""
    mean = np.array(evaluation[f"{over}excess_by_position"])
    error = np.array(evaluation[f"{over}excess_standard_error_by_position"])
    low, high = t_interval(mean, error, evaluation["sequences"])
    position = np.arange(1, len(mean) + 1)
    add_band(fig, position, low, high, MODEL)
    fig.add_scatter(
        x=position,
        y=mean,
        customdata=high - mean,
        name=name,
        mode="lines",
        line={"color": MODEL, "width": 2, "dash": dash},
        hovertemplate="position %{x}: %{y:.3f} ± %{customdata:.3f}<extra></extra>",
    )


def _name(run: Run) -> str:
    return f"{run.config.graph.name or 'graph'}, {run.config.arch}"
