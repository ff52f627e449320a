"""Which run a notebook looks at: one that is named, or a small example, trained once and anew when n2n changes."""

from __future__ import annotations

import hashlib
import os
import pathlib
from functools import cache
from itertools import product
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator, Field, model_validator

from n2n import runs
from n2n.config.train_config import TrainConfig
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.monitor.status import read_status
from n2n.runs.paths import root, sweep_folder
from n2n.runs.run import Run
from n2n.sweeps.results import SweepResults, read_folder
from n2n.training.trainer import train
from n2n.utils.configuration import Configuration
from n2n.utils.files import making_folder
from n2n.utils.lock import locked
from n2n.utils.paths import PathText, checked_path
from n2n.utils.progress import print_line, track
from n2n.utils.strict import Count, NonNegativeInt, short_repr, unknown

PREFIX = "example:"
# A slow regime that steers a quick chain, a chain of its own beside it, and X that sees both chains.
REGIMES = Graph(
    name="regimes",
    initial="stationary",
    nodes=(
        Node(name="Z1", num_states=3, stickiness=0.95),
        Node(name="Z2", num_states=4, parents=("Z1",), alpha=0.1),
        Node(name="Z3", num_states=4, stickiness=0.8),
        Node(name="X", num_states=16, parents=("Z2", "Z3"), observed=True, alpha=0.05),
    ),
)
_SMALL = {"graph": REGIMES, "process_seed": 1, "steps": 400, "checkpoint_every": 20, "eval_sequences": 256}
EXAMPLES = {
    "transformer": _SMALL,
    "mamba": {**_SMALL, "arch": "mamba"},
    "mess3": {**_SMALL, "graph": "mess3"},
}
SWEEP = PREFIX + "sweep"
_POINT = {"graph": "four_chains", "heads": 2, "seq_len": 32, "steps": 80, "eval_every": 20, "eval_sequences": 256}
_GRID = {"arch": ("transformer", "mamba", "mingru"), "dim": (8, 12, 16, 20, 24, 32, 40, 48)}


def _there(given: str) -> str:
    """A run as a notebook's parameter names it."""
    if given.startswith(PREFIX):
        name = given.removeprefix(PREFIX)
        if name not in EXAMPLES:
            raise ValueError(unknown("example", name, EXAMPLES))
        return given
    try:
        run = run_by_name(given)
    except ValueError as error:
        known = ", ".join(PREFIX + name for name in EXAMPLES)
        raise ValueError(f"saw {short_repr(given)}: {error}; or name an example: {known}") from None
    if not run.steps:
        state = run.status["state"]
        raise ValueError(
            f"saw {short_repr(given)}, a run without a checkpoint yet (its state is {state!r}); let it train on first"
        )
    return given


def run_by_name(name: str) -> Run:
    """The run in a folder, by its path or by its name under ``root()``.

    Raises:
        ValueError: no run there.
    """
    here = checked_path(name, "run")
    return Run(here if here.is_dir() or not (root() / name).is_dir() else root() / name)


def config_by_name(name: str) -> TrainConfig:
    """The configuration of a run, or of an example that need not be trained yet."""
    if name.startswith(PREFIX):
        return TrainConfig(**EXAMPLES[name.removeprefix(PREFIX)])
    return run_by_name(name).config


RunName = Annotated[PathText, AfterValidator(_there)]
Sequences = Annotated[Count, Field(ge=2, le=2**20)]  # a million held-out sequences tell all digits that there are


class RunConfig(Configuration):
    """A run that a notebook looks at.

    Args:
        run: the run's folder, by its path or its name under ``n2n.runs.root()``, or ``"example:<name>"``, one of
            ``n2n.examples.EXAMPLES``.
        sequences: held-out sequences that are looked at.

    Raises:
        ValueError: one line for each wrong field: no run in the folder, a run without a checkpoint.
    """

    positional: ClassVar[tuple[str, ...]] = ("run",)

    run: RunName = PREFIX + "transformer"
    sequences: Sequences = 128


class CheckpointConfig(RunConfig):
    """A run that a notebook looks into, at one of its checkpoints.

    Args:
        run, sequences: as of ``OneRun``.
        step: of the checkpoint (None: the last).

    Raises:
        ValueError: as ``OneRun``, or a step that was not saved (the message lists those that were).
    """

    step: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _saved(self) -> CheckpointConfig:
        check_step(self.run, self.step)
        return self


def check_step(name: str, step: int | None) -> None:
    """Raise a ``ValueError`` that lists the checkpoints of a run if ``step`` is none of them; None is the last one."""
    if step is None:
        return
    if name.startswith(PREFIX):
        given = config_by_name(name)
        known = list(range(given.checkpoint_every, given.steps + 1, given.checkpoint_every))
    else:
        known = run_by_name(name).steps
    if step not in known:
        raise ValueError(f"step: saw {step}; the checkpoints of {name} are {', '.join(map(str, known))}")


def open_run(name: str) -> Run:
    """The run that a notebook's parameter names; an example is trained first, unless this code trained it before.

    Raises:
        ValueError: no such example, no run in the folder, or one without a checkpoint.
    """
    name = _there(os.fspath(name))
    if not name.startswith(PREFIX):
        return run_by_name(name)
    example = name.removeprefix(PREFIX)
    folder = root() / "examples" / f"{example}-{_code()[:12]}"
    with making_folder(folder.parent), locked(folder.with_suffix(".lock")):  # notebooks that run at once share it
        return _trained(folder, EXAMPLES[example])


def open_sweep(name: str) -> pathlib.Path:
    """The folder of a sweep, by its name or path; ``"example:sweep"`` is trained first, unless it was before.

    Raises:
        ValueError: no such sweep.
    """
    if name != SWEEP:
        return sweep_folder(name)
    from IPython.utils.capture import capture_output

    folder = root() / "examples" / f"sweep-{_code()[:12]}"
    points = [dict(zip(_GRID, values, strict=True)) for values in product(*_GRID.values())]
    print_line(f"the example sweep: {len(points)} small runs, those not done yet are trained now")
    with making_folder(folder), locked(folder.with_suffix(".lock")):
        for point in track(points, "run"):
            where = folder / ",".join(f"{key}={value}" for key, value in point.items())
            with capture_output():  # a curve for each would fill a notebook
                _trained(where, {**_POINT, **point})
    return folder


def _trained(folder: pathlib.Path, fields: dict[str, Any]) -> Run:
    if read_status(folder).get("state") == "done":
        return Run(folder)
    return train(TrainConfig(**fields, run_dir=folder))


@cache
def _code() -> str:
    """A hash of what decides an example: the sources of n2n, and the version of torch."""
    found = hashlib.sha256(torch.__version__.encode())
    for path in sorted(pathlib.Path(__file__).parents[1].rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _known_example(name: str) -> str:
    if name.startswith(PREFIX) and name != SWEEP:
        raise ValueError(unknown("example of a sweep", name, [SWEEP]))
    return name


def _sweep_there(name: str) -> str:
    """A sweep as a notebook's parameter names it."""
    if _known_example(name) != SWEEP:
        runs.table(name)  # refuses a folder that is missing or holds no runs
    return name


def read_sweep(name: str | os.PathLike) -> SweepResults:
    """The results of a sweep, as ``n2n.sweeps.results.read_folder`` finds them.

    Args:
        name: as ``ReportConfig.sweep``.

    Raises:
        ValueError: no such sweep, one without runs, or one in which nothing was evaluated yet.
    """
    return read_folder(open_sweep(_known_example(os.fspath(name))))
