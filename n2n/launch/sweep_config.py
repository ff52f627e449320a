"""The strict configuration that ``notebooks/sweep.ipynb`` makes of its parameters."""

from __future__ import annotations

import pathlib
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from n2n.launch.clusters import CLUSTERS
from n2n.launch.notebooks import Notebook
from n2n.launch.points import Point, grid as every_combination, points_by_name
from n2n.launch.resources import Resources
from n2n.launch.submission import check_points
from n2n.launch.sweep import sweep_path
from n2n.utils.configuration import errors_of
from n2n.utils.paths import PathText
from n2n.utils.strict import SeveralErrors, short_repr, unknown_name_message


class SweepConfig(Resources):
    """A notebook, the values of its parameters, and the resources of each job; see ``n2n.launch.submit``.

    Args:
        notebook: notebook to execute, from the working directory or the checkout's ``notebooks``.
        name: name of the sweep's folder under ``n2n.runs.root()``.
        grid: values of each parameter that varies; the sweep has a point for each combination.
        fixed: parameters that all points share.
        cluster: ``"auto"``, ``"slurm"``, ``"local"`` or ``"debug"``.

    Raises:
        ValueError: one line for each wrong field: as for ``Resources``, if there is no such notebook, or if the
            notebook refuses a point.
    """

    positional: ClassVar[tuple[str, ...]] = ("notebook",)

    notebook: PathText
    name: str
    grid: dict[str, Any]
    fixed: dict[str, Any] = Field(default_factory=dict)
    cluster: str = "auto"

    @field_validator("grid")
    @classmethod
    def _check_values(cls, grid: dict[str, Any]) -> dict[str, Any]:
        every_combination(**grid)
        return grid

    @model_validator(mode="after")
    def _check_submission(self) -> SweepConfig:
        """Make all checks of ``n2n.launch.submit`` except those that need the cluster."""
        errors = [f"fixed: saw {short_repr(name)}, which the grid sets too" for name in self.fixed if name in self.grid]
        errors = [*errors[:1], *errors_of(self._check_points), *errors_of(sweep_path, self.name)]
        clusters = ["auto", *CLUSTERS]
        if self.cluster not in clusters:
            errors.append(f"cluster: {unknown_name_message('cluster', self.cluster, clusters)}")
        if errors:
            raise SeveralErrors(*errors)
        return self

    def _check_points(self) -> None:
        check_points(Notebook(pathlib.Path(self.notebook)), points_by_name(self.points), self)

    @property
    def points(self) -> list[Point]:
        """Every combination of the grid, with the fixed parameters."""
        return [{**self.fixed, **point} for point in every_combination(**self.grid)]

    @property
    def resources(self) -> dict[str, Any]:
        """Resources of each job, for ``n2n.launch.submit``."""
        return {name: getattr(self, name) for name in Resources.model_fields}
