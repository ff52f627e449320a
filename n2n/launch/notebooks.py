"""A notebook as a job: the parameters that it has, and the strict configuration that it hands them to."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import nbformat

import n2n
from n2n.launch.points import Point
from n2n.launch.resources import Resources
from n2n.notebook.assignments import Assignments, constant, read_assignments, statements
from n2n.notebook.parameters import TAG
from n2n.utils.paths import checked_path, path_or_default, path_text
from n2n.utils.strict import Refused, Strict, unknown

RUN_DIR, PROCESSES = "run_dir", "processes"  # parameters that launching sets


@dataclass(frozen=True)
class Notebook:
    """A parameterised notebook.

    Args:
        path: of the file; a bare name that is not here is looked for among the checkout's notebooks.

    Raises:
        ValueError: a file that is not there or is no notebook, or one without a parameters cell.
    """

    path: Path

    def __post_init__(self) -> None:
        checked_path(self.path, "notebook")
        here, ours = Path(path_text(self.path)), Path(n2n.__file__).parents[1] / "notebooks" / self.path
        found = ours if here.name == str(here) and not here.exists() and ours.exists() else here
        object.__setattr__(self, "path", found.absolute())
        if not self.path.is_file():
            raise ValueError(f"notebook: no file {self.path}")
        try:
            tags = [_tags(cell) for cell in self._content.cells]
        except Exception as error:  # nbformat has many ways to say that a file is no notebook
            raise ValueError(f"notebook: {self.path} is no notebook ({type(error).__name__}: {error})") from None
        if not any(TAG in given for given in tags):
            raise ValueError(f"notebook: {self.path} has no cell with the tag {TAG!r}, so it takes none")

    @cached_property
    def _content(self) -> nbformat.NotebookNode:
        return nbformat.read(self.path, as_version=4)

    @cached_property
    def _assigned(self) -> Assignments:
        """What the parameters cell assigns."""
        return read_assignments(next(cell.source for cell in self._content.cells if TAG in _tags(cell)))

    @cached_property
    def defaults(self) -> Point:
        """The notebook's own value of each parameter, for those that are written out and not computed."""
        found = {name: value and constant(value) for name, value in self._assigned.values.items()}
        return {name: given.value for name, given in found.items() if given is not None}

    @cached_property
    def strict(self) -> type[Strict] | None:
        """The configuration of n2n that the notebook makes of its parameters, if it does.

        It is ``Name`` in a call ``n2n.Name(**n2n.parameters(globals()))``, however the notebook imports the two.
        """
        cells = [cell.source for cell in self._content.cells if cell.cell_type == "code"]
        parts = [part for cell in cells for statement in statements(cell) for part in ast.walk(statement)]
        imported = dict(chain.from_iterable(map(_imported, parts)))
        for call in (part for part in parts if isinstance(part, ast.Call)):
            spread = [_dotted(keyword.value, imported) for keyword in call.keywords if keyword.arg is None]
            if spread == ["n2n.parameters(globals())"] and (found := _public(_dotted(call.func, imported))):
                return found
        return None

    @cached_property
    def names(self) -> list[str]:
        """What a point may give."""
        return sorted(self._known - {RUN_DIR})

    @cached_property
    def _known(self) -> set[str]:
        return set(self._assigned.values) | set(self.strict.model_fields if self.strict else ())

    def judge(self, point: Mapping[str, Any], resources: Resources) -> str | None:
        """What is wrong with a point's parameters in a job with such resources, or None."""
        if RUN_DIR in point:
            return f"{RUN_DIR}: each point of a sweep has a folder of its own, so it can't be given"
        strange = [name for name in point if name not in self.names]
        if strange:
            return "\n".join(unknown("parameter", name, self.names) for name in strange)
        given = self.completed(point, None, resources.processes)
        if said := self._refused(given):
            return said
        if resources.nodes > 1 and PROCESSES not in given:
            return f"nodes: saw {resources.nodes}, but the notebook has no parameter {PROCESSES!r} to spread over them"
        processes = given.get(PROCESSES, resources.nodes)
        if isinstance(processes, int) and processes % resources.nodes:
            return f"{PROCESSES}: saw {processes}, which {resources.nodes} nodes do not divide"
        return None

    def _refused(self, given: Point) -> str | None:
        """What the notebook's configuration would say of parameters, but for values that the notebook computes."""
        computed = set(self._assigned.values) - set(self.defaults) - set(given)
        try:
            self.strict(**{**self.defaults, **given}) if self.strict else None
        except Refused as error:
            wrong = [pair for pair in error.wrong if pair[0] not in computed]
            return str(Refused(error.args[0], *wrong)) if wrong else None
        except ValueError as error:
            return str(error)
        return None

    def completed(self, point: Mapping[str, Any], folder: Path | None, processes: int) -> Point:
        """A point's parameters with those that launching sets, paths made absolute: jobs run in another folder.

        Args:
            point: as given, allowed.
            folder: of the point; None leaves it out.
            processes: that a job has; a point's own number comes first.
        """
        found = {name: self._absolute(name, value) for name, value in point.items()}
        known = self._known
        if PROCESSES in known and processes > 1:
            found.setdefault(PROCESSES, processes)
        return {**found, RUN_DIR: str(folder)} if RUN_DIR in known and folder else found

    def _absolute(self, name: str, value: Any) -> Any:
        field = self.strict.model_fields.get(name) if self.strict else None
        is_path = field is not None and any(getattr(part, "func", None) is path_or_default for part in field.metadata)
        if not is_path or value in ("", field.default):
            return value
        try:
            return str(Path(path_text(value)).absolute())
        except ValueError:
            return value  # which the configuration refuses


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def _imported(part: ast.AST) -> Iterator[tuple[str, str]]:
    """Names that an import binds, with what they stand for."""
    if isinstance(part, ast.Import):
        yield from ((alias.asname, alias.name) for alias in part.names if alias.asname)
    if isinstance(part, ast.ImportFrom) and part.module and not part.level:
        yield from ((alias.asname or alias.name, f"{part.module}.{alias.name}") for alias in part.names)


def _dotted(expression: ast.expr, imported: Mapping[str, str]) -> str:
    """An expression's text, its first name as the import has it."""
    first, dot, rest = ast.unparse(expression).partition(".")
    name, bracket, given = first.partition("(")
    return imported.get(name, name) + bracket + given + dot + rest


def _public(dotted: str) -> type[Strict] | None:
    first, *rest = dotted.split(".")
    found: Any = n2n if first == "n2n" else None
    for name in rest:
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, Strict) else None
