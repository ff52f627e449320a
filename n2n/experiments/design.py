"""A design: the factor, its levels and everything that is crossed with them, as one value."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from itertools import product
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field, field_validator, model_validator

from n2n import models
from n2n.config.fields import GraphOrName
from n2n.config.train_config import TrainConfig
from n2n.oracle.checks import check_fixed
from n2n.utils.configuration import Configuration, errors_of
from n2n.utils.strict import (
    Count,
    Ordered,
    Positive,
    Seed,
    SeveralErrors,
    Strict,
    short_repr,
    unknown_name_message,
)

# Fields that may grow while results are kept: every row of the results names its own value of them.
EXTENTS = frozenset(
    {"question", "targets", "processes", "archs", "sizes", "steps", "sequences", "lrs", "seeds", "tuning"}
)
SET_BY_POINT = ("graph", "tables", "arch", "dim", "layers", "model_options", "sequences", "steps", "lr", "seed")
SET_BY_POINT += ("process_seed", "run_dir", "data")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"  # names become parts of folders' names


class Level(Strict):
    """One level of a design's factor: a latent graph and the nodes whose concentration is calibrated.

    Args:
        name: name of the level, such as ``"6x2"``; letters, digits and any of ``_.+-``.
        graph: the latent graph, or the name of a preset.
        free: names of the nodes that share the calibrated concentration. Empty: all latents, or X without latents.

    Raises:
        ValueError: if a node is unknown or kernels are redrawn for every sequence.
    """

    positional: ClassVar[tuple[str, ...]] = ("name", "graph")

    name: Annotated[str, Field(max_length=40, pattern=NAME)]
    graph: GraphOrName
    free: Ordered[str] = ()

    @model_validator(mode="after")
    def _can_be_calibrated(self) -> Level:
        check_fixed(self.graph)
        for name in self.free:
            if name not in self.graph.names:
                raise ValueError(f"free: {unknown_name_message('node', name, self.graph.names)}")
        return self

    @property
    def calibrated_nodes(self) -> tuple[str, ...]:
        """Names of the nodes whose concentration is calibrated."""
        return self.free or self.graph.latent_names or (self.graph.observed.name,)


class Size(Strict):
    """Size of the reference architecture; the others are matched to its number of parameters.

    Args:
        dim: width.
        layers: number of blocks.
    """

    positional: ClassVar[tuple[str, ...]] = ("dim", "layers")

    dim: Count = 32
    layers: Count = 2

    def __str__(self) -> str:
        return f"{self.dim}x{self.layers}"


class Cell(NamedTuple):
    """What a run is about: all factors of a run but its learning rate. Fields are columns of the results."""

    level: str
    target: float
    process: int
    arch: str
    dim: int
    layers: int
    steps: int
    sequences: int
    seed: int


class Design(Configuration):
    """An experiment: levels of a factor, crossed with entropies, processes, learners and budgets.

    Each process is calibrated, so that every level has the same exact entropy for every process seed. All architectures
    have the number of parameters of ``reference``. Each learns at the rate that is best on ``valid`` (see
    ``n2n.experiments.rates``) and is judged on ``test``.

    Args:
        name: name of the design and of its results file.
        factor: what varies between levels, in a word: ``"nodes"``.
        levels: at least two; a ``Level``, each with its own name.
        question: the question, for people.
        targets: oracle losses, nats per token, that every process is calibrated to.
        processes: process seeds. They are the replicates over which intervals are made.
        archs: architectures.
        reference: the architecture whose ``sizes`` are given; the others match its number of parameters.
        sizes: ``Size`` of the reference.
        steps: training budgets, in updates.
        sequences: numbers of distinct training sequences; None reads each sequence once.
        lrs: learning rates to choose from.
        tuning: number of process seeds, from the first, on which all learning rates are tried.
        seeds: seeds of the initial weights.
        seq_len: tokens in a sequence.
        batch_size: sequences in an update.
        tolerance: largest distance of a process's entropy from its target, nats per token.
        calibration_sequences: sequences on which the entropy of a process is measured in the search.
        training: further fields of ``n2n.TrainConfig`` that all runs share.

    Raises:
        ValueError: one line for each wrong field: a factor with one level, levels of one name, a value that is listed
            twice, a field in ``training`` that the design sets, or a configuration that ``n2n.TrainConfig`` refuses.
    """

    positional: ClassVar[tuple[str, ...]] = ("name", "factor", "levels")

    name: Annotated[str, Field(max_length=40, pattern=NAME)]
    factor: Annotated[str, Field(max_length=40, pattern=NAME)]
    levels: Ordered[Level]
    question: str = ""
    targets: Ordered[Positive]
    processes: Ordered[Seed] = tuple(range(5))
    archs: Ordered[str] = ("transformer", "mamba")
    reference: str = "transformer"
    sizes: Ordered[Size] = (Size(),)
    steps: Ordered[Count] = (500,)
    sequences: Ordered[Count | None] = (None,)
    lrs: Ordered[Positive] = (1e-2, 3e-2, 1e-1)
    tuning: Count = 2
    seeds: Ordered[Seed] = (0,)
    seq_len: Annotated[Count, Field(ge=2)] = 64
    batch_size: Count = 32
    tolerance: Positive = 0.005
    calibration_sequences: Annotated[Count, Field(ge=2)] = 512
    training: dict[str, Any] = Field(default_factory=dict)

    @field_validator("levels")
    @classmethod
    def _several(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        names = [level.name for level in levels]
        if len(levels) < 2:
            raise ValueError(f"saw the levels {short_repr(names)}; a factor needs at least two, or nothing is compared")
        if len(set(names)) < len(names):
            raise ValueError(f"saw the levels {short_repr(names)}; each needs a name of its own")
        return levels

    @field_validator("archs", "reference")
    @classmethod
    def _known(cls, archs: tuple[str, ...] | str) -> tuple[str, ...] | str:
        for arch in [archs] if isinstance(archs, str) else archs:
            if arch not in models.names():
                raise ValueError(unknown_name_message("architecture", arch, models.names()))
        return archs

    @model_validator(mode="after")
    def _consistent(self) -> Design:
        wrong = []
        for name in ("targets", "processes", "archs", "sizes", "steps", "sequences", "lrs", "seeds"):
            values = getattr(self, name)
            if not values or len(set(map(str, values))) < len(values):
                wrong.append(f"{name}: saw {short_repr(list(map(str, values)))}; different values are needed")
        taken = sorted(self.training.keys() & {*SET_BY_POINT, "seq_len", "batch_size"})
        if taken:
            wrong.append(f"training: saw {short_repr(taken)}, which the design sets itself")
        if wrong:
            raise SeveralErrors(*wrong)
        wrong = [line for level in self.levels for line in errors_of(self._first_config, level)]
        if wrong:
            raise SeveralErrors(f"training: {wrong[0]}")
        return self

    def _first_config(self, level: Level) -> TrainConfig:
        own = {"seq_len": self.seq_len, "batch_size": self.batch_size, **self.training}
        return TrainConfig(graph=level.graph, arch=self.reference, **own)

    def level(self, name: str) -> Level:
        """The level of this name."""
        return next(level for level in self.levels if level.name == name)

    @cached_property
    def hash(self) -> str:
        """Hash of what all rows of a results file share: the levels' graphs, the fixed options, the reference.

        More processes, seeds, targets, architectures, sizes, budgets or rates leave it unchanged, so a design may grow.
        """
        fields = {name: value for name, value in self.model_dump(mode="json").items() if name not in EXTENTS}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def cells(self) -> list[Cell]:
        """Every combination, those of the first process first, so that a half-done design compares all levels."""
        axes = (self.processes, self.targets, self.sizes, self.steps, self.seeds)
        return [
            Cell(level.name, target, process, arch, size.dim, size.layers, steps, sequences, seed)
            for process, target, size, steps, seed in product(*axes)
            for sequences in self._distinct(steps)
            for level in self.levels
            for arch in self.archs
        ]

    def _distinct(self, steps: int) -> list[int]:
        """Numbers of distinct training sequences in a run of so many steps."""
        read = steps * self.batch_size
        return sorted({read if sequences is None else min(sequences, read) for sequences in self.sequences})
