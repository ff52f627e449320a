"""Figures: functions from values to plotly figures, in one style."""

from n2n.viz.benchmark import cost_growth
from n2n.viz.comparison import excess_against_ngrams, excess_along, excess_by_state, reliability_diagram
from n2n.viz.difficulty import (
    compression_against_entropy,
    compression_by_tokens,
    draw_losses,
    equal_difficulty,
    phase_diagram,
)
from n2n.viz.dynamics import beliefs_over_steps, excess_over_steps, forming
from n2n.viz.graphs import draw_graph, draw_kernels, unrolled_mixing
from n2n.viz.in_context import (
    distances_over_pools,
    distances_over_steps,
    head_maps,
    heads_over_steps,
    losses_by_position,
    losses_over_pools,
    losses_over_steps,
)
from n2n.viz.loss_curves import excess_by_position, learning_curve
from n2n.viz.mixing import agreement_by_head, mixing_maps, shares_by_lag
from n2n.viz.probes import belief_simplex, probe_curves
from n2n.viz.sequences import draw_beliefs, token_ribbons
from n2n.viz.sweeps import equal_size, excess_by_run, scaling_law

__all__ = [
    "agreement_by_head",
    "belief_simplex",
    "beliefs_over_steps",
    "compression_against_entropy",
    "compression_by_tokens",
    "cost_growth",
    "distances_over_pools",
    "distances_over_steps",
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
    "head_maps",
    "heads_over_steps",
    "learning_curve",
    "losses_by_position",
    "losses_over_pools",
    "losses_over_steps",
    "mixing_maps",
    "phase_diagram",
    "probe_curves",
    "reliability_diagram",
    "scaling_law",
    "shares_by_lag",
    "token_ribbons",
    "unrolled_mixing",
]
