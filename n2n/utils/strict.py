"""Strict values: pydantic models that are frozen, refuse unknown names and report all errors at once.

pydantic's own messages neither suggest the nearest name nor bound the length of the value that they repeat.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import linecache
import os
import re
import reprlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Set as AbstractSet
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from n2n.utils.nested import nesting_errors

if TYPE_CHECKING:
    from typing import Self


MAX_INTEGER = 2**62 - 1  # largest index, size or seed
MAX_REPR = 160  # characters of a value in a message
MAX_SENTENCE = 2000  # characters of the message for one field
MAX_SENTENCES = 20  # messages in one error
MAX_NAMES = 60  # allowed names that a message lists
MIN_SIMILARITY = 0.65  # difflib's ratio from which a name counts as a misspelling of another
RECORDED = "recorded"  # key of pydantic's context: the values come from a file, perhaps of another machine
_PACKAGE = str(Path(__file__).parents[1])


class _Short(reprlib.Repr):
    """``repr`` of bounded length and cost."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, MAX_REPR, MAX_REPR
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 8

    def repr_int(self, number: int, level: int) -> str:
        # Python refuses to print integers of thousands of digits.
        return repr(number) if number.bit_length() <= 128 else f"<an integer of {number.bit_length():,} bits>"


def short_repr(value: object) -> str:
    """``repr(value)`` on one line of at most ``MAX_REPR`` characters, even if the object's own ``repr`` fails."""
    try:
        return shorten(" ".join(_Short().repr(value).split("\n")), MAX_REPR)
    except Exception:  # the repr of a foreign object may raise anything
        return f"<a {type(value).__name__}>"


def shorten(text: str, max_length: int) -> str:
    """``text`` without its middle if it has more than ``max_length`` characters."""
    if len(text) <= max_length:
        return text
    half = max_length // 2
    return f"{text[:half]} ... {text[len(text) + 5 - max_length + half :]}"


def nearest_name(value: object, allowed: Iterable[object]) -> str:
    """The clause "; did you mean 'x'?" for the allowed name that ``value`` misspells or begins; else empty."""
    if not isinstance(value, str) or len(value) > MAX_REPR:
        return ""
    by_lower, lower = {str(name).lower(): str(name) for name in allowed}, value.lower()
    longer = [name for name in by_lower if name.split("_")[0] == lower]
    close = difflib.get_close_matches(lower, by_lower, n=1, cutoff=MIN_SIMILARITY) or longer
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def unknown_name_message(what: str, value: object, allowed: Iterable[object]) -> str:
    """Error message for a name that is not allowed: the value seen, the nearest name, the allowed names."""
    names = [str(name) for name in allowed]
    more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
    listed = shorten(", ".join(names[:MAX_NAMES]), MAX_SENTENCE // 2)
    return f"unknown {what} {short_repr(value)}{nearest_name(value, names)} (allowed: {listed}{more})"


def as_integer(what: str, value: object, min_value: int, max_value: int = MAX_INTEGER) -> int:
    """``value`` as an int.

    Raises:
        ValueError: not a whole number from ``min_value`` to ``max_value``; the message begins with ``what``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not min_value <= value <= max_value:
        limit = "2**62 - 1" if max_value == MAX_INTEGER else max_value
        raise ValueError(f"{what}: saw {short_repr(value)}; a whole number from {min_value} to {limit} is needed")
    return int(value)


def as_positive(what: str, value: object, unit: str) -> float:
    """``value`` as a float.

    Raises:
        ValueError: not a positive finite number; the message begins with ``what`` and names the ``unit``.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value <= sys.float_info.max:
        raise ValueError(f"{what}: saw {short_repr(value)}; a positive number of {unit} is needed")
    return float(value)


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"saw {value!r}, a boolean; a number is needed")
    return value


def _no_set(value: object) -> object:
    if isinstance(value, AbstractSet):
        raise ValueError(f"saw {short_repr(value)}, a set, which has no order; a list or a tuple is needed")
    return value


T = TypeVar("T")
Ordered = Annotated[tuple[T, ...], BeforeValidator(_no_set)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(gt=0, le=MAX_INTEGER)]
NonNegativeInt = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=MAX_INTEGER)]
Seed = NonNegativeInt
Positive = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False)]


class SeveralErrors(ValueError):
    """Several errors between the fields of a ``Strict`` value, one message each."""


class Refused(ValueError):
    """Error of a ``Strict`` value: the name of its class, then a (field, message) pair for each error.

    The field is empty for an error between fields. Jupyter shows the message and the user's own line without the rest
    of the traceback, because the error is in the values; ``%debug`` still has every frame.
    """

    @property
    def wrong(self) -> tuple[tuple[str, str], ...]:
        """The (field, message) pairs."""
        return self.args[1:]

    def __str__(self) -> str:
        lines = [f"  - {message}" for _, message in self.wrong[:MAX_SENTENCES]]
        more = len(self.wrong) - len(lines)
        return "\n".join([f"{self.args[0]} was refused:", *lines, *([f"  - and {more:,} more"] if more else [])])

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows instead of the traceback."""
        return [*_own_line(self), f"{type(self).__name__}: {self}"]


@contextlib.contextmanager
def refused_as(name: str) -> Iterator[None]:
    """Raise a ``ValueError`` of the block, which checks a user's values, as a ``Refused`` of ``name``."""
    try:
        yield
    except ValueError as error:
        raise Refused(name, ("", _indented(error))) from error


def _own_line(error: BaseException) -> list[str]:
    """The last line of the user's own code before n2n's; empty if there is none."""
    own = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE + os.sep):
            break
        own = [f"line {number}: {linecache.getline(name, number).strip()}"]
    return own


class Strict(BaseModel):
    """Base class of every configuration and specification.

    Raises:
        Refused: on construction, one line for each wrong field: the value seen, what is allowed, the nearest name. It
            is a ``ValueError``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    positional: ClassVar[tuple[str, ...]] = ()  # fields that may be positional arguments, in this order

    def __init__(self, *args: Any, **values: Any) -> None:
        self._fill(args, values, {})

    @model_validator(mode="wrap")  # no other validator runs before the keys of nested mappings become arguments
    @classmethod
    def _names_are_text(cls, values: object, validate: Callable[[object], Self]) -> Self:
        wrong = [name for name in values if not isinstance(name, str)] if isinstance(values, Mapping) else []
        if wrong:
            raise ValueError(f"saw {short_repr(wrong[0])} for the name of a field; text is needed")
        return validate(values)

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> Self:
        """The value saved as ``values``. Checks that depend on this machine, such as existing files, are left out."""
        value = cls.__new__(cls)
        value._fill((), dict(values), {RECORDED: True})
        return value

    def _fill(self, args: tuple[Any, ...], values: dict[str, Any], context: dict[str, Any]) -> None:
        """Validate the fields and set them, as ``BaseModel.__init__`` does."""
        values, wrong = self._by_name(args, values)
        if errors := nesting_errors(values):
            raise Refused(_public_name(type(self)), *errors)
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self, context=context)
        except ValidationError as error:
            wrong += self._wrong(error, values)
        if wrong:
            raise Refused(_public_name(type(self)), *wrong) from None

    @classmethod
    def _by_name(cls, args: tuple[Any, ...], values: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """All values by field name, and the errors of the positional ones."""
        wrong = [(name, f"{name}: given twice, by position and by name") for name in _twice(cls, args, values)]
        if len(args) > len(cls.positional):
            may = f"only {', '.join(cls.positional)} may be" if cls.positional else "every field needs its name"
            wrong.append(("", f"saw {len(args)} values without names; {may}"))
        return {**dict(zip(cls.positional, args, strict=False)), **values}, wrong

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Put the positional fields first in the signature, from which editors and Jupyter complete."""
        super().__pydantic_init_subclass__(**options)
        keywords = {n: p for n, p in inspect.signature(cls).parameters.items() if p.kind is p.KEYWORD_ONLY}
        first = [keywords.pop(name).replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in cls.positional]
        cls.__signature__ = inspect.Signature([*first, *keywords.values()])

    @classmethod
    def _wrong(cls, error: ValidationError, values: dict[str, Any]) -> list[tuple[str, str]]:
        entries = error.errors(include_url=False)
        lines = [
            (str(entry["loc"][0]) if entry["loc"] else "", message)
            for entry in entries
            for message in _messages(entry, cls)
        ]
        fields = {field for field, _ in lines if field}
        return lines + [("", message) for message in (cls._wrong_together(values, fields) if fields else [])]

    @classmethod
    def _wrong_together(cls, values: dict[str, Any], wrong: set[str]) -> list[str]:
        """Errors between fields that were not checked because the fields ``wrong`` have errors of their own."""
        return []

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields replaced, validated like a new value; ``deep`` has no effect on a frozen value."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**fields, **(update or {})})


def _twice(model: type[Strict], args: tuple[Any, ...], values: Mapping[str, Any]) -> list[str]:
    return [name for name, _ in zip(model.positional, args, strict=False) if name in values]


def _messages(entry: dict[str, Any], model: type[Strict]) -> list[str]:
    error = entry.get("ctx", {}).get("error")
    return (
        [_indented(message) for message in error.args] if isinstance(error, SeveralErrors) else [_message(entry, model)]
    )


def _indented(message: object) -> str:
    return shorten(str(message), MAX_SENTENCE).replace("\n", "\n    ")


def _message(entry: dict[str, Any], model: type[Strict]) -> str:
    where = ".".join(map(_path_part, entry["loc"]))
    if entry["type"] == "extra_forbidden":
        return unknown_name_message("parameter", ".".join(map(str, entry["loc"])), sorted(model.model_fields))
    if entry["type"] == "missing":
        return f"{where}: missing"
    if entry["type"] == "value_error":
        text = _indented(entry["ctx"]["error"])
        return f"{where}: {text}" if where else text
    message = shorten(re.sub(r"^\w+ should", "it must", entry["msg"]).partition(", unable")[0], MAX_SENTENCE)
    if entry["type"] == "literal_error":
        options = entry["ctx"]["expected"].replace(" or ", ", ").split(", ")
        message += nearest_name(entry["input"], [option.strip("'") for option in options])
    return f"{where}: saw {short_repr(entry['input'])}; {message}"


def _path_part(part: str | int) -> str:
    return str(part) if isinstance(part, int) or (part.isprintable() and len(part) <= MAX_REPR) else short_repr(part)


def _public_name(kind: type) -> str:
    """The name that users type: ``n2n.TrainConfig`` if n2n exports the class, else its full name."""
    import n2n

    public = kind.__module__.startswith("n2n.") and kind.__name__ in n2n.__all__
    return f"n2n.{kind.__name__}" if public else f"{kind.__module__}.{kind.__qualname__}"
