"""The configuration of a training run: a strict value that is checked as a whole before any work."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from n2n import models
from n2n.config.fields import Device, Fraction, GraphOrName, StepRange, Switch, Tables, process_by_name
from n2n.config.identity import ONLINE, decisive_differences, decisive_hash
from n2n.config.limits import wrong_counts, wrong_oracle, wrong_sizes
from n2n.data import Epochs, TokenStore
from n2n.graph.graph import Graph
from n2n.models.lm import LanguageModel
from n2n.models.mixer import Depth, Frame, Width
from n2n.models.ops import Kernels
from n2n.oracle.checks import check_budget
from n2n.process.classic import CLASSICS
from n2n.process.process import Process
from n2n.utils.configuration import Configuration, errors_of
from n2n.utils.paths import PathText
from n2n.utils.strict import (
    RECORDED,
    Count,
    NonNegative,
    Positive,
    Refused,
    Seed,
    SeveralErrors,
    short_repr,
    unknown_name_message,
)

# Groups of fields that are checked together. A wrong field in one group does not hide what is wrong in another.
TOGETHER = (
    {"arch", "dim", "layers", "heads", "kernels", "model_options", "seq_len"},
    {"batch_size", "processes", "accumulate"},
    {"data", "sequences", "seq_len", "process_seed", "tables"},
    {"keep_last", "keep_every"},
    {"select", "patience", "eval_every"},
)
_OWN_FIELDS = frozenset({"vocab_size", "dim", "layers", "heads", "kernels", "seed"})  # not allowed in model_options


class TrainConfig(Configuration):
    """Everything that decides a training run: the task, the model, the data, the optimisation and the hardware.

    The fields are the parameters of ``notebooks/train.ipynb``: papermill sets any of them with ``-p NAME VALUE``, a
    mapping with ``-y 'model_options: {state_dim: 32}'``, and a text that looks like a number with
    ``-r run_dir 20240101``. ``graph`` and ``arch`` may be given without their names.

    A configuration is frozen; ``model_copy(update={...})`` makes a changed one. Making a configuration starts no work
    and writes no file. ``n2n.train`` resumes a run whose folder has the same configuration. These fields may change
    then: ``steps``, ``accumulate``, ``eval_every``, ``eval_sequences``, ``log_every``, ``checkpoint_every``,
    ``keep_last``, ``keep_every``, ``tensorboard``, ``profile_steps``, ``kernels``, ``compile``, ``processes``,
    ``parallel``, ``device``, and the place of a dataset. A change of any other field is refused.

    Args:
        graph: The latent graph that the sequences come from: a ``Graph``, the name of a preset (``"sparse"``), or the
            name of a classic process (``"mess3"``; see ``n2n.Process.classic``), which sets ``tables`` too.
        tables: Kernels of the nodes, by name, as ``n2n.Process.from_kernels`` takes them; kept as nested lists. None
            draws the kernels from ``process_seed``.
        arch: The architecture: one of ``n2n.models.names()``, or ``"hybrid"``, whose layers follow
            ``model_options["pattern"]``, such as ``"mamba,transformer"``.
        dim: Width of the residual stream.
        layers: Number of blocks.
        heads: Number of heads of each mixer. It must divide the width, ``dim`` (for a Mamba, ``expand * dim``).
        model_options: Further options of the architecture, such as ``{"state_dim": 32}``: the fields of its ``Config``
            in ``n2n.models.architectures``. ``n2n.models.configure`` checks them.
        data: ``"online"`` draws each sequence when it is needed and uses it once, unless ``sequences`` is set. A path
            names a dataset that ``n2n.data.generate`` (or ``notebooks/dataset.ipynb``) made from the same graph and
            ``process_seed``. The first epoch keeps the order of the index, so it equals a run that draws each sequence
            once, bit for bit; later epochs are shuffled.
        sequences: Number of distinct training sequences, the length of an epoch: the first of the dataset, or of the
            process's, which are then drawn into memory. None uses all of the dataset, or each sequence once.
        seq_len: Number of tokens in a training sequence, the first one included.
        batch_size: Number of sequences in a step, over all processes. It must be a multiple of
            ``processes * accumulate``.
        accumulate: Number of micro-batches per step and process. Their gradients are summed before the update; more
            micro-batches need less memory and more time.
        steps: Number of updates.
        lr: Peak learning rate of AdamW.
        schedule: Learning rate after the warmup: ``"cosine"`` falls to ``final_lr`` along a half cosine,
            ``"constant"`` stays at the peak, and ``"wsd"`` (warmup, stable, decay) stays at the peak and falls linearly
            to ``final_lr`` over the last ``decay`` of the steps.
        warmup: Fraction of the steps over which the learning rate rises linearly to its peak.
        decay: Fraction of the steps over which ``"wsd"`` decays.
        final_lr: Final learning rate of ``"cosine"`` and ``"wsd"``, as a fraction of ``lr``.
        weight_decay: Weight decay of AdamW. It applies only to matrices.
        clip: Maximum norm of the gradient; a larger gradient is scaled down to it.
        seed: Seed of the initial weights and of dropout. It affects nothing else.
        process_seed: Seed of the kernels and the sequences, and so of how hard the task is: some draws are far harder
            than others.
        eval_sequences: Number of held-out sequences in each evaluation.
        eval_every: Steps between evaluations on the ``valid`` split; None makes none. Every finished run is evaluated
            on the ``test`` split.
        in_context_precision: Standard error that the in-context oracle's mean loss should reach in an evaluation, nats
            per token, where it has to be estimated. It matters only if the graph has context nodes; None leaves this
            oracle out, and the excess loss is over the oracle that knows the kernels.
        select: The weights that are judged on ``test`` at the end: ``"last"``, or ``"best"``, those of the lowest loss
            on ``valid``, whose checkpoint is kept.
        patience: Stop when so many evaluations on ``valid`` in a row were no better than the best before. None goes on.
        log_every: Steps between rows of ``metrics.jsonl``.
        checkpoint_every: Steps between checkpoints. A run also writes one when it ends or is stopped.
        keep_last: Number of newest checkpoints to keep. None keeps all.
        keep_every: Also keep the checkpoints at multiples of this number of steps. It needs ``keep_last``.
        tensorboard: Whether to write metrics and evaluations for TensorBoard too, in ``tensorboard/`` of the run's
            folder.
        profile_steps: Steps to trace with ``torch.profiler``: the first one and the one after the last, such as
            ``(10, 15)``. The trace is in ``profile/`` of the run's folder. None traces nothing.
        precision: ``"float32"``, or ``"bfloat16"``, which computes matrix products in bfloat16 (by autocast) and keeps
            weights, norms, recurrences, losses and evaluations in float32.
        kernels: ``"auto"`` uses the fused CUDA kernels of mamba-ssm and causal-conv1d where they are installed and the
            model is on a CUDA GPU, ``"torch"`` never uses them, and ``"fused"`` requires them. They change only the
            speed.
        compile: ``"on"`` compiles the model with ``torch.compile``, ``"off"`` does not, and ``"auto"`` does on a CUDA
            GPU.
        processes: Number of processes that share each batch, on this machine or over the nodes of a Slurm job; a GPU
            for each if the run is on GPUs. torchrun's own number of processes replaces it.
        parallel: How processes share the model: ``"ddp"`` gives each one a whole copy, ``"fsdp"`` a shard (FSDP2).
        device: ``"cuda"``, ``"cpu"``, or ``"auto"``, which is a CUDA GPU if there is one and else the CPU.
        run_dir: Folder of the run, relative to the working directory. A folder with a run of the same configuration
            resumes it. An empty text makes a new folder under ``n2n.runs.root()``.

    Raises:
        ValueError: if a field is wrong, or fields do not fit together. One line for each of them says the value seen,
            what is allowed, and the nearest name.
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
    in_context_precision: Positive | None = 0.01
    select: Literal["last", "best"] = "last"
    patience: Count | None = None
    log_every: Count = 10
    checkpoint_every: Count = 250
    keep_last: Count | None = None
    keep_every: Count | None = None
    tensorboard: bool = False
    profile_steps: StepRange | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    kernels: Kernels = "auto"
    compile: Switch = "auto"
    processes: Annotated[Count, Field(le=2**16)] = 1
    parallel: Literal["ddp", "fsdp"] = "ddp"
    device: Device = "auto"
    run_dir: PathText = ""

    @model_validator(mode="before")
    @classmethod
    def _classic_tables(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The name of a classic process stands for its graph and its tables."""
        graph = values.get("graph")
        if not isinstance(graph, str) or graph not in CLASSICS or values.get("tables") is not None:
            return values
        process = process_by_name(graph)
        return {**values, "graph": process.graph, "tables": process.tables}

    @field_validator("arch")
    @classmethod
    def _known(cls, arch: str) -> str:
        allowed = [*models.names(), models.HYBRID]
        if arch not in allowed:
            raise ValueError(unknown_name_message("architecture", arch, allowed))
        return arch

    @field_validator("graph")
    @classmethod
    def _with_an_oracle(cls, graph: Graph) -> Graph:
        check_budget(graph)
        return graph

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> TrainConfig:
        fields = dict(self)
        # Making the process checks the tables. It is kept, because the run draws from it.
        tables = [] if self.tables is None else [f"tables: {error}" for error in errors_of(lambda: self.process)]
        wrong = [*tables, *wrong_counts(fields), *errors_of(self._check_model), *wrong_sizes(fields)]
        wrong += wrong_oracle(fields)
        recorded = (info.context or {}).get(RECORDED)  # the dataset may be on another machine
        if self.data != ONLINE and not tables and not recorded:
            wrong += errors_of(self._check_data)
        if wrong:
            raise SeveralErrors(*wrong)
        return self

    def _check_model(self) -> None:
        """Raise a ``ValueError`` if the architecture refuses its options or a sequence is too long for the model."""
        taken = sorted(self.model_options.keys() & _OWN_FIELDS)
        if taken:
            raise ValueError(f"model_options: saw {short_repr(taken)}, which have fields of their own")
        max_length = self.model.max_length
        if self.seq_len - 1 > max_length:
            raise ValueError(
                f"seq_len: saw {self.seq_len}; the {self.arch} reads at most {max_length} tokens to predict the next, "
                f"so seq_len is at most {max_length + 1} (model_options={{'max_length': ...}} changes it)"
            )

    def _check_data(self) -> None:
        """Raise a ``ValueError`` if the dataset does not exist or its JSON file describes another process."""
        self.epochs().store.check_described(self.process)

    @classmethod
    def _wrong_together(cls, values: dict[str, Any], wrong: set[str]) -> list[str]:
        if "graph" in wrong:
            return []
        messages: dict[str, None] = {}
        always = {"graph", "in_context_precision"} - wrong  # the oracle is checked whatever the other fields are
        for fields in (group for group in TOGETHER if not group & wrong):
            try:
                cls(**{name: values[name] for name in values.keys() & (fields | always)})
            except Refused as error:
                messages.update(dict.fromkeys(message for _, message in error.wrong))
        return list(messages)

    def epochs(self) -> Epochs:
        """The sequences of the dataset in the order of training; none of them is read yet.

        Raises:
            ValueError: if the dataset does not exist, has another split, or has too few or too short sequences.
        """
        store = TokenStore(self.data)
        if store.split != "train":
            raise ValueError(
                f"data: {store.path} holds the {store.split} split, which is for evaluation; train is needed"
            )
        return Epochs(store, sequences=self.sequences, length=self.seq_len, seed=self.process_seed)

    @cached_property
    def model(self) -> Frame:
        """The model's configuration."""
        return models.configure(self.arch, **_model_fields(dict(self)))

    @cached_property
    def process(self) -> Process:
        """The process that the sequences come from."""
        return Process(self.graph, self.process_seed, tables=self.tables)

    @cached_property
    def identity(self) -> str:
        """A hash of the fields that decide the run; two configurations share it if ``differences`` is empty.

        Fields at their defaults do not enter the hash, so a new field with a default leaves it unchanged.
        """
        return decisive_hash(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def tokens_per_step(self) -> int:
        """Number of tokens in a batch, the first one of each sequence included."""
        return self.batch_size * self.seq_len

    def build_model(self, kernels: Kernels | None = None) -> LanguageModel:
        """The model with its initial weights, on the CPU.

        Args:
            kernels: replaces the configuration's ``kernels``.
        """
        fields = {**dict(self), **({"kernels": kernels} if kernels else {})}
        return models.build(self.arch, seed=self.seed, **_model_fields(fields))

    def differences(self, other: TrainConfig) -> dict[str, tuple[Any, Any]]:
        """Fields that make another configuration a different run, ``{name: (value here, value there)}``.

        The path of a dataset makes no difference: checkpoints have the hash of its tokens.
        """
        return decisive_differences(self.model_dump(mode="json"), other.model_dump(mode="json"))


def _model_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``n2n.models.configure`` that the fields of a ``TrainConfig`` stand for."""
    shared = {name: fields[name] for name in ("dim", "layers", "heads", "kernels")}
    return {"vocab_size": fields["graph"].vocab_size, **shared, **fields["model_options"]}
