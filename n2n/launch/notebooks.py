"""A notebook as a job: the parameters that it has, and the strict configuration that it hands them to."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import nbformat

import n2n
from n2n import fields
from n2n.launch.points import Point
from n2n.launch.resources import Resources
from n2n.paths import readable, usable
from n2n.strict import Strict, unknown

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
        usable(self.path, "notebook")
        here, ours = Path(readable(self.path)), Path(n2n.__file__).parents[1] / "notebooks" / self.path
        found = ours if here.name == str(here) and not here.exists() and ours.exists() else here
        object.__setattr__(self, "path", found.absolute())
        if not self.path.is_file():
            raise ValueError(f"notebook: no file {self.path}")
        try:
            tags = [cell.get("metadata", {}).get("tags", []) for cell in self._content.cells]
        except Exception as error:  # nbformat has many ways to say that a file is no notebook
            raise ValueError(f"notebook: {self.path} is no notebook ({type(error).__name__}: {error})") from None
        if not any("parameters" in given for given in tags):
            raise ValueError(f"notebook: {self.path} has no cell with the tag 'parameters', so it takes none")

    @cached_property
    def _content(self) -> nbformat.NotebookNode:
        return nbformat.read(self.path, as_version=4)

    @cached_property
    def defaults(self) -> Point:
        """Each parameter of the notebook with its own value, as papermill reads them."""
        import papermill

        logging.getLogger("papermill").setLevel(logging.WARNING)
        found = papermill.inspect_notebook(str(self.path))
        return {name: _literal(parameter["default"]) for name, parameter in found.items()}

    @cached_property
    def strict(self) -> type[Strict] | None:
        """The configuration of n2n that the notebook makes of its parameters, if it does.

        It is the ``n2n.Name`` of a call ``n2n.Name(**n2n.parameters(globals()))``.
        """
        sources = [cell.source for cell in self._content.cells if cell.cell_type == "code"]
        for call in chain.from_iterable(map(_calls, sources)):
            if [ast.unparse(k.value) for k in call.keywords if k.arg is None] == ["n2n.parameters(globals())"]:
                return _public(ast.unparse(call.func))
        return None

    @property
    def names(self) -> list[str]:
        """What a point may give."""
        return sorted(self._known - {RUN_DIR})

    @property
    def _known(self) -> set[str]:
        return set(self.defaults) | set(self.strict.model_fields if self.strict else ())

    def judge(self, point: Mapping[str, Any], resources: Resources) -> str | None:
        """What is wrong with a point's parameters in a job with such resources, or None."""
        if RUN_DIR in point:
            return f"{RUN_DIR}: each point of a sweep has a folder of its own, so it can't be given"
        strange = [name for name in point if name not in self.names]
        if strange:
            return "\n".join(unknown("parameter", name, self.names) for name in strange)
        given = self.completed(point, None, resources.processes)
        try:
            self.strict(**{**self.defaults, **given}) if self.strict else None
        except ValueError as error:
            return str(error)
        if resources.nodes > 1 and PROCESSES not in given:
            return f"nodes: saw {resources.nodes}, but the notebook has no parameter {PROCESSES!r} to spread over them"
        processes = given.get(PROCESSES, resources.nodes)
        if isinstance(processes, int) and processes % resources.nodes:
            return f"{PROCESSES}: saw {processes}, which {resources.nodes} nodes do not divide"
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
        is_path = field is not None and any(getattr(part, "func", None) is fields.path for part in field.metadata)
        if not is_path or value in ("", field.default):
            return value
        try:
            return str(Path(readable(value)).absolute())
        except ValueError:
            return value  # which the configuration refuses


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _calls(source: str) -> Iterator[ast.Call]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with a magic
        return
    yield from (part for part in ast.walk(tree) if isinstance(part, ast.Call))


def _public(dotted: str) -> type[Strict] | None:
    first, *rest = dotted.split(".")
    found: Any = n2n if first == "n2n" else None
    for name in rest:
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, Strict) else None
