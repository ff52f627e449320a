"""Figures of sequences: tokens, true paths of latents, and the oracle's beliefs."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from n2n.utils.arrays import integers
from n2n.utils.strict import as_integer
from n2n.viz.style import ORACLE, SCALE, TEMPLATE, figure, plain, reduced

if TYPE_CHECKING:
    from n2n.oracle.filtering import Filtered
    from n2n.process.process import Sample

MAX_TOKENS = 20_000  # in one figure, because tokens cannot be averaged
MAX_WRITTEN = 40  # tokens in a row whose numbers fit into the cells
MAX_BELIEFS = 24_000  # of all latents together; beyond this neighbours are averaged
_REDUCED = 96  # states and time steps of each latent after averaging, at most
_GOLDEN = 0.618034  # turn of the colour wheel from one token to the next: near numbers get distant colours
_GAP, _TOKENS, _LOSS = 18, 26, 90  # pixels: gap between rows, row of tokens, row of the oracle's loss
_STATE, _MIN_LATENT, _MAX_LATENTS = 14, 44, 480  # pixels: a state, the smallest latent, all latents at most
_FEW_STATES = 6  # with a tick label each


def token_ribbons(tokens: np.ndarray) -> go.Figure:
    """Sequences as rows of coloured cells, one colour per symbol, which makes repetitions visible.

    Args:
        tokens: ``(batch, T)`` integers from 0.

    Raises:
        ValueError: another shape or type, or more than 20,000 tokens.
    """
    tokens = integers(tokens)
    if tokens.ndim != 2 or not 1 <= tokens.size <= MAX_TOKENS or tokens.min() < 0:
        saw = f"saw shape {tokens.shape}, smallest {tokens.min()}" if tokens.size else f"saw shape {tokens.shape}"
        raise ValueError(f"tokens: {saw}; integers (batch, T) from 0, at most {MAX_TOKENS:,}, are needed")
    count = len(tokens)
    title = f"Tokens of {count} sequence{'' if count == 1 else 's'}, a colour for each symbol"
    fig = figure(title, "position t", "sequence")
    hover = "sequence %{y}, t = %{x}<br>token %{z}<extra></extra>"
    fig.add_trace(_ribbon(tokens, hover))
    fig.update_yaxes(autorange="reversed", dtick=1 if count <= 20 else None, showgrid=False)
    fig.update_xaxes(showgrid=False)
    return fig.update_layout(height=130 + max(26, min(26 * count, 600)), showlegend=False)


def draw_beliefs(sample: Sample, oracle: Filtered, row: int = 0) -> go.Figure:
    """One sequence: each latent's belief P(z_t | x_<=t) under its true path, the tokens, and the oracle's loss.

    If there are more than 24,000 beliefs, neighbouring states and times are averaged, and the title says so.

    Args:
        sample: a sample of a process, with latents.
        oracle: ``n2n.filter(process, sample.tokens, beliefs=True)``.
        row: index of the sequence in the sample.

    Raises:
        ValueError: a sample without latents, an oracle without beliefs or of other sequences, or no such row.
    """
    row = as_integer("row", row, 0, len(sample.tokens) - 1)
    _check(sample, oracle)
    sizes = {name: belief.shape[2] for name, belief in oracle.beliefs.items()}
    heights = [*_heights(list(sizes.values())), _TOKENS, _LOSS]
    inside = sum(heights) + _GAP * (len(heights) - 1)
    rows = {"row_heights": [height / inside for height in heights], "vertical_spacing": _GAP / inside}
    fig = make_subplots(len(heights), 1, shared_xaxes=True, **rows)
    beliefs = {name: _numbers(belief[row]).T for name, belief in oracle.beliefs.items()}
    averaged = _add_beliefs(fig, beliefs, {name: states[row] for name, states in sample.latents.items()})
    below = len(sizes) + 1
    fig.add_trace(_ribbon(sample.tokens[row : row + 1], "t = %{x}: token %{z}<extra></extra>"), row=below, col=1)
    fig.update_yaxes(title_text="token", showticklabels=False, ticks="", showgrid=False, row=below, col=1)
    fig.add_trace(_losses(_numbers(oracle.nll[row])), row=below + 1, col=1)
    fig.update_yaxes(title_text="loss, nats", rangemode="tozero", row=below + 1, col=1)
    fig.update_xaxes(range=[-0.5, sample.tokens.shape[1] - 0.5], showgrid=False)
    fig.update_xaxes(title_text="position t", row=below + 1, col=1)
    bar = {"title": {"text": "belief P(z<sub>t</sub> | x<sub>≤t</sub>)", "side": "right"}, "thickness": 12}
    shades = {"colorscale": SCALE, "cmin": 0, "cmax": 1, "colorbar": bar}
    fig.update_layout(template=TEMPLATE, coloraxis=shades, title=f"The oracle along one sequence{averaged}")
    top = 80 + 20 * averaged.count("<br>")
    return fig.update_layout(height=inside + top + 60, margin={"t": top, "b": 60})


def _check(sample: Sample, oracle: Filtered) -> None:
    if oracle.beliefs is None or set(oracle.beliefs) != set(sample.latents):
        raise ValueError(
            f"oracle: saw beliefs of {list(oracle.beliefs or [])}; those of the sample's latents, "
            f"{list(sample.latents)}, are needed, as of n2n.filter(process, sample.tokens, beliefs=True)"
        )
    count, length = sample.tokens.shape
    if tuple(oracle.nll.shape) != (count, length - 1):
        raise ValueError(f"oracle: saw nll of shape {tuple(oracle.nll.shape)}; ({count}, {length - 1}) is needed")


def _add_beliefs(fig: go.Figure, beliefs: dict[str, np.ndarray], paths: dict[str, np.ndarray]) -> str:
    """Add a row for each latent, of beliefs ``(n, T)`` and a path ``(T,)``; return the title's note on averaging."""
    shapes = [belief.shape for belief in beliefs.values()]
    few = sum(states * times for states, times in shapes) <= MAX_BELIEFS
    max_cells = max(map(max, shapes)) if few and shapes else _REDUCED
    averaged: dict[str, list[str]] = {}
    for i, (name, belief) in enumerate(beliefs.items(), start=1):
        cells, (states, times), clause = reduced(belief, max_cells)
        averaged.setdefault(clause.replace("rows", "states").replace("columns", "times"), []).append(name)
        fig.add_trace(_belief(name, cells, states, times), row=i, col=1)
        fig.add_trace(_path(name, paths[name], i == 1), row=i, col=1)
        ticks = {"dtick": 1} if len(belief) <= _FEW_STATES else {"nticks": 5}
        fig.update_yaxes(title_text=plain(name), range=[-0.5, len(belief) - 0.5], showgrid=False, **ticks, row=i, col=1)
    return "".join(f"<br>{plain(', '.join(names))}: {clause}" for clause, names in averaged.items() if clause)


def _heights(sizes: list[int]) -> list[float]:
    """Pixels of each latent's row."""
    natural = [max(_MIN_LATENT, _STATE * size) for size in sizes]
    part = min(1.0, _MAX_LATENTS / max(1, sum(natural)))
    return [max(_MIN_LATENT, part * height) for height in natural]


def _numbers(tensor) -> np.ndarray:
    """A tensor on any device as an array."""
    return np.asarray(tensor.cpu())


def _belief(name: str, cells: np.ndarray, states: np.ndarray, times: np.ndarray) -> go.Heatmap:
    hover = f"t = %{{x}}, {plain(name)} = %{{y}}<br>belief %{{z:.3f}}<extra></extra>"
    where = {"x": times.tolist(), "y": states.tolist(), "z": cells.round(3).tolist()}
    return go.Heatmap(**where, coloraxis="coloraxis", hovertemplate=hover)


def _path(name: str, states: np.ndarray, first: bool) -> go.Scatter:
    size = max(2.5, min(5.0, 500 / len(states)))
    marks = {"size": size, "color": "white", "line": {"color": "black", "width": size / 5}}
    hover = f"t = %{{x}}: {plain(name)} is in state %{{y}}<extra></extra>"
    where = {"x": list(range(len(states))), "y": states.tolist(), "marker": marks, "hovertemplate": hover}
    return go.Scatter(**where, mode="markers", name="true state", legendgroup="path", showlegend=first)


def _losses(nll: np.ndarray) -> go.Scatter:
    where = {"x": list(range(1, len(nll) + 1)), "y": nll.round(4).tolist()}
    hover = "t = %{x}: oracle %{y:.3f} nats<extra></extra>"
    return go.Scatter(**where, mode="lines", name="oracle", line={"color": ORACLE, "width": 2}, hovertemplate=hover)


def _ribbon(tokens: np.ndarray, hover: str) -> go.Heatmap:
    """Tokens ``(batch, T)`` as cells. The colour of a symbol does not depend on the other tokens."""
    symbols = int(tokens.max()) + 1
    colours = [_colour(token) for token in range(symbols)]
    scale = [(edge / symbols, colour) for token, colour in enumerate(colours) for edge in (token, token + 1)]
    written = {"texttemplate": "%{z}", "textfont": {"size": 10}}
    return go.Heatmap(
        z=tokens.tolist(),
        colorscale=scale,
        zmin=-0.5,
        zmax=symbols - 0.5,
        showscale=False,
        ygap=1,
        hovertemplate=hover,
        **(written if tokens.shape[1] <= MAX_WRITTEN else {}),
    )


def _colour(token: int) -> str:
    """Hues from yellow through blue to pink, without the hue of the oracle's line."""
    hue = (50 + 300 * (token * _GOLDEN % 1.0)) / 360
    light = (0.72, 0.55, 0.4)[token % 3]
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, light, 0.55))
