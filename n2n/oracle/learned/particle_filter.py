"""A Rao-Blackwellised particle filter over latent paths, which learns unknown kernels from the sequence.

A particle consists of its joint latent state and its counts; kernels are integrated out, never sampled. The filter
draws a particle's next state given the next token (the fully adapted proposal). The particle's weight sums over all
next states, so it does not depend on that draw.

Source: Doucet, de Freitas, Murphy and Russell, "Rao-Blackwellised particle filtering for dynamic Bayesian networks",
UAI 2000; Pitt and Shephard, "Filtering via simulation: auxiliary particle filters", J. Am. Stat. Assoc. 94 (1999).
CPUs run ``n2n.oracle.compiled.particles`` instead, with the same random numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.compiled.particles import NEXT_STATE, OFFSET, REPEAT, STICKY, philox_key
from n2n.oracle.learned.kernel_counts import Counts, Moment, Place
from n2n.process.components import latent_law
from n2n.process.initial_law import shows_latents_first
from n2n.utils.philox import fill_uniforms

_COPIES = 6  # distributions over the joint states that are in memory at once within a step
_NUMBERS = 24  # other numbers that a particle needs within a step


def bytes_per_filter(graph: Graph, particles: int) -> int:
    """Bytes that one filter with this number of particles needs during a step."""
    learned = sum(graph.kernel_size(node) for node in graph.context_nodes)
    learned += sum(graph.kernel_size(node) // node.num_states for node in graph.context_nodes)
    # counts of four bytes each, twice because resampling makes a copy
    return particles * (8 * (_COPIES * graph.num_joint_states + _NUMBERS) + 4 * 2 * learned)


def bytes_of_tables(graph: Graph) -> int:
    """Bytes of the tables that all filters share."""
    fixed = sum(graph.kernel_size(node) for node in graph.nodes if not node.redrawn)
    return 8 * (fixed + len(graph.nodes) * graph.num_joint_states)


class Streams:
    """Random numbers of several filters.

    Each number is a pure function of (seed, sequence, repeat, t, particle) and of what it is for.

    Args:
        seed: from 0 to 2**63 - 1.
        filters: ``(filters, 2)``, the sequence and the repeat of each filter.
        particles: number of particles of each filter.
    """

    def __init__(self, seed: int, filters: Tensor, particles: int) -> None:
        pairs = (particles + 1) // 2
        self.key, self.filters = philox_key(seed), filters.tolist()
        self.index, self.words = np.zeros((2, pairs), np.uint64), np.empty((4, pairs), np.uint64)
        self.index[0] = np.arange(pairs)

    def uniforms(self, t: int, purpose: int, count: int) -> np.ndarray:
        """Uniform random numbers in [0, 1) for the first particles, ``(filters, count)``."""
        values = np.empty((len(self.filters), 2, (count + 1) // 2))
        self.index[1] = t
        for (sequence, repeat), pairs in zip(self.filters, values, strict=True):
            words = np.uint64(sequence), np.uint64(repeat * REPEAT + purpose)
            fill_uniforms(self.index, pairs.shape[1], *words, *self.key, self.words, pairs)
        return values.reshape(len(values), -1)[:, :count]


class Cloud:
    """The particles of several filters, which all step together.

    Args:
        graph: the graph.
        places: the layouts of its kernels.
        filters: number of filters.
        particles: number of particles of each filter.
        streams: the filters' random numbers, or None if each filter is one particle that draws nothing.
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
        self.law = None if graph.initial == "zero" else torch.from_numpy(latent_law(graph).ravel()).to(self.device)
        self.first_is_shown = shows_latents_first(graph)
        self.t = 0

    def start(self, first: Tensor) -> None:
        """Draw the latents at t = 0 given the first tokens ``(filters,)``.

        If X's kernel emits the first tokens and must be learned, they are counted.
        """
        uniform = self._uniforms(NEXT_STATE, self.particles).view(-1)
        if self.law is None:
            return
        token = first.repeat_interleave(self.particles)
        moment = Moment(self.states, token, token)  # there is no previous token; no node that is read here sees it
        law = self.law.expand(len(token), -1)
        if self.first_is_shown:
            shown = self._factor(self.places[-1], moment).view(-1, *self.places[-1].spread)
            law = (law.reshape(-1, *self.sizes) * shown).view(law.shape)
        self.states = _drawn(law.cumsum(1), uniform)
        x = self.counts.get(self.places[-1].node.name)
        if self.first_is_shown and x is not None:
            x.add(moment, self.states, uniform)

    def _uniforms(self, purpose: int, count: int) -> Tensor:
        """Uniform random numbers in [0, 1) for this t, ``(filters, count)``; zeros without streams."""
        if self.streams is None:
            return torch.zeros(len(self.weights), count, dtype=torch.float64, device=self.device)
        return torch.from_numpy(self.streams.uniforms(self.t, purpose, count)).to(self.device).contiguous()

    def step(self, before: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Advance all filters by one token.

        Args:
            before: ``(filters,)``, the tokens at t - 1.
            token: ``(filters,)``, the tokens at t.

        Returns:
            Each filter's log P(token | past), ``(filters,)``, nats, whose running sum is the logarithm of an unbiased
            estimate of the likelihood; and the effective sample size before resampling, ``(filters,)``.
        """
        seen = [tokens.repeat_interleave(self.particles) for tokens in (before, token)]
        self.t += 1
        law = self._law(Moment(self.states, *seen)).cumsum(1)  # (N, S)
        weights = self.weights * law[:, -1].view_as(self.weights)
        evidence = weights.sum(1)
        # If all particles of a filter have weight 0, its likelihood stays 0; equal weights keep later numbers finite.
        self.weights = torch.where(evidence[:, None] > 0, weights / evidence[:, None], 1 / self.particles)
        sample_size = 1 / self.weights.square().sum(1)
        self._resample(law, sample_size, self._uniforms(OFFSET, 1)[:, 0])
        states = _drawn(law, self._uniforms(NEXT_STATE, self.particles).view(-1))
        moment = Moment(self.states, *seen)
        for k, place in enumerate(self.places):
            if place.table is None:
                uniforms = self._uniforms(STICKY + k, self.particles).view(-1) if place.node.stickiness else None
                self.counts[place.node.name].add(moment, states, uniforms)
        self.states = states
        return evidence.log(), sample_size

    def _law(self, moment: Moment) -> Tensor:
        """P(z_t, x_t = token | particle), ``(N, S)``: the product of all nodes' predictive probabilities."""
        factors = [self._factor(place, moment) for place in self.places]
        total = len(moment.states)
        law = torch.ones(total, dtype=torch.float64, device=self.device)
        for k, (place, factor) in enumerate(zip(self.places, factors, strict=True)):
            grown = (1,) if k < len(self.sizes) else ()
            law = law.view(total, *self.sizes[:k], *grown) * factor.view(total, *place.spread)
        return law.reshape(total, -1)

    def _factor(self, place: Place, moment: Moment) -> Tensor:
        """The predictive probabilities of a node, ``(N, entries of a slab)``."""
        if place.table is None:
            return self.counts[place.node.name].predictive(moment)
        return place.table.index_select(0, place.number(place.slab, moment))

    def _resample(self, law: Tensor, sample_size: Tensor, offset: Tensor) -> None:
        """Resample systematically each filter whose effective sample size is below half its number of particles.

        The rows of ``law (N, S)``, from which the next states are drawn, are resampled with the particles. Resampling
        follows the weighting by the token and precedes the move, so that copies of a particle can move differently.
        Survivors stay in place, and further copies of them replace the other particles.
        """
        poor = (sample_size < self.particles / 2).nonzero()[:, 0]
        if len(poor) == 0:
            return
        ladder = torch.arange(self.particles, dtype=torch.float64, device=self.device)
        rungs = self.weights[poor].cumsum(1)
        chosen = torch.searchsorted(rungs, (ladder + offset[poor, None]) / self.particles * rungs[:, -1:], right=True)
        first = torch.arange(len(poor), device=self.device)[:, None] * self.particles
        offspring = (first + chosen.clamp_(max=self.particles - 1)).view(-1).bincount(minlength=chosen.numel())
        place = (poor[:, None] * self.particles + ladder.long()).view(-1)
        target, source = place[offspring == 0], place.repeat_interleave((offspring - 1).clamp_(min=0))
        counted = [table for counts in self.counts.values() for table in (counts.cells, counts.totals)]
        for values in (law, self.states, *counted):
            values[target] = values[source]
        self.weights[poor] = 1 / self.particles


def _drawn(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Draw states ``(N,)`` by inversion of cumulative distributions ``(N, S)``, which need not be normalised."""
    drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return drawn.clamp_(max=cumulative.shape[1] - 1)
