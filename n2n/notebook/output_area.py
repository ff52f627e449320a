"""The content of a notebook's output area."""

from __future__ import annotations

import html
import json
from typing import Any

import plotly.graph_objects as go

View = go.Figure | str  # a figure, or a sentence that says why there is none


def paragraph(text: str) -> str:
    """Return HTML that shows a text literally: no tags, and no dollar signs as mathematics in Jupyter's MathJax."""
    return f'<p class="mathjax_ignore tex2jax_ignore">{html.escape(text)}</p>'


def display_data(view: View) -> dict[str, Any]:
    """Return the entry for ``Output.outputs`` that shows a view; assigning it needs no kernel to capture a display."""
    if isinstance(view, str):
        bundle: dict[str, Any] = {"text/plain": view, "text/html": paragraph(view)}
    else:
        bundle = {"application/vnd.plotly.v1+json": json.loads(view.to_json())}
    return {"output_type": "display_data", "metadata": {}, "data": bundle}
