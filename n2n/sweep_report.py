"""What the report of a sweep is asked for, and the sweep that it is of: one that is named, or a small example."""

from __future__ import annotations

import os
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from n2n import runs
from n2n.config.train_config import TrainConfig
from n2n.examples import PREFIX, SWEEP, opened_sweep
from n2n.sweeps.results import SweepResults, read_folder
from n2n.utils.configuration import Asked
from n2n.utils.paths import FolderText, PathText
from n2n.utils.strict import Count, Ordered, unknown


def _known_example(name: str) -> str:
    if name.startswith(PREFIX) and name != SWEEP:
        raise ValueError(unknown("example of a sweep", name, [SWEEP]))
    return name


def _there(name: str) -> str:
    """A sweep as a notebook's parameter names it."""
    if _known_example(name) != SWEEP:
        runs.table(name)  # refuses a folder that is missing or holds no runs
    return name


def _known(by: tuple[str, ...]) -> tuple[str, ...]:
    for name in by:
        if name not in TrainConfig.model_fields:
            raise ValueError(unknown("field of a run", name, TrainConfig.model_fields))
    return by


class ReportConfig(Asked):
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

    sweep: Annotated[PathText, AfterValidator(_there)] = SWEEP
    by: Annotated[Ordered[str], Field(min_length=1), AfterValidator(_known)] = ("arch",)
    parameters: Count | None = None
    resamples: Annotated[Count, Field(ge=100, le=10**6)] = 1000
    export: FolderText = ""


def read_sweep(name: str | os.PathLike) -> SweepResults:
    """The results of a sweep, as ``n2n.sweep_results.read_folder`` finds them.

    Args:
        name: as ``ReportConfig.sweep``.

    Raises:
        ValueError: no such sweep, one without runs, or one in which nothing was evaluated yet.
    """
    return read_folder(opened_sweep(_known_example(os.fspath(name))))
