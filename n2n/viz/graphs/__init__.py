"""Figures of latent graphs: nodes and edges, kernels, and a graph unrolled over a sequence."""

from n2n.viz.graphs.graph import draw_graph
from n2n.viz.graphs.kernels import draw_kernels
from n2n.viz.graphs.unrolled_graph import unrolled_mixing

__all__ = ["draw_graph", "draw_kernels", "unrolled_mixing"]
