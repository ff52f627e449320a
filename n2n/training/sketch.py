"""A run's curve as a small picture that needs nothing to be shown: for a notebook while the run goes on."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd

from n2n.viz.style import GRID, MODEL, ORACLE, TEXT

WIDTH, HEIGHT, LEFT, BELOW = 760, 260, 50, 24  # pixels
MAX_POINTS = 400  # points of a line


def sketch(metrics: pd.DataFrame) -> str:
    """The training loss and the oracle's on the same batches by step, nats per token, as an ``<img>`` of HTML.

    Args:
        metrics: of a run, with ``step``, ``loss`` and ``oracle_nll``; two rows at least.
    """
    some = metrics.iloc[np.unique(np.linspace(0, len(metrics) - 1, min(MAX_POINTS, len(metrics))).astype(int))]
    steps, losses = some["step"].to_numpy(float), some[["loss", "oracle_nll"]].to_numpy(float)
    seen = losses[np.isfinite(losses)]
    low, high = (seen.min(), seen.max()) if seen.size else (0.0, 1.0)
    x = LEFT + (WIDTH - LEFT - 10) * (steps - steps[0]) / max(steps[-1] - steps[0], 1)
    y = 10 + (HEIGHT - BELOW - 20) * (high - losses) / max(high - low, 1e-9)
    colours = ((MODEL, "loss"), (ORACLE, "oracle"))
    drawn = [_line(x, y[:, i], colour) for i, (colour, _) in enumerate(colours)]
    drawn += [_text(WIDTH - 150 + 70 * i, 18, name, colour) for i, (colour, name) in enumerate(colours)]
    drawn += [_text(2, 16, f"{high:.3g}"), _text(2, HEIGHT - BELOW - 6, f"{low:.3g}")]
    drawn += [_text(LEFT, HEIGHT - 6, f"step {steps[0]:.0f}"), _text(WIDTH - 60, HEIGHT - 6, f"{steps[-1]:.0f}")]
    drawn += [_text(WIDTH / 2 - 60, HEIGHT - 6, "nats per token by step")]
    inside = f'width="{WIDTH - LEFT - 5}" height="{HEIGHT - BELOW - 10}"'
    drawn += [f'<rect x="{LEFT}" y="5" {inside} fill="none" stroke="{GRID}"/>']
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    head = f'xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12"'
    svg = f"<svg {head}>{''.join(drawn)}</svg>"
    alt = f"loss {losses[-1, 0]:.4f}, oracle {losses[-1, 1]:.4f} nats per token at step {steps[-1]:.0f}"
    return f'<img {size} alt="{alt}" src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"/>'


def _line(x: np.ndarray, y: np.ndarray, colour: str) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, colour: str = TEXT) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}">{text}</text>'
