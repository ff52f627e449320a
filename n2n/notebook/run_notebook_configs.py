"""Configurations of the notebooks that analyse runs."""

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
from n2n.utils.strict import (
    Count,
    NonNegative,
    NonNegativeInt,
    Ordered,
    SeveralErrors,
    short_repr,
    unknown_name_message,
)


class EvaluateConfig(Configuration):
    """Runs to compare with the oracle and with one another.

    Args:
        runs: folders of runs, or ``"example:<name>"``; all with the same process and length.
        step: step of every run's checkpoint (None: the last one of each).
        sequences: number of held-out sequences.
        orders: orders of the n-grams in the comparison.
        latent: latent whose states and switches group the loss (empty: the first one).

    Raises:
        ValueError: one line for each wrong field: a run that does not exist or has no checkpoint, a run that is listed
            twice or has another process or length, a step that was not saved, a latent that the first run's graph does
            not have, an order longer than the sequences.
    """

    positional: ClassVar[tuple[str, ...]] = ("runs",)

    runs: Annotated[Ordered[RunName], Field(min_length=1)] = (f"{PREFIX}transformer", f"{PREFIX}mamba")
    step: NonNegativeInt | None = None
    sequences: Sequences = 512
    orders: Annotated[Ordered[Count], Field(min_length=1)] = (1, 2, 3, 4, 5, 6)
    latent: str = ""

    @field_validator("runs")
    @classmethod
    def _check_distinct(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        paths = [name if name.startswith(PREFIX) else str(run_by_name(name).path.resolve()) for name in runs]
        repeated = [name for name, path in zip(runs, paths, strict=True) if paths.count(path) > 1]
        if repeated:
            raise ValueError(f"saw {short_repr(repeated[-1])} twice; list each run once")
        return runs

    @model_validator(mode="after")
    def _check_runs(self) -> EvaluateConfig:
        for name in self.runs:
            check_step(name, self.step)
        first, *others = (config_by_name(name) for name in self.runs)
        latents = first.graph.latent_names
        if not latents:
            raise ValueError(f"runs: the process of {self.runs[0]} has no latents, whose states would group the loss")
        errors = (
            [] if self.latent in ("", *latents) else [f"latent: {unknown_name_message('latent', self.latent, latents)}"]
        )
        if max(self.orders) > first.seq_len:
            errors.append(f"orders: saw {max(self.orders)}; sequences have only {first.seq_len} tokens")
        errors += [
            task_difference(name, self.runs[0], other, first) for name, other in zip(self.runs[1:], others, strict=True)
        ]
        if any(errors):
            raise SeveralErrors(*filter(None, errors))
        return self

    @property
    def cut_by(self) -> str:
        """Name of the latent whose states group the loss."""
        return self.latent or config_by_name(self.runs[0]).graph.latent_names[0]


class ProbeConfig(CheckpointConfig):
    """A run whose residual stream is probed.

    Args:
        run, step: see ``CheckpointConfig``.
        sequences: number of sequences that probes are fitted on, and of those that they are evaluated on.
        last: number of last tokens that the control sees.
        simplex: run whose process has a latent of three states, for the belief simplex. Only the own states of
            ``"mess3"`` count.

    Raises:
        ValueError: as ``CheckpointConfig``; if the process has no latents, a sequence has fewer than ``last`` tokens,
            or ``simplex`` has no latent of three states.
    """

    last: Count = 4
    simplex: RunName = f"{PREFIX}mess3"

    @field_validator("simplex")
    @classmethod
    def _check_three_states(cls, name: str) -> str:
        states = {latent: int(max(own)) + 1 for latent, own in config_by_name(name).process.own_states.items()}
        if 3 not in states.values():
            raise ValueError(
                f"saw {short_repr(name)}, whose latents have {short_repr(states)} states; one of 3 is needed"
            )
        return name

    @model_validator(mode="after")
    def _check_last(self) -> ProbeConfig:
        config = _config_with_latents(self.run)
        if self.last >= config.seq_len:
            raise ValueError(f"last: saw {self.last}; only {config.seq_len - 1} tokens precede the last one")
        return self


class _RunWithLatents(RunConfig):
    """A run of a process that has a latent to probe."""

    @model_validator(mode="after")
    def _check_latents(self) -> _RunWithLatents:
        _config_with_latents(self.run)
        return self


class DynamicsConfig(_RunWithLatents):
    """A run whose checkpoints are evaluated, from the untrained model on.

    Args:
        run: the run's folder, or ``"example:<name>"``.
        sequences: number of held-out sequences, and of those that probes are fitted on.
        most: at most this many checkpoints, evenly spaced.

    Raises:
        ValueError: one line for each wrong field.
    """

    most: Annotated[Count, Field(ge=2)] = 10


class WelcomeConfig(_RunWithLatents):
    """The run in the figures of ``notebooks/welcome.ipynb``.

    Raises:
        ValueError: as ``RunConfig``, or if the process has no latents.
    """


def _config_with_latents(name: str) -> TrainConfig:
    """Return a run's configuration; raise a ``ValueError`` if its process has no latent or no fixed kernels."""
    config = _config_with_fixed_kernels("run", name)
    if not config.graph.latents:
        raise ValueError(f"run: the process of {name} has no latents, so there is no belief to probe")
    return config


def _config_with_fixed_kernels(field: str, name: str) -> TrainConfig:
    """Return a run's configuration; raise a ``ValueError`` if its process redraws kernels for every sequence."""
    config = config_by_name(name)
    redrawn = [node.name for node in config.graph.context_nodes]
    if redrawn:
        raise ValueError(
            f"{field}: the process of {name} redraws the kernels of {short_repr(redrawn)} for every sequence, and this "
            "notebook needs beliefs of an oracle with fixed kernels; evaluate.ipynb, n2n.evaluate, n2n.told_nll and "
            "n2n.in_context_nll work on such a run"
        )
    return config


class AttentionConfig(CheckpointConfig):
    """A run whose token mixing is compared with the exact influence of each token.

    Args:
        run, step: see ``CheckpointConfig``.
        sequences: number of held-out sequences to average over.
        sequence: index of the sequence in the figures, from 0.
        query: position from which mixing is drawn (None: the last one).
        layer: block in the figures, from 1 (None: the mean over all).
        head: head in the figures, from 0 (None: the mean over all).
        least_influence: in nats; the agreement treats smaller influences as equal.

    Raises:
        ValueError: one line for each wrong field: as ``CheckpointConfig``, or a sequence, query, layer or head that the
            run does not have.
    """

    sequences: Sequences = 256
    sequence: NonNegativeInt = 0
    query: NonNegativeInt | None = None
    layer: Count | None = None
    head: NonNegativeInt | None = None
    least_influence: NonNegative = 1e-6

    @model_validator(mode="after")
    def _check_ranges(self) -> AttentionConfig:
        config = _config_with_fixed_kernels("run", self.run)
        limits = {
            "sequence": range(self.sequences),
            "query": range(config.seq_len - 1),
            "layer": range(1, config.layers + 1),
            "head": range(config.heads),
        }
        errors = [
            f"{name}: saw {value}; there are {len(allowed)}, from {allowed[0]} to {allowed[-1]}"
            for name, allowed in limits.items()
            if (value := getattr(self, name)) is not None and value not in allowed
        ]
        size = 4 * self.sequences * config.layers * config.heads * config.seq_len**2  # bytes in float32
        if size > MAX_BYTES:
            errors.append(f"sequences: saw {self.sequences}, whose mixing takes {size / 2**30:,.0f} GiB of memory")
        if errors:
            raise SeveralErrors(*errors)
        return self


def _check_fields(by: tuple[str, ...]) -> tuple[str, ...]:
    for name in by:
        if name not in TrainConfig.model_fields:
            raise ValueError(unknown_name_message("field of a run", name, TrainConfig.model_fields))
    return by


class ReportConfig(Configuration):
    """A sweep and the groups that ``notebooks/report.ipynb`` compares.

    Args:
        sweep: name of the sweep under ``n2n.runs.root()`` or its path, or ``"example:sweep"``, which is trained when it
            is first needed.
        by: fields of ``n2n.TrainConfig`` that define the groups; runs that differ only in other fields are in one
            group. Runs of different tasks are always in different groups.
        parameters: number of parameters at which groups are compared (None: the middle of the range that all of them
            cover).
        resamples: number of bootstrap resamples.
        export: folder of the report (empty: ``report`` in the sweep's folder).

    Raises:
        ValueError: one line for each wrong field: a sweep that does not exist or has no runs, or an unknown field.
    """

    positional: ClassVar[tuple[str, ...]] = ("sweep",)

    sweep: Annotated[PathText, AfterValidator(check_sweep_name)] = SWEEP
    by: Annotated[Ordered[str], Field(min_length=1), AfterValidator(_check_fields)] = ("arch",)
    parameters: Count | None = None
    resamples: Annotated[Count, Field(ge=100, le=10**6)] = 1000
    export: FolderText = ""
