"""What the notebooks that look at processes are asked: their configurations."""

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

MAX_SEED = 2**53  # up to which a browser's numbers are exact


class ExploreConfig(Configuration):
    """What ``notebooks/explore.ipynb`` looks at.

    Args:
        graph: a ``Graph``, or the name of a preset.
        process_seed: names the kernels and the sequences, 2**53 at most, as a widget tells it.
        length: tokens in a sequence, the first one included.
        sequences: how many are drawn.
        sequence: which of them is looked at closely, from 0.

    Raises:
        ValueError: one line for each wrong field; kernels that are redrawn for every sequence, or a graph too large for
            the oracle.
    """

    positional: ClassVar[tuple[str, ...]] = ("graph",)

    graph: GraphOrPreset
    process_seed: Annotated[NonNegativeInt, Field(le=MAX_SEED)] = 0
    length: Annotated[Count, Field(ge=2, le=512)] = 64
    sequences: Annotated[Count, Field(le=32)] = 16
    sequence: NonNegativeInt = 0

    @field_validator("graph")
    @classmethod
    def _seen_through(cls, graph: Graph) -> Graph:
        check_fixed(graph)
        check_budget(graph)
        return graph

    @model_validator(mode="after")
    def _drawn(self) -> ExploreConfig:
        for said in self._wrong_together(dict(self), set()):
            raise ValueError(said)
        return self

    @classmethod
    def _wrong_together(cls, values: dict[str, Any], wrong: set[str]) -> list[str]:
        sequence, sequences = (values.get(name, cls.model_fields[name].default) for name in ("sequence", "sequences"))
        if wrong & {"sequence", "sequences"} or float(sequence) < float(sequences):
            return []
        return [f"sequence: saw {sequence}; of {sequences} it is one from 0"]

    @cached_property
    def process(self) -> Process:
        """The process that is looked at."""
        return Process(self.graph, self.process_seed)


def _no_number_twice(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"saw {short_repr(list(values))}; no number may be there twice")
    return values


def _measurable(graph: Graph) -> Graph:
    check_fixed(graph)
    check_budget(graph)
    return graph


def _no_name_twice(graphs: tuple[Graph, ...]) -> tuple[Graph, ...]:
    graphs_by_name(graphs)
    return graphs


Several = Annotated[Count, Field(ge=2)]
Alphas = Annotated[Ordered[Positive], Field(min_length=2), AfterValidator(_no_number_twice)]
Graphs = Annotated[
    Ordered[Annotated[GraphOrPreset, AfterValidator(_measurable)]], Field(min_length=1), AfterValidator(_no_name_twice)
]


class DifficultyConfig(Configuration):
    """How hard processes are: the questions of ``notebooks/difficulty.ipynb``.

    Args:
        graph: whose concentrations are varied.
        alphas_z, alphas_x: concentrations of the latents and of the observed node, two different ones at least of each.
        graphs: brought to one difficulty, no two of one name.
        target: that difficulty, nats per token.
        seeds: processes of each graph, by the seeds from 0.
        sequences: of each process.
        length: tokens in a sequence.
        tokens: numbers of tokens that are compressed, as exponents of 2, no two of equally many whole sequences.

    Raises:
        ValueError: one line for each wrong field.
    """

    positional: ClassVar[tuple[str, ...]] = ("graph",)

    graph: Annotated[GraphOrPreset, AfterValidator(_measurable)] = Field(default="four_chains", validate_default=True)
    alphas_z: Alphas = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    alphas_x: Alphas = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    graphs: Graphs = Field(default=("two_chains", "four_chains", "sparse"), validate_default=True)
    target: Positive = 1.5
    seeds: Annotated[Several, Field(le=2**16)] = 16
    sequences: Annotated[Several, Field(le=2**20)] = 32
    length: Annotated[Several, Field(le=2**16)] = 64
    tokens: PowersOfTwo = (10, 12, 14, 16, 18)

    @model_validator(mode="after")
    def _different_counts(self) -> DifficultyConfig:
        whole_sequences(self.tokens, self.length)
        wrong = [] if self.graph.latents else ["graph: saw no latent node; alphas_z are concentrations of latents"]
        for graph in self.graphs:
            if self.target >= (most := math.log(graph.vocab_size)):
                said = f"which {graph.vocab_size} symbols cannot have (log V is {most:.4g})"
                wrong.append(f"target: saw {self.target:g} nats per token for {graph.name or 'a graph'}, {said}")
        if wrong:
            raise strict.SeveralErrors(*wrong)
        return self


class DatasetConfig(Configuration):
    """A dataset for each split of a process.

    Args:
        graph: a ``Graph``, or the name of a preset.
        process_seed: names the kernels and the sequences.
        seq_len: tokens in a sequence, the fixed first one included.
        train, valid, test: sequences of each split; 0 makes none.
        folder: of the files ``train.npy``, ``valid.npy`` and ``test.npy``, from the working directory; empty:
            ``data-<graph>-p<process_seed>`` under ``n2n.runs.root()``.
        part: which share of the work this is, from 0, such as a Slurm array task's.
        parts: number of shares.

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
    def _there(cls, folder: str) -> str:
        if folder:
            checked_path(folder, "folder")
        return folder

    @model_validator(mode="after")
    def _a_part_of_them(self) -> DatasetConfig:
        if self.part >= self.parts:
            raise ValueError(f"part: saw {self.part}; a whole number from 0 to {self.parts - 1} is needed")
        return self

    def path(self, split: str) -> pathlib.Path:
        """Of a split's file."""
        name = f"data-{folder_name(self.graph.name or 'graph')}-p{self.process_seed}"
        folder = checked_path(self.folder, "folder") if self.folder else runs.root() / name
        return folder.absolute() / f"{split}.npy"
