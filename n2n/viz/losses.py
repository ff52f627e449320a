"""What predictors lose that know more and more."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from n2n.viz.style import BASELINE, NATS, ORACLE, TEXT, faint, figure, plain


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
