"""The reader of a point's files, for the status of a sweep, the table of its runs and its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from n2n.monitor.rows import last_row
from n2n.runs.folder import RunFolder
from n2n.utils.files import read_object
from n2n.utils.strict import short_repr

Content = TypeVar("Content")


class PointReader:
    """Reads the files of a point, each at most once, when it is first used. A damaged file counts as empty.

    Args:
        path: folder of the point; it need not exist.
        parameters: parameters of the point in its sweep; empty for a run that belongs to no sweep.

    Attributes:
        folder: names and paths of the files.
        parameters: as given.
    """

    def __init__(self, path: Path, parameters: Mapping[str, Any] | None = None) -> None:
        self.folder, self.parameters = RunFolder(path), dict(parameters or {})
        self._damage: list[str] = []

    @property
    def damage(self) -> str:
        """A sentence about the first damaged file among those read so far; empty if there is none."""
        return f"damaged: {self._damage[0]}" if self._damage else ""

    @property
    def error(self) -> str:
        """The damage so far; without damage, the error of the run or of its job; empty if there is none."""
        reported = (self.status.get("error"), self.job.get("error"))  # reading them may find damage
        return next((error for error in (self.damage, *reported) if isinstance(error, str) and error), "")

    @cached_property
    def state(self) -> str:
        """State of the run; without a run, state of the job; ``"missing"`` without either."""
        return self.folder.current_status(self.status).get("state") or self.job.get("state") or "missing"

    @cached_property
    def job(self) -> dict[str, Any]:
        """The status that the point's last job wrote."""
        return self._object(self.folder.job_path)

    @cached_property
    def status(self) -> dict[str, Any]:
        """The last status that the run wrote, although its process may have ended since; see ``state``."""
        return self._object(self.folder.status_path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The fields of ``config.json``."""
        return self._object(self.folder.config_path)

    @cached_property
    def run_config(self) -> dict[str, Any]:
        """The configuration of the run; empty, and damage, if ``config.json`` is there and holds none."""
        if isinstance(self.config.get("graph"), dict):
            return self.config
        if self.folder.config_path.exists():
            self._damage.append(f"{self.folder.config_path.name}: it holds no configuration of a run")
        return {}

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """All held-out evaluations, oldest first; empty if any of them is damaged."""
        return self._read(self.folder.evaluations_path, lambda path: self.folder.read_evaluations()) or []

    @cached_property
    def last_evaluation(self) -> dict[str, Any] | None:
        """The last held-out evaluation, empty if there is none, None if it is damaged; earlier ones are not read."""
        return self._read(self.folder.evaluations_path, lambda path: last_row(path) or {})

    @cached_property
    def last_metrics(self) -> dict[str, Any]:
        """The last logged step; earlier ones are not read."""
        return self._read(self.folder.metrics_path, last_row) or {}

    def number(self, path: Path, fields: Mapping[str, Any], name: str) -> float | None:
        """Return a field that is a number; None if it is missing or, which is damage, not a number.

        Args:
            path: file that the fields were read from.
            fields: fields by name.
            name: name of the field.
        """
        value = fields.get(name)
        if name in fields and (isinstance(value, bool) or not isinstance(value, int | float)):
            self._damage.append(f"{path.name}: {name}: saw {short_repr(value)}; a number is needed")
            return None
        return value

    def _object(self, path: Path) -> dict[str, Any]:
        return self._read(path, read_object) or {} if path.exists() else {}

    def _read(self, path: Path, read: Callable[[Path], Content]) -> Content | None:
        try:
            return read(path)
        except (OSError, ValueError) as error:
            self._damage.append(f"{path.name}: {str(error).removeprefix(f'{path}, ')}")
            return None
