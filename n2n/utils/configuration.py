"""Base class of notebooks' configurations, whose errors explain how papermill passes values."""

from __future__ import annotations

import shlex
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

from n2n.utils.strict import Strict

MAX_EXAMPLE_LENGTH, MAX_EXAMPLE_BITS = 80, 128  # characters of a text and bits of an integer that an example repeats
MAX_PARTS = 100  # items of a list that are read for an example


class Configuration(Strict):
    """Base of the configurations that notebooks build from their parameters.

    papermill's ``-p`` guesses types: ``-p run_dir 20240101`` passes a number, and ``-p runs '[a, b]'`` a text. If a
    field receives such a value, the error message names the papermill option that passes the intended type.
    """

    @classmethod
    def _wrong(cls, error: ValidationError, values: dict[str, Any]) -> list[tuple[str, str]]:
        wrong = super()._wrong(error, values)
        last = {field: i for i, (field, _) in enumerate(wrong)}  # one hint for each field, after its last error
        for field in last.keys() & values.keys() & cls.model_fields.keys():
            _, message = wrong[last[field]]
            wrong[last[field]] = field, message + _hint(field, cls.model_fields[field].annotation, values[field])
        return wrong


def _hint(name: str, annotation: Any, value: Any) -> str:
    """How to pass the type that a field needs; empty if the value has it already."""
    kinds = _accepted_kinds(annotation)
    if isinstance(value, str):
        if "list" in kinds:
            return f"; with papermill: {_as_yaml(name, value, '[]')}"
        mapping = "mapping" in kinds or ("nested" in kinds and value.lstrip().startswith("{"))
        return f"; with papermill: {_as_yaml(name, value, '{}')}" if mapping else ""
    if (
        kinds == {"list", "text"}
        and isinstance(value, list | tuple)
        and not all(isinstance(v, str) for v in value[:MAX_PARTS])
    ):
        quoted = _as_yaml(name, "[" + ", ".join(f'"{_typed(part)}"' for part in value[:MAX_PARTS]) + "]", "[]")
        return f"; in quotes they are text, as with papermill's {quoted}"
    if kinds & {"text", "nested"} and "list" not in kinds and isinstance(value, bool | int | float | None):
        return f"; in quotes it is text, as with papermill's -r {name} {_typed(value)}"
    return ""


def _as_yaml(name: str, value: str, brackets: str) -> str:
    """papermill's option that passes a list or a mapping."""
    bracketed = value if value.strip()[:1] in ("[", "{") else brackets[0] + value + brackets[1]
    example = f"{name}: {_short(bracketed, '..'.join(brackets))}"
    return f"-y {shlex.quote(example)}"


def _typed(value: object) -> str:
    """The text that was typed in a shell, or the word TEXT if the value does not tell."""
    is_integer = isinstance(value, int) and value.bit_length() <= MAX_EXAMPLE_BITS  # a float may have been typed as 1e5
    return _short(str(value), "TEXT") if is_integer or value is None or isinstance(value, str) else "TEXT"


def _short(text: str, otherwise: str) -> str:
    return text if len(text) <= MAX_EXAMPLE_LENGTH and text.isprintable() else otherwise


def _accepted_kinds(annotation: Any) -> set[str]:
    """Kinds of value that a field accepts: "text", "list", "mapping", and "nested" for a ``Strict`` value."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _accepted_kinds(parts[0])
    if origin in (Union, types.UnionType):
        return set().union(*map(_accepted_kinds, parts))
    if origin is Literal:
        return {"text"} if all(isinstance(part, str) for part in parts) else set()
    if origin in (tuple, list):
        return {"list"} | (_accepted_kinds(parts[0]) & {"text"})
    if annotation is dict or origin is dict:
        return {"mapping"}
    if annotation is str:
        return {"text"}
    return {"nested"} if isinstance(annotation, type) and issubclass(annotation, Strict) else set()


def errors_of(check: Callable[..., object], *arguments: Any) -> list[str]:
    """The message of the ``ValueError`` that a check raises, or an empty list if it raises none."""
    try:
        check(*arguments)
    except ValueError as error:
        return [str(error)]
    return []
