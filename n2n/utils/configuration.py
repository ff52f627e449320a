"""What a notebook is asked for: a strict configuration that knows how papermill passes values."""

from __future__ import annotations

import shlex
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

from n2n.utils.strict import Strict

MAX_EXAMPLE_LENGTH, MAX_EXAMPLE_BITS = 80, 128  # characters and bits of a value that is repeated in an example
MAX_PARTS = 100  # of a list that are looked at for one


class Configuration(Strict):
    """Base of the configurations that notebooks make of their parameters.

    papermill's ``-p`` guesses types: ``-p run_dir 20240101`` passes a number, and ``-p runs '[a, b]'`` a text. Where
    a field was given such a value, the refusal says which option passes it as it was meant.
    """

    @classmethod
    def _wrong(cls, error: ValidationError, values: dict[str, Any]) -> list[tuple[str, str]]:
        wrong = super()._wrong(error, values)
        last = {field: i for i, (field, _) in enumerate(wrong)}  # a hint once, however much is wrong with a value
        for field in last.keys() & values.keys() & cls.model_fields.keys():
            _, said = wrong[last[field]]
            wrong[last[field]] = field, said + _hint(field, cls.model_fields[field].annotation, values[field])
        return wrong


def _hint(name: str, annotation: Any, value: Any) -> str:
    """How to pass a value whose type is not what the field takes, or an empty string where the type is right."""
    takes = _takes(annotation)
    if isinstance(value, str):
        if "list" in takes:
            return f"; with papermill: {_as_yaml(name, value, '[]')}"
        mapping = "mapping" in takes or ("named" in takes and value.lstrip().startswith("{"))
        return f"; with papermill: {_as_yaml(name, value, '{}')}" if mapping else ""
    if (
        takes == {"list", "text"}
        and isinstance(value, list | tuple)
        and not all(isinstance(v, str) for v in value[:MAX_PARTS])
    ):
        quoted = _as_yaml(name, "[" + ", ".join(f'"{_typed(part)}"' for part in value[:MAX_PARTS]) + "]", "[]")
        return f"; in quotes they are text, as with papermill's {quoted}"
    if takes & {"text", "named"} and "list" not in takes and isinstance(value, bool | int | float | None):
        return f"; in quotes it is text, as with papermill's -r {name} {_typed(value)}"
    return ""


def _as_yaml(name: str, value: str, brackets: str) -> str:
    """papermill's option that passes a list or a mapping."""
    given = value if value.strip()[:1] in ("[", "{") else brackets[0] + value + brackets[1]
    example = f"{name}: {_short(given, '..'.join(brackets))}"
    return f"-y {shlex.quote(example)}"


def _typed(value: object) -> str:
    """A value as it was typed in a shell, or a word in its place where that cannot be known."""
    whole = isinstance(value, int) and value.bit_length() <= MAX_EXAMPLE_BITS  # 1e5 has become 100000.0
    return _short(str(value), "TEXT") if whole or value is None or isinstance(value, str) else "TEXT"


def _short(text: str, otherwise: str) -> str:
    return text if len(text) <= MAX_EXAMPLE_LENGTH and text.isprintable() else otherwise


def _takes(annotation: Any) -> set[str]:
    """What a field takes: text, a list, a mapping, or what is named by text or given as a mapping; perhaps several."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _takes(parts[0])
    if origin in (Union, types.UnionType):
        return set().union(*map(_takes, parts))
    if origin is Literal:
        return {"text"} if all(isinstance(part, str) for part in parts) else set()
    if origin in (tuple, list):
        return {"list"} | (_takes(parts[0]) & {"text"})
    if annotation is dict or origin is dict:
        return {"mapping"}
    if annotation is str:
        return {"text"}
    return {"named"} if isinstance(annotation, type) and issubclass(annotation, Strict) else set()
