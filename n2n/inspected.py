"""What the notebooks that look into runs are asked for, and the values that they look at."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from n2n import evaluation
from n2n.comparison import Comparison
from n2n.examples import PREFIX, Inspected, OneRun, RunName, Sequences, check_step, configured, named
from n2n.probes import ProbeData
from n2n.runs import Run, labels
from n2n.strict import Count, NonNegativeInt, Ordered, Strict, shown, unknown


class EvaluateConfig(Strict):
    """Runs that are compared with the oracle side by side.

    Args:
        runs: each a run's folder, or ``"example:<name>"``; all of the same process and length.
        step: of every run's checkpoint (None: each one's last).
        sequences: held-out sequences.
        orders: of the n-grams beside them.
        latent: whose states and switches the loss is cut by (empty: the first one).

    Raises:
        ValueError: one line for each wrong field: a run that is not there or has no checkpoint, a run that is named
            twice, a step that was not saved, a latent that the first run's graph does not have.
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
        latents = [node.name for node in configured(self.runs[0]).graph.latents]
        if not latents:
            raise ValueError(f"runs: {self.runs[0]} is of a process without latents, whose states it could be cut by")
        if self.latent and self.latent not in latents:
            raise ValueError(f"latent: {unknown('latent', self.latent, latents)}")
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
    """

    last: Count = 4
    simplex: RunName = f"{PREFIX}mess3"


class DynamicsConfig(OneRun):
    """A run whose checkpoints are looked at one after another, from the untrained model on.

    Args:
        run: the run's folder, or ``"example:<name>"``.
        sequences: held-out sequences; probes are fitted on as many others.
        most: checkpoints that are looked at; of more, so many, spread evenly.

    Raises:
        ValueError: one line for each wrong field.
    """

    most: Annotated[Count, Field(ge=2)] = 10


class WelcomeConfig(OneRun):
    """The run that ``notebooks/welcome.ipynb`` takes its pictures of."""


def compared(runs: list[Run], sequences: int, step: int | None = None) -> Comparison:
    """The models of several runs beside the oracle, named by architecture, or by folders where that repeats.

    Raises:
        ValueError: runs of different processes or lengths (the message names them), or that cannot be told apart by
            the last two parts of their paths, or no such checkpoint.
    """
    first = runs[0]
    for run in runs[1:]:
        for what in ("process", "seq_len"):
            if getattr(run.config, what) != getattr(first.config, what):
                raise ValueError(
                    f"runs: {run.path.name} has another {what} than {first.path.name}; runs are compared on the same "
                    "tokens"
                )
    names = labels(runs)
    if len(set(names)) < len(runs):
        raise ValueError(f"runs: saw folders that go by the same names, {names}; give one of them another")
    models = {name: run.model(step) for name, run in zip(names, runs, strict=True)}
    return Comparison(first.config.process, models, sequences, first.config.seq_len)


def probe_data(run: Run, sequences: int) -> ProbeData:
    """Held-out sequences of a run's process, as long as the model reads them in training."""
    return ProbeData(run.config.process, sequences, run.config.seq_len - 1)


def sequences_seen(runs: list[Run], step: int | None = None) -> int:
    """The most distinct training sequences that one of the runs had seen at a step (None: at its last checkpoint)."""
    return max(evaluation.sequences_seen(run.config, max(run.steps) if step is None else step) for run in runs)
