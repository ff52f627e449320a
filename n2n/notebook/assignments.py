"""What a notebook's cell assigns, read off its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RUN_WHAT_FOLLOWS = {"time", "capture", "prun"}  # magics whose text is Python that runs in the notebook's namespace


@dataclass(frozen=True)
class Assignments:
    """The names that a cell assigns at its top level.

    Attributes:
        values: by name, in order, the expression assigned last; None where the name has none, or one that is computed
            from what the name held before.
        alone: whether the cell does nothing but assign, import and call magics.
        typed: whether a name has an annotation or a type comment.
        empty: whether the cell has no statement, or is not Python.
    """

    values: Mapping[str, ast.expr | None]
    alone: bool
    typed: bool
    empty: bool

    @property
    def literal(self) -> bool:
        """Whether the cell assigns plain values without types and does nothing else, as papermill writes them."""
        values = [None if value is None else constant(value) for value in self.values.values()]
        return self.alone and not self.typed and bool(values) and None not in values


@dataclass(frozen=True)
class Constant:
    """The value of an expression that needs no name to be evaluated."""

    value: Any


def constant(expression: ast.expr) -> Constant | None:
    """The value of a literal, or None for an expression that computes something.

    ``float("nan")`` and ``float("inf")`` count as literals: Python has no other, and papermill writes them so.
    """
    try:
        return Constant(ast.literal_eval(_FloatsWritten().visit(copy.deepcopy(expression))))
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


class _FloatsWritten(ast.NodeTransformer):
    """Puts the number in the place of a call such as ``float("inf")``."""

    def visit_Call(self, call: ast.Call) -> ast.AST:
        named = isinstance(call.func, ast.Name) and call.func.id == "float" and len(call.args) == 1
        text = call.args[0].value if named and isinstance(call.args[0], ast.Constant) else None
        return ast.Constant(float(text)) if text in ("nan", "inf", "-inf") else call


def read_assignments(source: str) -> Assignments:
    """What the cell assigns; nothing if it is not Python."""
    values: dict[str, ast.expr | None] = {}
    found = list(statements(source))
    alone, typed = True, False
    for statement in found:
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            values.update(_targets(statement))
            typed |= isinstance(statement, ast.AnnAssign) or bool(getattr(statement, "type_comment", None))
        else:
            alone &= _harmless(statement)
    return Assignments(values, alone, typed, empty=not found)


def statements(source: str) -> Iterator[ast.stmt]:
    """The statements of a cell, those behind ``%%time`` and the like among them; none if it is not Python."""
    for statement in _parsed(source):
        body = _behind_magic(statement)
        if body is None:
            yield statement
        else:
            yield from statements(body)


def _parsed(source: str) -> list[ast.stmt]:
    try:
        return _tree(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return _tree(
            TransformerManager().transform_cell(source)
        )  # magics and shell commands as the calls that they are
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []


def _tree(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source, type_comments=True).body
    except SyntaxError:  # maybe a type comment where none may stand
        return ast.parse(source).body


def _targets(statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> Iterator[tuple[str, ast.expr | None]]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    value = None if isinstance(statement, ast.AugAssign) else statement.value
    for target in targets:
        yield from _named(target, value)


def _named(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Starred):
        yield from _named(target.value, None)
    elif isinstance(target, ast.Tuple | ast.List):
        spread = any(isinstance(part, ast.Starred) for part in target.elts)
        written = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts) and not spread
        for part, own in zip(target.elts, value.elts if written else [None] * len(target.elts), strict=True):
            yield from _named(part, own)


def _harmless(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass):
        return True
    if not isinstance(statement, ast.Expr):
        return False
    return isinstance(statement.value, ast.Constant) or _is_magic(statement.value)  # a constant: a docstring


def _is_magic(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Call) and ast.unparse(expression.func).startswith("get_ipython().")


def _behind_magic(statement: ast.stmt) -> str | None:
    """The Python in a magic that runs what follows it, such as ``%%time``."""
    if not isinstance(statement, ast.Expr) or not _is_magic(statement.value):
        return None
    given = [part.value for part in statement.value.args if isinstance(part, ast.Constant)]
    if not given or given[0] not in RUN_WHAT_FOLLOWS:
        return None
    return str(given[-1])
