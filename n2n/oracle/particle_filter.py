"""A Rao-Blackwellised particle filter over latent paths, with kernels that are learned on the way.

A particle holds its joint latent state and its counts; no kernel is ever drawn. Its next state is drawn given the next
token, and its weight does not depend on that draw, since it sums over all next states (the fully adapted proposal).
Source: Doucet, de Freitas, Murphy and Russell, "Rao-Blackwellised particle filtering for dynamic Bayesian networks",
UAI 2000; Pitt and Shephard, "Filtering via simulation: auxiliary particle filters", J. Am. Stat. Assoc. 94 (1999).
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.kernel_counts import Counts, Moment, Place
from n2n.process.initial_law import shows_latents_first

_COPIES = 6  # laws over the joint states alive at once within a step
_NUMBERS = 24  # other numbers that a particle needs within a step


def bytes_per_filter(graph: Graph, particles: int) -> int:
    """Bytes that one filter of this many particles takes while it steps."""
    learned = sum(graph.kernel_size(node) for node in graph.context_nodes)
    learned += sum(graph.kernel_size(node) // node.num_states for node in graph.context_nodes)
    # counts of four bytes, twice: resampling makes a copy
    return particles * (8 * (_COPIES * graph.num_joint_states + _NUMBERS) + 4 * 2 * learned)


def bytes_of_tables(graph: Graph) -> int:
    """Bytes of what all filters share."""
    fixed = sum(graph.kernel_size(node) for node in graph.nodes if node.mode != "context")
    return 8 * (fixed + len(graph.nodes) * graph.num_joint_states)


class Streams:
    """Random numbers of several filters, each a pure function of (seed, sequence, repeat) and of how many came before.

    Args:
        seed: from 0 to 2**63 - 1.
        filters: ``(filters, 2)``, the sequence and the repeat of each.
        particles: of each filter.
    """

    def __init__(self, seed: int, filters: Tensor, particles: int) -> None:
        keys = [np.array([seed, sequence + (repeat << 32)], np.uint64) for sequence, repeat in filters.tolist()]
        self.generators = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        self.particles = particles

    def uniforms(self, rows: int) -> np.ndarray:
        """``(rows, filters, particles)`` in [0, 1)."""
        return np.stack([generator.random((rows, self.particles)) for generator in self.generators], axis=1)


class Cloud:
    """The particles of several filters that step side by side.

    Args:
        graph: the graph.
        places: where its kernels' entries lie.
        filters: number of filters.
        particles: number of particles of each.
        streams: the filters' random numbers; None where a filter is one particle that has nothing to draw.
    """

    def __init__(
        self, graph: Graph, places: list[Place], filters: int, particles: int, streams: Streams | None
    ) -> None:
        self.places, self.streams, self.particles = places, streams, particles
        self.sizes = graph.latent_sizes
        self.device = places[-1].inside.device
        self.weights = torch.full((filters, particles), 1 / particles, dtype=torch.float64, device=self.device)
        self.counts = {
            place.node.name: Counts(place, graph.kernel_size(place.node), filters * particles)
            for place in places
            if place.table is None
        }
        self.states = torch.zeros(filters * particles, dtype=torch.int64, device=self.device)
        self.initial, self.first_is_shown = graph.initial, shows_latents_first(graph)

    def start(self, first: Tensor) -> None:
        """Draw the latents at t = 0 given the first tokens ``(filters,)``, which count where X's kernel drew them."""
        uniform = self._uniforms(1)[0]
        if self.initial == "zero":
            return
        token = first.repeat_interleave(self.particles)
        moment = Moment(self.states, token, token)  # there is no token before, and none that sees it
        law = torch.ones(len(token), prod(self.sizes), dtype=torch.float64, device=self.device)
        if self.first_is_shown:
            shown = self._factor(self.places[-1], moment).view(-1, *self.places[-1].spread)
            law = (law.view(-1, *self.sizes) * shown).view(law.shape)
        self.states = _drawn(law.cumsum(1), uniform)
        x = self.counts.get(self.places[-1].node.name)
        if self.first_is_shown and x is not None:
            x.add(moment, self.states, uniform)

    def _uniforms(self, rows: int) -> Tensor:
        """``(rows, N)`` in [0, 1)."""
        if self.streams is None:
            return torch.zeros(rows, self.weights.numel(), dtype=torch.float64, device=self.device)
        return torch.from_numpy(self.streams.uniforms(rows)).to(self.device).view(rows, -1)

    def step(self, before: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Move on by one token; ``before`` and ``token`` are ``(filters,)``, those at t - 1 and t.

        Returns:
            log P(token | past) as the filters have it, ``(filters,)`` nats; their running sum is the logarithm of an
            unbiased estimate of the likelihood. And the effective sample size, ``(filters,)``, before resampling.
        """
        seen = [tokens.repeat_interleave(self.particles) for tokens in (before, token)]
        uniforms = self._uniforms(2 + len(self.counts))
        law = self._law(Moment(self.states, *seen)).cumsum(1)  # (N, S)
        weights = self.weights * law[:, -1].view_as(self.weights)
        evidence = weights.sum(1)
        # A filter whose particles all died has likelihood 0 for good; even weights keep its later numbers finite.
        self.weights = torch.where(evidence[:, None] > 0, weights / evidence[:, None], 1 / self.particles)
        sample_size = 1 / self.weights.square().sum(1)
        self._resample(law, sample_size, uniforms[0].view_as(weights)[:, 0])
        states = _drawn(law, uniforms[1])
        moment = Moment(self.states, *seen)
        for counts, uniform in zip(self.counts.values(), uniforms[2:], strict=True):
            counts.add(moment, states, uniform)
        self.states = states
        return evidence.log(), sample_size

    def _law(self, moment: Moment) -> Tensor:
        """P(z_t, x_t = token | particle), ``(N, S)``: the product over nodes of what their rows predict."""
        factors = [self._factor(place, moment) for place in self.places]
        total = len(moment.states)
        law = torch.ones(total, dtype=torch.float64, device=self.device)
        for k, (place, factor) in enumerate(zip(self.places, factors, strict=True)):
            grown = (1,) if k < len(self.sizes) else ()
            law = law.view(total, *self.sizes[:k], *grown) * factor.view(total, *place.spread)
        return law.reshape(total, -1)

    def _factor(self, place: Place, moment: Moment) -> Tensor:
        """What a node's rows predict, ``(N, entries of a slab)``."""
        if place.table is None:
            return self.counts[place.node.name].predictive(moment)
        return place.table.index_select(0, place.number(place.slab, moment))

    def _resample(self, law: Tensor, sample_size: Tensor, offset: Tensor) -> None:
        """Systematic resampling of the filters whose weights are too uneven; ``law``, the laws to draw from, too.

        It comes once the token has weighed the particles and before they move, so that copies may part.
        """
        poor = (sample_size < self.particles / 2).nonzero()[:, 0]
        if len(poor) == 0:
            return
        ladder = torch.arange(self.particles, dtype=torch.float64, device=self.device)
        rungs = self.weights[poor].cumsum(1)
        chosen = torch.searchsorted(rungs, (ladder + offset[poor, None]) / self.particles * rungs[:, -1:], right=True)
        start = poor[:, None] * self.particles
        source = (start + chosen.clamp_(max=self.particles - 1)).view(-1)
        target = (start + ladder.long()).view(-1)
        counted = [table for counts in self.counts.values() for table in (counts.cells, counts.totals)]
        for values in (law, self.states, *counted):
            values[target] = values[source]
        self.weights[poor] = 1 / self.particles


def _drawn(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """States ``(N,)`` by inversion of cumulative laws ``(N, S)``, which need not end in 1."""
    drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return drawn.clamp_(max=cumulative.shape[1] - 1)
