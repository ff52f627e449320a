"""Ideal learners beside a design's trained ones: what the graph, a hidden chain or n-grams give from N sequences.

``aware`` knows the graph and fits its kernels (``n2n.fit_kernels``); ``blind`` fits one hidden chain of as many joint
states (``n2n.blind_graph``); ``ngram`` is the best of orders 1 to 3 on ``valid``. A fit that starts from the true
kernels has nothing to find and only counts; one from random starts has to find them too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from n2n.analysis.evaluation import held_out
from n2n.analysis.held_out import HeldOut
from n2n.difficulty.blind_graphs import blind_graph, blind_process
from n2n.difficulty.kernel_fits import KernelFit, fit_kernels
from n2n.difficulty.ngrams import fit_ngram
from n2n.experiments.calibrated import Key
from n2n.experiments.design import Cell, Design
from n2n.experiments.points import Point, train_config
from n2n.graph.graph import Graph
from n2n.oracle.filtering import filter
from n2n.process.process import Process
from n2n.utils.statistics import mean_and_error

SEQUENCES = (30, 100, 300, 1_000, 3_000, 10_000)  # numbers of training sequences, if none are given
MAX_BLIND = 64  # joint states of a blind learner, at most
ORDERS = (1, 2, 3)  # of n-grams
KNOWN_ITERATIONS = 25  # from the truth, at most
STARTS, TRIAL, ITERATIONS = 8, 10, 100  # random starts, iterations of each before one is chosen, and of that one
TRIAL_SEQUENCES = 1_000  # the first ones, on which a random start is chosen and fitted before all are read
DIGITS = 7  # decimals of nats per token


class Ideal(NamedTuple):
    """One ideal learner. Fields are columns of its results.

    Attributes:
        level, target, process: its process.
        predictor: ``"aware"``, ``"blind"`` or ``"ngram"``.
        start: ``"truth"`` or ``"random"``; ``"none"`` for n-grams.
        sequences: number of training sequences, the first of the split ``train``.
    """

    level: str
    target: float
    process: int
    predictor: str
    start: str
    sequences: int


MEASURED = ("excess", "standard_error", "oracle", "iterations", "converged", "starts", "order", "log_posterior")
IDEAL_COLUMNS = (*Ideal._fields, *MEASURED, "seconds", "note")


def ideals(design: Design, alphas: Mapping[Key, float], sequences: Sequence[int] = SEQUENCES) -> list[Ideal]:
    """All ideal learners of a design, those of few sequences first, then those of the first process seeds.

    There is no blind learner of more than ``MAX_BLIND`` joint states, of a latent that sees X, or where it is the aware
    one (``is_blind``).
    """
    axes = (sorted(sequences), design.processes, design.targets, design.levels)
    return [
        Ideal(level.name, target, process, *kind, count)
        for count, process, target, level in product(*axes)
        if (level.name, target, process) in alphas
        for kind in _kinds(level.graph)
    ]


def _kinds(graph: Graph) -> Iterator[tuple[str, str]]:
    yield "ngram", "none"
    few = graph.latents and graph.num_joint_states <= MAX_BLIND and not graph.feeds_back
    for start in ("truth", "random"):
        yield "aware", start
        if few and not is_blind(graph):
            yield "blind", start


def is_blind(graph: Graph) -> bool:
    """Whether the graph is one plain chain, so that a learner that knows it knows no more than a blind one."""
    if len(graph.latents) != 1 or graph.feeds_back:
        return False
    (node,) = graph.latents
    return node.mode == "default" and node.stickiness == 0


def ideal_rows(design: Design, ideal: Ideal, alpha: float) -> list[dict[str, Any]]:
    """Fit an ideal learner and judge it on the held-out sequences of the trained learners.

    Args:
        design: the design.
        ideal: what is fitted.
        alpha: the calibrated concentration of its process.

    Returns:
        its row, and that of the blind learner if it is the same; with a ``note`` instead of losses if the graph cannot
        be fitted.
    """
    began = time.monotonic()
    row = ideal._asdict()
    try:
        row |= _judged(_Data.of(design, ideal, alpha), ideal)
    except ValueError as error:
        row["note"] = " ".join(str(error).split())
    row["seconds"] = round(time.monotonic() - began, 2)
    if ideal.predictor == "aware" and is_blind(design.level(ideal.level).graph):
        return [row, {**row, "predictor": "blind", "seconds": 0.0}]
    return [row]


@dataclass(frozen=True, eq=False)
class _Data:
    """The sequences of an ideal learner: ``train (sequences, T)``, and what it is chosen and judged on."""

    process: Process
    train: np.ndarray
    valid: HeldOut
    test: HeldOut

    @classmethod
    def of(cls, design: Design, ideal: Ideal, alpha: float) -> _Data:
        size, key = design.sizes[0], (ideal.level, ideal.target, ideal.process)
        cell = Cell(*key, design.reference, size.dim, size.layers, design.steps[0], ideal.sequences, design.seeds[0])
        config = train_config(design, Point(cell, design.lrs[0]), alpha)
        tokens = config.process.sample(ideal.sequences, length=design.seq_len, latents=False).tokens
        return cls(config.process, tokens.astype(np.int64), held_out(config, "valid"), held_out(config, "test"))


def _judged(data: _Data, ideal: Ideal) -> dict[str, Any]:
    if ideal.predictor == "ngram":
        nll, settings = _ngram(data)
    else:
        fit, settings = _fitted(data, ideal)
        nll = filter(fit.process, data.test.tokens).nll.numpy()
    mean, error = mean_and_error((nll - data.test.oracle_nll).mean(axis=1))
    losses = {"excess": mean, "standard_error": error, "oracle": data.test.oracle_nll.mean()}
    return {name: round(float(loss), DIGITS) for name, loss in losses.items()} | settings


def _ngram(data: _Data) -> tuple[np.ndarray, dict[str, Any]]:
    """Losses on ``test`` of the order that is best on ``valid``."""
    vocab_size = data.process.graph.vocab_size
    fits = {order: fit_ngram(data.train, vocab_size, order) for order in ORDERS if order <= data.train.shape[1]}
    best = min(fits, key=lambda order: fits[order].nll(data.valid.tokens).mean())
    return fits[best].nll(data.test.tokens), {"order": best}


def _fitted(data: _Data, ideal: Ideal) -> tuple[KernelFit, dict[str, Any]]:
    aware = ideal.predictor == "aware"
    graph = data.process.graph if aware else blind_graph(data.process.graph)
    if ideal.start == "truth":
        truth = data.process if aware else blind_process(data.process)
        fit, spent, starts = fit_kernels(graph, data.train, start=truth, max_iterations=KNOWN_ITERATIONS), 0, 1
    else:
        fit, spent = _found(graph, data.train, ideal.process)
        starts = STARTS
    objective = round(float(fit.objective[-1]), 3)
    settings = {"iterations": spent + fit.iterations, "converged": fit.converged, "starts": starts}
    return fit, {**settings, "log_posterior": objective}


def _found(graph: Graph, tokens: np.ndarray, seed: int) -> tuple[KernelFit, int]:
    """The best of several random starts, and the iterations that it had before all sequences were read."""
    few = tokens[:TRIAL_SEQUENCES]
    fit = fit_kernels(graph, few, starts=STARTS, trial=TRIAL, seed=seed, max_iterations=ITERATIONS)
    if len(few) == len(tokens):
        return fit, 0
    return fit_kernels(graph, tokens, start=fit.process, max_iterations=ITERATIONS), fit.iterations
