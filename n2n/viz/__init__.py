"""Figures: values in, plotly figures out, with one look."""

from n2n.viz.compared import excess_against_ngrams, excess_along, excess_by_state, reliability_diagram
from n2n.viz.curves import excess_by_position, learning_curve
from n2n.viz.difficulty import compression_against_entropy, compression_by_tokens, equal_difficulty, phase_diagram
from n2n.viz.forming import beliefs_over_steps, excess_over_steps, forming
from n2n.viz.growth import cost_growth
from n2n.viz.kernels import draw_kernels
from n2n.viz.losses import draw_losses
from n2n.viz.mixing import agreement_by_head, mixing_maps, shares_by_lag
from n2n.viz.network import draw_graph
from n2n.viz.probing import belief_simplex, probe_curves
from n2n.viz.scaling import equal_size, scaling_law
from n2n.viz.sequences import draw_beliefs, token_ribbons
from n2n.viz.sweeps import excess_by_run
from n2n.viz.unrolled import unrolled_mixing

__all__ = [
    "agreement_by_head",
    "belief_simplex",
    "beliefs_over_steps",
    "compression_against_entropy",
    "compression_by_tokens",
    "cost_growth",
    "draw_beliefs",
    "draw_graph",
    "draw_kernels",
    "draw_losses",
    "equal_difficulty",
    "equal_size",
    "excess_against_ngrams",
    "excess_along",
    "excess_by_position",
    "excess_by_run",
    "excess_by_state",
    "excess_over_steps",
    "forming",
    "learning_curve",
    "mixing_maps",
    "phase_diagram",
    "probe_curves",
    "reliability_diagram",
    "scaling_law",
    "shares_by_lag",
    "token_ribbons",
    "unrolled_mixing",
]
