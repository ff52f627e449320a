"""Runs and sweeps that notebooks open: one named by the user, or a small example that is trained once.

An example is trained again only when its configuration or the code that determines a run changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from n2n.config.train_config import TrainConfig
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.notebook.code_hash import code_hash
from n2n.runs.folder import RunFolder
from n2n.runs.paths import root, sweep_folder
from n2n.runs.run import Run
from n2n.runs.run_table import read_points
from n2n.sweeps.results import SweepResults, read_folder
from n2n.utils.configuration import Configuration
from n2n.utils.files import making_folder
from n2n.utils.lock import locked
from n2n.utils.paths import PathText, checked_path
from n2n.utils.progress import print_line, track
from n2n.utils.strict import Count, NonNegativeInt, short_repr, unknown_name_message

PREFIX = "example:"
# A slow latent that drives a fast one, an independent latent, and an observed node that depends on the last two.
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
_SMALL = {"graph": REGIMES, "process_seed": 1, "dim": 32, "steps": 300, "checkpoint_every": 20, "eval_sequences": 256}
EXAMPLES = {
    "transformer": _SMALL,
    "mamba": {**_SMALL, "arch": "mamba"},
    "mess3": {**_SMALL, "graph": "mess3"},
}
SWEEP = PREFIX + "sweep"
_POINT = {"graph": "four_chains", "heads": 2, "seq_len": 32, "batch_size": 16, "steps": 80, "eval_every": 20}
_POINT |= {"eval_sequences": 256}
_GRID = {"arch": ("transformer", "mamba", "mingru"), "dim": (8, 12, 16, 20, 24, 32, 40, 48)}


def check_run_name(name: str) -> str:
    """Return ``name`` if it names an example or a run that has a checkpoint.

    Raises:
        ValueError: if there is no such example or run, or the run has no checkpoint yet.
    """
    if name.startswith(PREFIX):
        example = name.removeprefix(PREFIX)
        if example not in EXAMPLES:
            raise ValueError(unknown_name_message("example", example, EXAMPLES))
        return name
    try:
        run = run_by_name(name)
    except ValueError as error:
        known = ", ".join(PREFIX + example for example in EXAMPLES)
        raise ValueError(f"saw {short_repr(name)}: {error}; or name an example: {known}") from None
    if not run.steps:
        state = run.status["state"]
        raise ValueError(
            f"saw {short_repr(name)}, a run without a checkpoint yet (its state is {state!r}); train it further first"
        )
    return name


def run_by_name(name: str) -> Run:
    """Return the run with this path, or with this name under ``n2n.runs.root()``.

    Raises:
        ValueError: if there is no such run.
    """
    path = checked_path(name, "run")
    return Run(path if path.is_dir() or not (root() / name).is_dir() else root() / name)


def config_by_name(name: str) -> TrainConfig:
    """Return the configuration of a run, or of an example, which need not be trained yet."""
    if name.startswith(PREFIX):
        return TrainConfig(**EXAMPLES[name.removeprefix(PREFIX)])
    return run_by_name(name).config


RunName = Annotated[PathText, AfterValidator(check_run_name)]
Sequences = Annotated[Count, Field(ge=2, le=2**20)]  # a million held-out sequences are more than any figure can show


class RunConfig(Configuration):
    """A run that a notebook analyses.

    Args:
        run: the run's folder, by its path or its name under ``n2n.runs.root()``, or ``"example:<name>"``, one of
            ``n2n.examples.EXAMPLES``.
        sequences: number of held-out sequences.

    Raises:
        ValueError: one line for each wrong field: no run in the folder, or a run without a checkpoint.
    """

    positional: ClassVar[tuple[str, ...]] = ("run",)

    run: RunName = PREFIX + "transformer"
    sequences: Sequences = 128


class CheckpointConfig(RunConfig):
    """A run that a notebook analyses at one of its checkpoints.

    Args:
        run, sequences: see ``RunConfig``.
        step: step of the checkpoint (None: the last).

    Raises:
        ValueError: as ``RunConfig``, or if the step was not saved (the message lists the steps that were).
    """

    step: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _check_step(self) -> CheckpointConfig:
        check_step(self.run, self.step)
        return self


def check_step(name: str, step: int | None) -> None:
    """Check that a run has a checkpoint at ``step`` (None: the last one).

    Raises:
        ValueError: if it has none; the message lists the run's checkpoints.
    """
    if step is None:
        return
    if name.startswith(PREFIX):
        config = config_by_name(name)
        saved = list(range(config.checkpoint_every, config.steps + 1, config.checkpoint_every))
    else:
        saved = run_by_name(name).steps
    if step not in saved:
        raise ValueError(f"step: saw {step}; the checkpoints of {name} are {', '.join(map(str, saved))}")


def open_run(name: str) -> Run:
    """Return the run that a notebook's parameter names; train it first if it is an example without a current run.

    Raises:
        ValueError: if there is no such example or run, or the run has no checkpoint.
    """
    name = check_run_name(os.fspath(name))
    if not name.startswith(PREFIX):
        return run_by_name(name)
    example = name.removeprefix(PREFIX)
    config = TrainConfig(**EXAMPLES[example])
    folder = _example_folder(example, config.model_dump(mode="json"))
    with making_folder(folder.parent), locked(folder.with_suffix(".lock")):  # notebooks that run at once share it
        return _train_once(folder, config)


def open_all(configs: Mapping[str, TrainConfig]) -> dict[str, Run]:
    """Return a run of each configuration, by the same names; train those that have no current run.

    They are kept like examples: a run is trained again when its configuration or n2n's code changes, and one that was
    stopped is resumed.
    """
    from IPython.utils.capture import capture_output

    found = {}
    for name, config in track(configs.items(), "run"):
        folder = _example_folder(config.arch, config.model_dump(mode="json", exclude={"run_dir"}))
        with making_folder(folder.parent), locked(folder.with_suffix(".lock")), capture_output():
            found[name] = _train_once(folder, config)
    return found


def open_sweep(name: str) -> pathlib.Path:
    """Return the folder of a sweep, by name or path; ``"example:sweep"`` is trained first if need be.

    Raises:
        ValueError: if there is no such sweep.
    """
    if name != SWEEP:
        return sweep_folder(name)
    from IPython.utils.capture import capture_output

    points = [dict(zip(_GRID, values, strict=True)) for values in product(*_GRID.values())]
    folder = _example_folder("sweep", [TrainConfig(**_POINT, **point).model_dump(mode="json") for point in points])
    print_line(f"the example sweep: {len(points)} small runs; those that are not done are trained now")
    with making_folder(folder), locked(folder.with_suffix(".lock")):
        for point in track(points, "run"):
            run_folder = folder / ",".join(f"{key}={value}" for key, value in point.items())
            with capture_output():  # a learning curve of each run would fill the notebook
                _train_once(run_folder, TrainConfig(**{**_POINT, **point}))
    return folder


def _train_once(folder: pathlib.Path, config: TrainConfig) -> Run:
    if RunFolder(folder).read_status().get("state") == "done":
        return Run(folder)
    from n2n.training.trainer import train  # here, because most notebooks open an example that is trained already

    return train(config.model_copy(update={"run_dir": str(folder)}))


def _example_folder(name: str, configuration: Any) -> pathlib.Path:
    """Return the folder of an example, which is another one when its configuration or n2n's code changes."""
    digest = hashlib.sha256(json.dumps([_code_hash(), configuration], sort_keys=True).encode())
    return root() / "examples" / f"{name}-{digest.hexdigest()[:12]}"


@cache
def _code_hash() -> str:
    return code_hash(pathlib.Path(__file__).parents[1])


def _check_example_sweep(name: str) -> str:
    if name.startswith(PREFIX) and name != SWEEP:
        raise ValueError(unknown_name_message("example of a sweep", name, [SWEEP]))
    return name


def check_sweep_name(name: str) -> str:
    """Return ``name`` if it names the example or a sweep that has runs.

    Raises:
        ValueError: if there is no such sweep, or it has no runs.
    """
    if _check_example_sweep(name) != SWEEP:
        read_points(sweep_folder(name))
    return name


def read_sweep(name: str | os.PathLike) -> SweepResults:
    """Return the results of a sweep; see ``n2n.sweeps.results.read_folder``.

    Args:
        name: see ``n2n.ReportConfig.sweep``.

    Raises:
        ValueError: if there is no such sweep, it has no runs, or none of them was evaluated yet.
    """
    return read_folder(open_sweep(_check_example_sweep(os.fspath(name))))
