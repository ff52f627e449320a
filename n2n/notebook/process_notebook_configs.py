"""Configurations of the notebooks that analyse processes."""

from __future__ import annotations

import math
import pathlib
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, field_validator, model_validator

from n2n import runs
from n2n.difficulty.compression import PowersOfTwo, whole_sequences
from n2n.graph.by_name import GraphOrPreset, graphs_by_name
from n2n.graph.graph import Graph
from n2n.oracle.checks import check_budget, check_fixed
from n2n.process.process import Process
from n2n.utils import strict
from n2n.utils.configuration import Configuration
from n2n.utils.paths import FolderText, checked_path, folder_name
from n2n.utils.strict import Count, NonNegativeInt, Ordered, Positive, Seed, short_repr

MAX_SEED = 2**53  # the browser's numbers are exact up to here


def _check_measurable(graph: Graph) -> Graph:
    check_fixed(graph)
    check_budget(graph)
    return graph


MeasurableGraph = Annotated[GraphOrPreset, AfterValidator(_check_measurable)]


class ExploreConfig(Configuration):
    """The process and the sequences in ``notebooks/explore.ipynb``.

    Args:
        graph: a ``Graph``, or the name of a preset.
        process_seed: seed of the kernels and the sequences, at most 2**53, the limit of a widget's numbers.
        length: tokens in a sequence, including the first one.
        sequences: number of sequences to draw.
        sequence: index of the sequence whose beliefs are drawn, from 0.

    Raises:
        ValueError: one line for each wrong field, such as a graph whose kernels are redrawn for every sequence, or
            one that is too large for the oracle.
    """

    positional: ClassVar[tuple[str, ...]] = ("graph",)

    graph: MeasurableGraph
    process_seed: Annotated[NonNegativeInt, Field(le=MAX_SEED)] = 0
    length: Annotated[Count, Field(ge=2, le=512)] = 64
    sequences: Annotated[Count, Field(le=32)] = 16
    sequence: NonNegativeInt = 0

    @model_validator(mode="after")
    def _check_sequence(self) -> ExploreConfig:
        for message in self._wrong_together(dict(self), set()):
            raise ValueError(message)
        return self

    @classmethod
    def _wrong_together(cls, values: dict[str, Any], wrong: set[str]) -> list[str]:
        sequence, sequences = (values.get(name, cls.model_fields[name].default) for name in ("sequence", "sequences"))
        if wrong & {"sequence", "sequences"} or float(sequence) < float(sequences):
            return []
        return [f"sequence: saw {sequence}; there are {sequences}, from 0"]

    @cached_property
    def process(self) -> Process:
        """The process of the graph."""
        return Process(self.graph, self.process_seed)


def _check_distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"saw {short_repr(list(values))}; no number may appear twice")
    return values


def _check_distinct_names(graphs: tuple[Graph, ...]) -> tuple[Graph, ...]:
    graphs_by_name(graphs)
    return graphs


Several = Annotated[Count, Field(ge=2)]
Alphas = Annotated[Ordered[Positive], Field(min_length=2), AfterValidator(_check_distinct)]
Graphs = Annotated[Ordered[MeasurableGraph], Field(min_length=1), AfterValidator(_check_distinct_names)]


class DifficultyConfig(Configuration):
    """Graphs and concentrations whose difficulty ``notebooks/difficulty.ipynb`` measures.

    Args:
        graph: graph whose concentrations are varied.
        alphas_z, alphas_x: concentrations of the latents and of the observed node; at least two different ones each.
        graphs: graphs to calibrate to equal difficulty, with different names.
        target: the oracle's loss of the calibrated graphs, in nats per token.
        seeds: number of processes of each graph, with seeds from 0.
        sequences: number of sequences of each process.
        length: tokens in a sequence.
        tokens: numbers of tokens to compress, as exponents of 2; no two with the same number of whole sequences.

    Raises:
        ValueError: one line for each wrong field.
    """

    positional: ClassVar[tuple[str, ...]] = ("graph",)

    graph: MeasurableGraph = Field(default="four_chains", validate_default=True)
    alphas_z: Alphas = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    alphas_x: Alphas = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    graphs: Graphs = Field(default=("two_chains", "four_chains", "sparse"), validate_default=True)
    target: Positive = 1.5
    seeds: Annotated[Several, Field(le=2**16)] = 16
    sequences: Annotated[Several, Field(le=2**20)] = 16
    length: Annotated[Several, Field(le=2**16)] = 64
    tokens: PowersOfTwo = (10, 12, 14, 16, 18)

    @model_validator(mode="after")
    def _check_together(self) -> DifficultyConfig:
        whole_sequences(self.tokens, self.length)
        errors = [] if self.graph.latents else ["graph: saw no latent node; alphas_z are concentrations of latents"]
        for graph in self.graphs:
            if self.target >= (maximum := math.log(graph.vocab_size)):
                reason = f"which {graph.vocab_size} symbols cannot have (log V is {maximum:.4g})"
                errors.append(f"target: saw {self.target:g} nats per token for {graph.name or 'a graph'}, {reason}")
        if errors:
            raise strict.SeveralErrors(*errors)
        return self


class DatasetConfig(Configuration):
    """A dataset for each split of a process.

    Args:
        graph: a ``Graph``, or the name of a preset.
        process_seed: seed of the kernels and the sequences.
        seq_len: tokens in a sequence, including the fixed first one.
        train, valid, test: number of sequences of each split; 0 leaves the split out.
        folder: folder of the files ``train.npy``, ``valid.npy`` and ``test.npy`` (empty:
            ``data-<graph>-p<process_seed>`` under ``n2n.runs.root()``).
        part: index of the part of the work to do, from 0, such as the number of a Slurm array task.
        parts: number of parts into which the work is split.

    Raises:
        ValueError: one line for each wrong field: the value seen, what is allowed, the nearest name.
    """

    positional: ClassVar[tuple[str, ...]] = ("graph",)

    graph: GraphOrPreset
    process_seed: Seed = 0
    seq_len: Annotated[Count, Field(ge=2, le=2**20)] = 64
    train: NonNegativeInt = 100_000
    valid: NonNegativeInt = 1_000
    test: NonNegativeInt = 1_000
    folder: FolderText = ""
    part: NonNegativeInt = 0
    parts: Count = 1

    @field_validator("folder")
    @classmethod
    def _check_folder(cls, folder: str) -> str:
        if folder:
            checked_path(folder, "folder")
        return folder

    @model_validator(mode="after")
    def _check_part(self) -> DatasetConfig:
        if self.part >= self.parts:
            raise ValueError(f"part: saw {self.part}; a whole number from 0 to {self.parts - 1} is needed")
        return self

    def path(self, split: str) -> pathlib.Path:
        """Return the path of a split's file."""
        name = f"data-{folder_name(self.graph.name or 'graph')}-p{self.process_seed}"
        folder = checked_path(self.folder, "folder") if self.folder else runs.root() / name
        return folder.absolute() / f"{split}.npy"
