"""Figures: values in, plotly figures out, with one look."""

from n2n.viz.curves import excess_by_position, learning_curve
from n2n.viz.growth import cost_growth
from n2n.viz.network import draw_graph
from n2n.viz.sweeps import excess_by_run

__all__ = ["cost_growth", "draw_graph", "excess_by_position", "excess_by_run", "learning_curve"]
