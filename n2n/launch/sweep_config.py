"""A sweep as one strict value, as ``notebooks/sweep.ipynb`` makes one of its parameters."""

from __future__ import annotations

import pathlib
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from n2n.launch.clusters import CLUSTERS
from n2n.launch.notebooks import Notebook
from n2n.launch.points import Point, grid as every_combination, points_by_name
from n2n.launch.resources import Resources
from n2n.launch.submission import refuse_wrong
from n2n.launch.sweep import folder_of
from n2n.utils.paths import PathText
from n2n.utils.strict import SeveralErrors, errors_of, short_repr, unknown


class SweepConfig(Resources):
    """A notebook for every combination of some parameters' values, and what each job gets; see ``n2n.launch.submit``.

    Args:
        notebook: to execute, from here or from the checkout's notebooks.
        name: of the sweep's folder under ``n2n.runs.root()``.
        grid: for each parameter that varies its values.
        fixed: parameters that all points share.
        cluster: ``"auto"``, ``"slurm"``, ``"local"`` or ``"debug"``.

    Raises:
        ValueError: one line for each wrong field, as of ``Resources``; no such notebook, or points that it refuses.
    """

    positional: ClassVar[tuple[str, ...]] = ("notebook",)

    notebook: PathText
    name: str
    grid: dict[str, Any]
    fixed: dict[str, Any] = Field(default_factory=dict)
    cluster: str = "auto"

    @field_validator("grid")
    @classmethod
    def _has_values(cls, grid: dict[str, Any]) -> dict[str, Any]:
        every_combination(**grid)
        return grid

    @model_validator(mode="after")
    def _submittable(self) -> SweepConfig:
        """All of ``n2n.launch.submit``'s checks but for those that only the cluster can make."""
        checks = (self._check_fixed, self._check_points, lambda: folder_of(self.name), self._check_cluster)
        wrong = [message for check in checks for message in errors_of(check)]
        if wrong:
            raise SeveralErrors(*wrong)
        return self

    def _check_fixed(self) -> None:
        twice = [name for name in self.fixed if name in self.grid]
        if twice:
            raise ValueError(f"fixed: saw {short_repr(twice[0])}, which the grid gives too")

    def _check_points(self) -> None:
        refuse_wrong(Notebook(pathlib.Path(self.notebook)), points_by_name(self.points), self)

    def _check_cluster(self) -> None:
        known = ["auto", *CLUSTERS]
        if self.cluster not in known:
            raise ValueError(f"cluster: {unknown('cluster', self.cluster, known)}")

    @property
    def points(self) -> list[Point]:
        """Every combination, with what is fixed."""
        return [{**self.fixed, **point} for point in every_combination(**self.grid)]

    @property
    def resources(self) -> dict[str, Any]:
        """What each job gets, for ``n2n.launch.submit``."""
        return {name: getattr(self, name) for name in Resources.model_fields}
