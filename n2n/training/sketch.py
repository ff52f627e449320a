"""A run's curve as a small self-contained image, for a notebook while the run trains."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd

from n2n.viz.style import GRID, MODEL, ORACLE, TEXT

WIDTH, HEIGHT, LEFT, BELOW = 760, 260, 50, 24  # size and margins, pixels
MAX_POINTS = 400  # on a line


def sketch(metrics: pd.DataFrame) -> str:
    """The training loss and the oracle's loss on the same batches, by step, in nats per token.

    Args:
        metrics: metrics of a run with ``step``, ``loss`` and ``oracle_nll``; at least two rows.

    Returns:
        an HTML ``<img>``.
    """
    rows = metrics.iloc[np.unique(np.linspace(0, len(metrics) - 1, min(MAX_POINTS, len(metrics))).astype(int))]
    steps, losses = rows["step"].to_numpy(float), rows[["loss", "oracle_nll"]].to_numpy(float)
    finite = losses[np.isfinite(losses)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    x = LEFT + (WIDTH - LEFT - 10) * (steps - steps[0]) / max(steps[-1] - steps[0], 1)
    y = 10 + (HEIGHT - BELOW - 20) * (high - losses) / max(high - low, 1e-9)
    colours = ((MODEL, "loss"), (ORACLE, "oracle"))
    parts = [_line(x, y[:, i], colour) for i, (colour, _) in enumerate(colours)]
    parts += [_text(WIDTH - 150 + 70 * i, 18, name, colour) for i, (colour, name) in enumerate(colours)]
    parts += [_text(2, 16, f"{high:.3g}"), _text(2, HEIGHT - BELOW - 6, f"{low:.3g}")]
    parts += [_text(LEFT, HEIGHT - 6, f"step {steps[0]:.0f}"), _text(WIDTH - 60, HEIGHT - 6, f"{steps[-1]:.0f}")]
    parts += [_text(WIDTH / 2 - 60, HEIGHT - 6, "nats per token by step")]
    frame = f'width="{WIDTH - LEFT - 5}" height="{HEIGHT - BELOW - 10}"'
    parts += [f'<rect x="{LEFT}" y="5" {frame} fill="none" stroke="{GRID}"/>']
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    head = f'xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12"'
    svg = f"<svg {head}>{''.join(parts)}</svg>"
    alt = f"loss {losses[-1, 0]:.4f}, oracle {losses[-1, 1]:.4f} nats per token at step {steps[-1]:.0f}"
    return f'<img {size} alt="{alt}" src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"/>'


def _line(x: np.ndarray, y: np.ndarray, colour: str) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, colour: str = TEXT) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}">{text}</text>'
