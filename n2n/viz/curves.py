"""A run's loss beside the oracle's: while it learned, and by position at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from n2n.runs.run import Run, labels
from n2n.utils.statistics import Z95
from n2n.utils.strict import shown
from n2n.viz.style import BASELINE, EXCESS, MODEL, NATS, ORACLE, add_band, add_oracle_at_zero, figure, lines, plain
from n2n.viz.thinning import thinned

if TYPE_CHECKING:
    import pandas as pd


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
        raise ValueError(f"runs: saw {shown(runs)}; a Run or a list of runs is needed, such as n2n.Run(folder)")
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
    """Held-out excess loss at each position, with a pointwise 95% band; the oracle is the line at 0.

    Raises:
        ValueError: no run, or one that was not evaluated yet.
    """
    if not isinstance(run, Run):
        raise ValueError(f"run: saw {shown(run)}; a Run is needed, such as n2n.Run(folder)")
    found = run.evaluation
    mean, half = np.array(found["excess_by_position"]), Z95 * np.array(found["excess_se_by_position"])
    position = np.arange(1, len(mean) + 1)
    title = f"{_name(run)}: excess loss on {found['sequences']} {found['split']} sequences, mean and 95% band"
    fig = figure(title, "position t of the predicted token", EXCESS)
    add_band(fig, position, mean - half, mean + half, MODEL)
    fig.add_scatter(
        x=position,
        y=mean,
        customdata=half,
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
