"""The configuration of a training run: a strict value, checked whole before any work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from n2n import models
from n2n.config.fields import Device, Fraction, GraphOrName, Span, Switch, Tables
from n2n.config.limits import wrong_counts, wrong_sizes
from n2n.data import Epochs, TokenStore
from n2n.graph.graph import Graph
from n2n.models.lm import LanguageModel
from n2n.models.mixer import Depth, Frame, Width
from n2n.models.ops import Kernels
from n2n.oracle.checks import check_budget, check_fixed
from n2n.process.classic import CLASSICS
from n2n.process.process import Process
from n2n.utils.configuration import Configuration
from n2n.utils.paths import PathText
from n2n.utils.strict import RECORDED, Count, NonNegative, Positive, Refused, Seed, SeveralErrors, short_repr, unknown

# What may change between one call of train() and the next on the same folder: how long, how often, on what.
CHANGEABLE = frozenset(
    {"steps", "accumulate", "log_every", "eval_every", "eval_sequences", "checkpoint_every", "keep_last", "keep_every"}
    | {"tensorboard", "profile_steps", "processes", "parallel", "device", "kernels", "compile", "run_dir"}
)
ONLINE = "online"  # data drawn as it is consumed
# Fields that are checked together: those of a group are said at once with the wrong fields of other groups.
TOGETHER = (
    {"arch", "dim", "layers", "heads", "kernels", "model_options", "seq_len"},
    {"batch_size", "processes", "accumulate"},
    {"data", "sequences", "seq_len", "process_seed", "tables"},
    {"keep_last", "keep_every"},
)


class TrainConfig(Configuration):
    """Everything that decides a run.

    Args:
        graph: a ``Graph``, the name of a preset, or that of a classic process (``"mess3"`` and the like, see
            ``n2n.Process.classic``), which gives ``tables`` too.
        tables: for each node its kernel, as ``Process.from_kernels`` takes it, kept as nested lists (None: drawn).
        arch: one of ``n2n.models.names()``, or ``"hybrid"``, whose layers follow ``model_options["pattern"]``.
        dim: width of the residual stream.
        layers: number of blocks.
        heads: heads of the mixer.
        model_options: further fields of the architecture's ``Config``, such as ``{"state_dim": 32}``; see
            ``n2n.models.configure``.
        data: ``"online"``: sequences are drawn as they are consumed, each seen once; or the path of a dataset that
            ``n2n.data.generate`` made of the same graph and ``process_seed``. Its first epoch, in the dataset's order,
            is the online run to the bit; later ones are shuffled.
        sequences: how many of a dataset's first sequences make an epoch (None: all).
        seq_len: tokens in a training sequence, the fixed first one included.
        batch_size: sequences in a step, over all processes.
        accumulate: equal parts that a process works its sequences off in, one after another, to save memory.
        steps: updates to make.
        lr: peak learning rate of AdamW.
        schedule: what the rate does after the warmup: ``"cosine"``, ``"constant"``, or ``"wsd"`` (warmup, stable,
            decay), which stays until the last ``decay`` of the steps.
        warmup: fraction of the steps over which the rate rises linearly.
        decay: fraction of the steps over which "wsd" falls linearly.
        final_lr: the rate at the end of "cosine" and "wsd", as a fraction of ``lr``.
        weight_decay: AdamW's, on matrices alone.
        clip: largest norm of the gradient.
        seed: names the initial weights.
        process_seed: names the kernels and the sequences, and with them how hard the task is.
        eval_sequences: held-out sequences of each evaluation.
        eval_every: steps between evaluations on the ``valid`` split (None: none); one on ``test`` comes at the end.
        log_every: steps between rows of metrics.
        checkpoint_every: steps between checkpoints; one is always written at the end.
        keep_last: how many of the newest checkpoints stay (None: all).
        keep_every: checkpoints at multiples of it stay too (None: no others).
        tensorboard: whether metrics and evaluations also go to TensorBoard's files.
        profile_steps: the first step and the one after the last of those that torch.profiler traces (None: none).
        precision: ``"float32"``, or ``"bfloat16"``: matrix products in it by autocast, while weights, norms,
            recurrences and losses stay in float32, as does the evaluation.
        kernels: ``"auto"`` uses the fused CUDA kernels of mamba-ssm and causal-conv1d where they import, ``"torch"``
            never, ``"fused"`` always.
        compile: whether ``torch.compile`` translates the model: ``"on"``, ``"off"``, or ``"auto"``: on a CUDA GPU.
        processes: that train together on this machine, each on an equal part of the batch. Under torchrun its own
            number counts.
        parallel: how: ``"ddp"``: each has the whole model; ``"fsdp"``: each has a shard of it (FSDP2).
        device: ``"auto"`` is CUDA where there is one, else the CPU.
        run_dir: the run's folder, from the working directory; empty: a new one under ``n2n.runs.root()``. A folder that
            holds a run of the same configuration is resumed.

    Raises:
        ValueError: one line for each wrong field: the value seen, what is allowed, the nearest name.
    """

    positional: ClassVar[tuple[str, ...]] = ("graph", "arch")

    graph: GraphOrName
    tables: Tables | None = None
    arch: str = "transformer"
    dim: Width = 64
    layers: Depth = 2
    heads: Count = 4
    model_options: dict[str, Any] = Field(default_factory=dict)
    data: PathText = ONLINE
    sequences: Count | None = None
    seq_len: Annotated[Count, Field(ge=2, le=2**20 + 1)] = 64
    batch_size: Count = 32
    accumulate: Count = 1
    steps: Count = 1000
    lr: Positive = 1e-2
    schedule: Literal["cosine", "constant", "wsd"] = "cosine"
    warmup: Fraction = 0.05
    decay: Fraction = 0.2
    final_lr: Fraction = 0.1
    weight_decay: NonNegative = 0.1
    clip: Positive = 1.0
    seed: Seed = 0
    process_seed: Seed = 0
    eval_sequences: Annotated[Count, Field(ge=2)] = 512
    eval_every: Count | None = None
    log_every: Count = 10
    checkpoint_every: Count = 250
    keep_last: Count | None = None
    keep_every: Count | None = None
    tensorboard: bool = False
    profile_steps: Span | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    kernels: Kernels = "auto"
    compile: Switch = "auto"
    processes: Annotated[Count, Field(le=2**16)] = 1
    parallel: Literal["ddp", "fsdp"] = "ddp"
    device: Device = "auto"
    run_dir: PathText = ""

    @model_validator(mode="before")
    @classmethod
    def _classic(cls, values: dict[str, Any]) -> dict[str, Any]:
        name = values.get("graph")
        if not isinstance(name, str) or name not in CLASSICS:
            return values
        process = Process.classic(name)
        given = values.get("tables")
        return {**values, "tables": process.given if given is None else given, "graph": process.graph}

    @field_validator("arch")
    @classmethod
    def _known(cls, arch: str) -> str:
        allowed = [*models.names(), models.HYBRID]
        if arch not in allowed:
            raise ValueError(unknown("architecture", arch, allowed))
        return arch

    @field_validator("graph")
    @classmethod
    def _with_an_oracle(cls, graph: Graph) -> Graph:
        check_fixed(graph)
        check_budget(graph)
        return graph

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> TrainConfig:
        given = dict(self)
        wrong = [*self._wrong_tables(), *wrong_counts(given), *self._wrong_model(), *wrong_sizes(given)]
        if self.sequences is not None and self.data == ONLINE:
            wrong.append(f"sequences: saw {self.sequences}, but data is 'online', which has no end")
        if self.data != ONLINE and not (info.context or {}).get(RECORDED):
            wrong += self._wrong_data()
        if wrong:
            raise SeveralErrors(*wrong)
        return self

    def _wrong_tables(self) -> list[str]:
        if self.tables is None:
            return []
        try:
            self.process  # noqa: B018  (made once, and checked by it)
        except ValueError as error:
            return [f"tables: {error}"]
        return []

    def _wrong_model(self) -> list[str]:
        taken = sorted(self.model_options.keys() & {"vocab_size", "dim", "layers", "heads", "kernels", "seed"})
        if taken:
            return [f"model_options: saw {short_repr(taken)}, which have fields of their own"]
        try:
            longest = self.model.max_length
        except ValueError as error:
            return [str(error)]
        if self.seq_len - 1 > longest:
            return [
                f"seq_len: saw {self.seq_len}; the {self.arch} reads at most {longest} tokens to predict the next, so "
                f"seq_len is at most {longest + 1} (model_options={{'max_length': ...}} changes it)"
            ]
        return []

    def _wrong_data(self) -> list[str]:
        if self._wrong_tables():
            return []
        try:
            self.epochs().store.check_described(self.process)
        except ValueError as error:
            return [str(error)]
        return []

    @classmethod
    def _wrong_together(cls, values: dict[str, Any], wrong: set[str]) -> list[str]:
        if "graph" in wrong:
            return []
        found: dict[str, None] = {}
        for fields in (group for group in TOGETHER if not group & wrong):
            try:
                cls(**{name: values[name] for name in values.keys() & (fields | {"graph"})})
            except Refused as error:
                found.update(dict.fromkeys(said for _, said in error.wrong))
        return list(found)

    def epochs(self) -> Epochs:
        """The sequences of the dataset, in the order in which they are learned; nothing of them is read yet.

        Raises:
            ValueError: a dataset that is not there, is of another split, or has too few or too short sequences.
        """
        store = TokenStore(self.data)
        if store.split != "train":
            raise ValueError(
                f"data: {store.path} holds the {store.split} split, on which models are judged; train is needed"
            )
        return Epochs(store, sequences=self.sequences, length=self.seq_len, seed=self.process_seed)

    @property
    def model(self) -> Frame:
        """The model's own configuration."""
        return models.configure(self.arch, **_model_fields(self.graph, dict(self)))

    @cached_property
    def process(self) -> Process:
        """The process that the run draws from."""
        return Process(self.graph, self.process_seed, given=self.tables)

    @cached_property
    def identity(self) -> str:
        """A hash of what decides the run: equal exactly where ``differences`` finds none.

        Fields at their defaults do not enter, so that a field that is added later leaves the hash as it was.
        """
        given = self.model_dump(mode="json", exclude_defaults=True, exclude=set(CHANGEABLE))
        given.get("graph", {}).pop("name", None)  # a title
        if "data" in given:
            given["data"] = "dataset"  # its own hash is in the checkpoints
        return hashlib.sha256(json.dumps(_equal_numbers(given), sort_keys=True).encode()).hexdigest()

    @property
    def tokens_per_step(self) -> int:
        """Tokens in a batch, the fixed first ones included."""
        return self.batch_size * self.seq_len

    def build_model(self, kernels: Kernels | None = None) -> LanguageModel:
        """The model with its initial weights, on the CPU; ``kernels`` in the place of the configuration's."""
        given = {**dict(self), **({"kernels": kernels} if kernels else {})}
        return models.build(self.arch, seed=self.seed, **_model_fields(self.graph, given))

    def differences(self, other: TrainConfig) -> dict[str, tuple[Any, Any]]:
        """Fields in which another configuration is another run: ``{name: (here, there)}``.

        Where a dataset lies does not count; its hash does, in the checkpoints.
        """
        here, there = (config.model_dump(mode="json") for config in (self, other))
        for given in (here, there):
            del given["graph"]["name"]  # a title
        if ONLINE not in (self.data, other.data):
            del here["data"]
        decisive = [name for name in here if name not in CHANGEABLE]
        return {name: (here[name], there[name]) for name in decisive if here[name] != there[name]}


def _equal_numbers(value: Any) -> Any:
    """Equal numbers as the same text: 1, 1.0 and True."""
    if isinstance(value, dict):
        return {name: _equal_numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_equal_numbers(one) for one in value]
    return int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value


def _model_fields(graph: Graph, given: Mapping[str, Any]) -> dict[str, Any]:
    own = {"vocab_size": graph.vocab_size, **{name: given[name] for name in ("dim", "layers", "heads", "kernels")}}
    return {**own, **given["model_options"]}
