"""The assignments of a notebook's cell, read from its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CODE_MAGICS = {"time", "capture", "prun"}  # magics whose argument is Python code that runs in the notebook's namespace


@dataclass(frozen=True)
class Assignments:
    """The names that a cell assigns at its top level.

    Attributes:
        values: by name, in order, the expression that was assigned last; None for a declaration without a value, and
            for an augmented or unpacked assignment.
        only_assigns: whether the cell does nothing except assign, import and call magics.
        annotated: whether a name has an annotation or a type comment.
        empty: whether the cell has no statement, or is not Python.
    """

    values: Mapping[str, ast.expr | None]
    only_assigns: bool
    annotated: bool
    empty: bool

    @property
    def literal(self) -> bool:
        """Whether the cell only assigns literals without types, as the cells do that papermill injects."""
        values = [None if value is None else constant(value) for value in self.values.values()]
        return self.only_assigns and not self.annotated and bool(values) and None not in values


@dataclass(frozen=True)
class Constant:
    """The value of an expression that can be evaluated without any names."""

    value: Any


def constant(expression: ast.expr) -> Constant | None:
    """Return the value of a literal, or None for an expression that computes something.

    ``float("nan")`` and ``float("inf")`` count as literals: Python has no other, and papermill writes them so.
    """
    try:
        return Constant(ast.literal_eval(_ReplaceFloatCalls().visit(copy.deepcopy(expression))))
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


class _ReplaceFloatCalls(ast.NodeTransformer):
    """Replaces calls such as ``float("inf")`` by the number."""

    def visit_Call(self, call: ast.Call) -> ast.AST:
        is_float = isinstance(call.func, ast.Name) and call.func.id == "float" and len(call.args) == 1
        text = call.args[0].value if is_float and isinstance(call.args[0], ast.Constant) else None
        return ast.Constant(float(text)) if text in ("nan", "inf", "-inf") else call


def read_assignments(source: str) -> Assignments:
    """Return the assignments of a cell; none if it is not Python."""
    values: dict[str, ast.expr | None] = {}
    body = list(statements(source))
    only_assigns, annotated = True, False
    for statement in body:
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            values.update(_targets(statement))
            annotated |= isinstance(statement, ast.AnnAssign) or bool(getattr(statement, "type_comment", None))
        else:
            only_assigns &= _has_no_effect(statement)
    return Assignments(values, only_assigns, annotated, empty=not body)


def statements(source: str) -> Iterator[ast.stmt]:
    """Yield the statements of a cell, including those in magics such as ``%%time``; none if it is not Python."""
    for statement in _parse(source):
        code = _code_in_magic(statement)
        if code is None:
            yield statement
        else:
            yield from statements(code)


def _parse(source: str) -> list[ast.stmt]:
    try:
        return _parse_python(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        # IPython translates magics and shell commands to function calls.
        return _parse_python(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []


def _parse_python(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source, type_comments=True).body
    except SyntaxError:  # perhaps a type comment in a place where none is allowed
        return ast.parse(source).body


def _targets(statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> Iterator[tuple[str, ast.expr | None]]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    value = None if isinstance(statement, ast.AugAssign) else statement.value
    for target in targets:
        yield from _names(target, value)


def _names(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Starred):
        yield from _names(target.value, None)
    elif isinstance(target, ast.Tuple | ast.List):
        starred = any(isinstance(part, ast.Starred) for part in target.elts)
        matches = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts) and not starred
        values = value.elts if matches else [None] * len(target.elts)
        for part, part_value in zip(target.elts, values, strict=True):
            yield from _names(part, part_value)


def _has_no_effect(statement: ast.stmt) -> bool:
    """Return whether a statement is an import, a docstring, a magic or ``pass``."""
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass):
        return True
    return isinstance(statement, ast.Expr) and (isinstance(statement.value, ast.Constant) or _is_magic(statement.value))


def _is_magic(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Call) and ast.unparse(expression.func).startswith("get_ipython().")


def _code_in_magic(statement: ast.stmt) -> str | None:
    """Return the Python code in a magic such as ``%%time``; None for any other statement."""
    if not isinstance(statement, ast.Expr) or not _is_magic(statement.value):
        return None
    arguments = [argument.value for argument in statement.value.args if isinstance(argument, ast.Constant)]
    if not arguments or arguments[0] not in CODE_MAGICS:
        return None
    return str(arguments[-1])
