"""A notebook as a job: its parameters, and the configuration that it makes of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import n2n
from n2n.launch.points import Point
from n2n.launch.resources import Resources
from n2n.notebook.assignments import Assignments, constant, read_assignments, statements
from n2n.notebook.parameters import TAG
from n2n.utils.paths import checked_path, path_or_default, path_text
from n2n.utils.strict import Refused, Strict, unknown_name_message

if TYPE_CHECKING:
    import nbformat

RUN_DIR, PROCESSES = "run_dir", "processes"  # parameters that the launcher sets


@dataclass(frozen=True)
class Notebook:
    """A parameterised notebook.

    Args:
        path: path of the file; a bare name that is not in the working directory is looked up in the checkout's
            ``notebooks``.

    Raises:
        ValueError: if the file is missing, is no notebook, or has no parameters cell.
    """

    path: Path

    def __post_init__(self) -> None:
        checked_path(self.path, "notebook")
        here, ours = Path(path_text(self.path)), Path(n2n.__file__).parents[1] / "notebooks" / self.path
        path = ours if here.name == str(here) and not here.exists() and ours.exists() else here
        object.__setattr__(self, "path", path.absolute())
        if not self.path.is_file():
            raise ValueError(f"notebook: no file {self.path}")
        try:
            tags = [_tags(cell) for cell in self._content.cells]
        except Exception as error:  # nbformat raises errors of many types for a file that is no notebook
            raise ValueError(f"notebook: {self.path} is no notebook ({type(error).__name__}: {error})") from None
        if not any(TAG in cell_tags for cell_tags in tags):
            raise ValueError(f"notebook: {self.path} has no cell with the tag {TAG!r}, so it takes no parameters")

    @cached_property
    def _content(self) -> nbformat.NotebookNode:
        import nbformat  # takes a second or more, which a command that reads no notebook need not wait

        return nbformat.read(self.path, as_version=4)

    @cached_property
    def _assignments(self) -> Assignments:
        """The assignments of the parameters cell."""
        return read_assignments(next(cell.source for cell in self._content.cells if TAG in _tags(cell)))

    @cached_property
    def defaults(self) -> Point:
        """Default value of each parameter that is a literal; computed defaults are left out."""
        constants = {name: value and constant(value) for name, value in self._assignments.values.items()}
        return {name: literal.value for name, literal in constants.items() if literal is not None}

    @cached_property
    def config_class(self) -> type[Strict] | None:
        """The configuration of n2n that the notebook makes of its parameters, if any.

        It is ``Name`` in a call ``n2n.Name(**n2n.parameters(globals()))``, however the notebook imports the two.
        """
        cells = [cell.source for cell in self._content.cells if cell.cell_type == "code"]
        nodes = [node for cell in cells for statement in statements(cell) for node in ast.walk(statement)]
        imports = dict(chain.from_iterable(map(_imported_names, nodes)))
        for call in (node for node in nodes if isinstance(node, ast.Call)):
            unpacked = [_dotted_name(keyword.value, imports) for keyword in call.keywords if keyword.arg is None]
            if unpacked == ["n2n.parameters(globals())"]:
                config_class = _public_config(_dotted_name(call.func, imports))
                if config_class:
                    return config_class
        return None

    @cached_property
    def names(self) -> list[str]:
        """Names of the parameters that a point may set."""
        return sorted(self._all_names - {RUN_DIR})

    @cached_property
    def _all_names(self) -> set[str]:
        return set(self._assignments.values) | set(self.config_class.model_fields if self.config_class else ())

    def point_error(self, point: Mapping[str, Any], resources: Resources) -> str | None:
        """Return what is wrong with a point's parameters in a job with these resources, or None."""
        if RUN_DIR in point:
            return f"{RUN_DIR}: each point of a sweep has its own folder, so a point cannot set it"
        unknown_names = [name for name in point if name not in self.names]
        if unknown_names:
            return "\n".join(unknown_name_message("parameter", name, self.names) for name in unknown_names)
        parameters = self.complete(point, None, resources.processes)
        if message := self._config_error(parameters):
            return message
        if resources.nodes > 1 and PROCESSES not in parameters:
            return f"nodes: saw {resources.nodes}, but the notebook has no parameter {PROCESSES!r} to spread over them"
        processes = parameters.get(PROCESSES, resources.nodes)
        if isinstance(processes, int) and processes % resources.nodes:
            return f"{PROCESSES}: saw {processes}, which {resources.nodes} nodes do not divide"
        return None

    def _config_error(self, parameters: Point) -> str | None:
        """Return the error of the notebook's configuration, except about parameters that the notebook computes."""
        if self.config_class is None:
            return None
        computed = set(self._assignments.values) - set(self.defaults) - set(parameters)
        try:
            self.config_class(**{**self.defaults, **parameters})
        except Refused as error:
            wrong = [(name, message) for name, message in error.wrong if name not in computed]
            return str(Refused(error.args[0], *wrong)) if wrong else None
        except ValueError as error:
            return str(error)
        return None

    def complete(self, point: Mapping[str, Any], folder: Path | None, processes: int) -> Point:
        """Return a point's parameters with those that the launcher sets, and with absolute paths.

        Paths are made absolute because jobs run in another folder.

        Args:
            point: allowed parameters.
            folder: folder of the point (None: leave ``run_dir`` out).
            processes: number of processes of a job; ``point`` takes precedence.
        """
        parameters = {name: self._absolute(name, value) for name, value in point.items()}
        if PROCESSES in self._all_names and processes > 1:
            parameters.setdefault(PROCESSES, processes)
        if RUN_DIR in self._all_names and folder:
            parameters[RUN_DIR] = str(folder)
        return parameters

    def _absolute(self, name: str, value: Any) -> Any:
        field = self.config_class.model_fields.get(name) if self.config_class else None
        is_path = field is not None and any(getattr(part, "func", None) is path_or_default for part in field.metadata)
        if not is_path or value in ("", field.default):
            return value
        try:
            return str(Path(path_text(value)).absolute())
        except ValueError:
            return value  # the configuration refuses it


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def _imported_names(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that an import binds, each with its dotted name."""
    if isinstance(node, ast.Import):
        yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _dotted_name(expression: ast.expr, imports: Mapping[str, str]) -> str:
    """Return an expression's text, with its first name replaced by the dotted name that was imported."""
    first, dot, rest = ast.unparse(expression).partition(".")
    name, bracket, arguments = first.partition("(")
    return imports.get(name, name) + bracket + arguments + dot + rest


def _public_config(dotted: str) -> type[Strict] | None:
    first, *rest = dotted.split(".")
    value: Any = n2n if first == "n2n" else None
    for name in rest:
        value = getattr(value, name, None)
    return value if isinstance(value, type) and issubclass(value, Strict) else None
