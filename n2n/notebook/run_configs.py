"""What the notebooks that look at runs are asked: their configurations."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, field_validator, model_validator

from n2n.analysis.of_runs import task_difference
from n2n.config.limits import MAX_BYTES
from n2n.config.train_config import TrainConfig
from n2n.notebook.examples import (
    PREFIX,
    SWEEP,
    CheckpointConfig,
    RunConfig,
    RunName,
    Sequences,
    check_step,
    check_sweep_name,
    config_by_name,
    run_by_name,
)
from n2n.utils.configuration import Configuration
from n2n.utils.paths import FolderText, PathText
from n2n.utils.strict import Count, NonNegative, NonNegativeInt, Ordered, SeveralErrors, short_repr, unknown


class EvaluateConfig(Configuration):
    """Runs that are compared with the oracle side by side.

    Args:
        runs: each a run's folder, or ``"example:<name>"``; all of the same process and length.
        step: of every run's checkpoint (None: each one's last).
        sequences: held-out sequences.
        orders: of the n-grams beside them.
        latent: whose states and switches the loss is cut by (empty: the first one).

    Raises:
        ValueError: one line for each wrong field: a run that is not there or has no checkpoint, a run that is named
            twice or is of another process or length, a step that was not saved, a latent that the first run's graph
            does not have, an order longer than the sequences.
    """

    positional: ClassVar[tuple[str, ...]] = ("runs",)

    runs: Annotated[Ordered[RunName], Field(min_length=1)] = (f"{PREFIX}transformer", f"{PREFIX}mamba")
    step: NonNegativeInt | None = None
    sequences: Sequences = 512
    orders: Annotated[Ordered[Count], Field(min_length=1)] = (1, 2, 3, 4, 5, 6)
    latent: str = ""

    @field_validator("runs")
    @classmethod
    def _once(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        places = [name if name.startswith(PREFIX) else str(run_by_name(name).path.resolve()) for name in runs]
        twice = [name for name, place in zip(runs, places, strict=True) if places.count(place) > 1]
        if twice:
            raise ValueError(f"saw {short_repr(twice[-1])} twice; each run once is needed")
        return runs

    @model_validator(mode="after")
    def _saved(self) -> EvaluateConfig:
        for name in self.runs:
            check_step(name, self.step)
        first, *others = (config_by_name(name) for name in self.runs)
        latents = first.graph.latent_names
        if not latents:
            raise ValueError(f"runs: {self.runs[0]} is of a process without latents, whose states it could be cut by")
        wrong = [] if self.latent in ("", *latents) else [f"latent: {unknown('latent', self.latent, latents)}"]
        if max(self.orders) > first.seq_len:
            wrong.append(f"orders: saw {max(self.orders)}; sequences of {first.seq_len} tokens show no longer n-grams")
        wrong += [
            task_difference(name, self.runs[0], other, first) for name, other in zip(self.runs[1:], others, strict=True)
        ]
        if any(wrong):
            raise SeveralErrors(*filter(None, wrong))
        return self

    @property
    def cut_by(self) -> str:
        """The latent that the loss is cut by."""
        return self.latent or config_by_name(self.runs[0]).graph.latent_names[0]


class ProbeConfig(CheckpointConfig):
    """A run whose residual stream is probed.

    Args:
        run, step: as of ``Inspected``.
        sequences: that probes are fitted on; as many others judge them.
        last: tokens that a control sees.
        simplex: a run whose process has a latent of three states (that of ``"mess3"`` counts), for the belief simplex.

    Raises:
        ValueError: as ``Inspected``, a run without latents, more ``last`` tokens than there are, or no such latent.
    """

    last: Count = 4
    simplex: RunName = f"{PREFIX}mess3"

    @field_validator("simplex")
    @classmethod
    def _with_three(cls, name: str) -> str:
        states = {latent: int(max(own)) + 1 for latent, own in config_by_name(name).process.own_states.items()}
        if 3 not in states.values():
            raise ValueError(
                f"saw {short_repr(name)}, whose latents have {short_repr(states)} states; one of 3 is needed"
            )
        return name

    @model_validator(mode="after")
    def _seen_tokens(self) -> ProbeConfig:
        config = _with_latents(self.run)
        if self.last >= config.seq_len:
            raise ValueError(f"last: saw {self.last}; a sequence has {config.seq_len - 1} before its last one")
        return self


class _WithLatents(RunConfig):
    """A run of a process with a latent that a probe could look for."""

    @model_validator(mode="after")
    def _probed(self) -> _WithLatents:
        _with_latents(self.run)
        return self


class DynamicsConfig(_WithLatents):
    """A run whose checkpoints are looked at one after another, from the untrained model on.

    Args:
        run: the run's folder, or ``"example:<name>"``.
        sequences: held-out sequences; probes are fitted on as many others.
        most: checkpoints that are looked at; of more, so many, spread evenly.

    Raises:
        ValueError: one line for each wrong field.
    """

    most: Annotated[Count, Field(ge=2)] = 10


class WelcomeConfig(_WithLatents):
    """The run that ``notebooks/welcome.ipynb`` takes its pictures of.

    Raises:
        ValueError: as ``OneRun``, or a run of a process without latents.
    """


def _with_latents(name: str) -> TrainConfig:
    """A run's configuration, or a ``ValueError`` if its process has no latent that a probe could look for."""
    config = config_by_name(name)
    if not config.graph.latents:
        raise ValueError(f"run: {name} is of a process without latents, so there is no belief to probe")
    return config


class AttentionConfig(CheckpointConfig):
    """A run whose token mixing is compared with the exact influence of each token.

    Args:
        run, step: as of ``Inspected``.
        sequences: held-out sequences that are averaged over.
        sequence: which of them is drawn, from 0.
        query: position from which it is drawn (None: the last one).
        layer: block whose arcs are drawn, from 1 (None: the mean over all).
        head: likewise, from 0.
        least_influence: nats, under which the agreement takes influences to be equal.

    Raises:
        ValueError: one line for each wrong field: as ``Inspected``, or a sequence, query, layer or head that the run
            does not have.
    """

    sequences: Sequences = 256
    sequence: NonNegativeInt = 0
    query: NonNegativeInt | None = None
    layer: Count | None = None
    head: NonNegativeInt | None = None
    least_influence: NonNegative = 1e-6

    @model_validator(mode="after")
    def _there(self) -> AttentionConfig:
        config = config_by_name(self.run)
        limits = {
            "sequence": range(self.sequences),
            "query": range(config.seq_len - 1),
            "layer": range(1, config.layers + 1),
            "head": range(config.heads),
        }
        wrong = [
            f"{name}: saw {value}; this has {len(allowed)}, from {allowed[0]} to {allowed[-1]}"
            for name, allowed in limits.items()
            if (value := getattr(self, name)) is not None and value not in allowed
        ]
        needed = 4 * self.sequences * config.layers * config.heads * config.seq_len**2
        if needed > MAX_BYTES:
            wrong.append(f"sequences: saw {self.sequences}, whose mixing takes {needed / 2**30:,.0f} GiB of memory")
        if wrong:
            raise SeveralErrors(*wrong)
        return self


def _known_fields(by: tuple[str, ...]) -> tuple[str, ...]:
    for name in by:
        if name not in TrainConfig.model_fields:
            raise ValueError(unknown("field of a run", name, TrainConfig.model_fields))
    return by


class ReportConfig(Configuration):
    """What ``notebooks/report.ipynb`` tells of a sweep.

    Args:
        sweep: its name under ``n2n.runs.root()`` or its path, or ``"example:sweep"``, which is trained when it is first
            needed.
        by: fields of ``n2n.TrainConfig`` that tell apart what is compared; runs that differ in another field are taken
            together. Tasks are always told apart.
        parameters: at which architectures are compared (None: the middle of the sizes that all of them cover).
        resamples: of the bootstrap.
        export: folder of the report (empty: ``report`` in the sweep's folder).

    Raises:
        ValueError: one line for each wrong field: no such sweep, one without runs, an unknown field.
    """

    positional: ClassVar[tuple[str, ...]] = ("sweep",)

    sweep: Annotated[PathText, AfterValidator(check_sweep_name)] = SWEEP
    by: Annotated[Ordered[str], Field(min_length=1), AfterValidator(_known_fields)] = ("arch",)
    parameters: Count | None = None
    resamples: Annotated[Count, Field(ge=100, le=10**6)] = 1000
    export: FolderText = ""
