"""What the notebooks that look into runs are asked for, and the values that they look at."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from n2n.analysis import evaluation
from n2n.analysis.comparison import Comparison
from n2n.analysis.probes import ProbeData
from n2n.config.train_config import TrainConfig
from n2n.examples import PREFIX, Inspected, OneRun, RunName, Sequences, check_step, configured, named
from n2n.runs.run import Run, labels
from n2n.utils.configuration import Asked
from n2n.utils.strict import Count, NonNegativeInt, Ordered, Several, shown, unknown


class EvaluateConfig(Asked):
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
        places = [name if name.startswith(PREFIX) else str(named(name).path.resolve()) for name in runs]
        twice = [name for name, place in zip(runs, places, strict=True) if places.count(place) > 1]
        if twice:
            raise ValueError(f"saw {shown(twice[-1])} twice; each run once is needed")
        return runs

    @model_validator(mode="after")
    def _saved(self) -> EvaluateConfig:
        for name in self.runs:
            check_step(name, self.step)
        first, *others = (configured(name) for name in self.runs)
        latents = [node.name for node in first.graph.latents]
        if not latents:
            raise ValueError(f"runs: {self.runs[0]} is of a process without latents, whose states it could be cut by")
        wrong = [] if self.latent in ("", *latents) else [f"latent: {unknown('latent', self.latent, latents)}"]
        if max(self.orders) > first.seq_len:
            wrong.append(f"orders: saw {max(self.orders)}; sequences of {first.seq_len} tokens show no longer n-grams")
        wrong += [
            _other_task(name, self.runs[0], other, first) for name, other in zip(self.runs[1:], others, strict=True)
        ]
        if any(wrong):
            raise Several(*filter(None, wrong))
        return self

    @property
    def cut_by(self) -> str:
        """The latent that the loss is cut by."""
        return self.latent or configured(self.runs[0]).graph.latents[0].name


class ProbeConfig(Inspected):
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
        states = {latent: int(max(own)) + 1 for latent, own in configured(name).process.own_states.items()}
        if 3 not in states.values():
            raise ValueError(f"saw {shown(name)}, whose latents have {shown(states)} states; one of 3 is needed")
        return name

    @model_validator(mode="after")
    def _seen_tokens(self) -> ProbeConfig:
        config = _with_latents(self.run)
        if self.last >= config.seq_len:
            raise ValueError(f"last: saw {self.last}; a sequence has {config.seq_len - 1} before its last one")
        return self


class _WithLatents(OneRun):
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
    config = configured(name)
    if not config.graph.latents:
        raise ValueError(f"run: {name} is of a process without latents, so there is no belief to probe")
    return config


def compared(runs: list[Run], sequences: int, step: int | None = None) -> Comparison:
    """The models of several runs beside the oracle, named by architecture, or by folders where that repeats.

    Raises:
        ValueError: runs of different processes or lengths (the message names them), or that cannot be told apart by
            the last two parts of their paths, or no such checkpoint.
    """
    first = runs[0]
    for run in runs[1:]:
        if said := _other_task(run.path.name, first.path.name, run.config, first.config):
            raise ValueError(said)
    names = labels(runs)
    if len(set(names)) < len(runs):
        raise ValueError(f"runs: saw folders that go by the same names, {names}; give one of them another")
    models = {name: run.model(step) for name, run in zip(names, runs, strict=True)}
    return Comparison(first.config.process, models, sequences, first.config.seq_len)


def _other_task(name: str, first_name: str, config: TrainConfig, first: TrainConfig) -> str:
    """Why a run cannot be compared with the first one; empty if it can."""
    for what in ("process", "seq_len"):
        if getattr(config, what) != getattr(first, what):
            return f"runs: {name} has another {what} than {first_name}; runs are compared on the same tokens"
    return ""


def probe_data(run: Run, sequences: int) -> ProbeData:
    """Held-out sequences of a run's process, as long as the model reads them in training."""
    return ProbeData(run.config.process, sequences, run.config.seq_len - 1)


def sequences_seen(runs: list[Run], step: int | None = None) -> int:
    """The most distinct training sequences that one of the runs had seen at a step (None: at its last checkpoint)."""
    return max(evaluation.sequences_seen(run.config, max(run.steps) if step is None else step) for run in runs)
