"""What an output area of a notebook shows."""

from __future__ import annotations

import html
import json
from typing import Any

import plotly.graph_objects as go

View = go.Figure | str  # a figure, or the sentence in its place


def paragraph(text: str) -> str:
    """HTML that shows a text as it is: tags are no markup, and dollar signs no mathematics, to Jupyter's MathJax."""
    return f'<p class="mathjax_ignore tex2jax_ignore">{html.escape(text)}</p>'


def output(drawn: View) -> dict[str, Any]:
    """What an ``Output`` keeps of a thing that was displayed in it; set as a whole, it needs no kernel to catch it."""
    said = {"text/plain": drawn, "text/html": paragraph(drawn)} if isinstance(drawn, str) else None
    bundle = said or {"application/vnd.plotly.v1+json": json.loads(drawn.to_json())}
    return {"output_type": "display_data", "metadata": {}, "data": bundle}
