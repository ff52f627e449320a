"""Strict values: frozen, unknown names refused, and everything that is wrong said at once."""

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


MAX_INTEGER = 2**62 - 1  # of an index, a size or a seed
MAX_REPR = 160  # characters of a value in a message
MAX_SENTENCE = 2000  # characters of what is said of one field
MAX_SENTENCES = 20  # in one refusal
MAX_NAMES = 60  # in one list of names allowed
MIN_SIMILARITY = 0.65  # difflib's ratio, from which a name is taken for a misspelling of another
RECORDED = "recorded"  # key of pydantic's context: the values were written down earlier, maybe on another machine
_PACKAGE = str(Path(__file__).parents[1])


class _Short(reprlib.Repr):
    """``repr`` of bounded length and work."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, MAX_REPR, MAX_REPR
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 8

    def repr_int(self, number: int, level: int) -> str:
        # Python itself refuses to write out an integer of thousands of digits.
        return repr(number) if number.bit_length() <= 128 else f"<an integer of {number.bit_length():,} bits>"


def short_repr(value: object) -> str:
    """``repr(value)`` for a message: on one line, ``LONGEST`` characters at most, even if the object's own fails."""
    try:
        return shorten(" ".join(_Short().repr(value).split("\n")), MAX_REPR)
    except Exception:  # the repr of a stranger's object may raise anything
        return f"<a {type(value).__name__}>"


def shorten(text: str, most: int) -> str:
    """A text without its middle if it is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[len(text) + 5 - most + most // 2 :]}"


def nearest_name(value: object, allowed: Iterable[object]) -> str:
    """The clause "; did you mean 'x'?" for the allowed name that ``value`` misspells or begins, or an empty string."""
    if not isinstance(value, str) or len(value) > MAX_REPR:
        return ""
    by_lower, given = {str(name).lower(): str(name) for name in allowed}, value.lower()
    begun = [name for name in by_lower if name.split("_")[0] == given]
    close = difflib.get_close_matches(given, by_lower, n=1, cutoff=MIN_SIMILARITY) or begun
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def unknown(what: str, value: object, allowed: Iterable[object]) -> str:
    """The message for a name that is not among those allowed: value seen, nearest name, names allowed."""
    names = [str(name) for name in allowed]
    more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
    listed = shorten(", ".join(names[:MAX_NAMES]), MAX_SENTENCE // 2)
    return f"unknown {what} {short_repr(value)}{nearest_name(value, names)} (allowed: {listed}{more})"


def as_integer(what: str, value: object, least: int, most: int = MAX_INTEGER) -> int:
    """``value`` as an int, or a ``ValueError`` if it is not a whole number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        limit = "2**62 - 1" if most == MAX_INTEGER else most
        raise ValueError(f"{what}: saw {short_repr(value)}; a whole number from {least} to {limit} is needed")
    return int(value)


def as_positive(what: str, value: object, unit: str) -> float:
    """``value`` as a float, or a ``ValueError`` if it is not a positive number that a float holds."""
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
    """Several faults between the fields of a ``Strict`` value, a sentence each."""


class Refused(ValueError):
    """The refusal of a ``Strict`` value: its class's name, then a (field, what is wrong) pair for each wrong field.

    The field is empty where the fault lies between fields. Jupyter shows the refusal and the reader's own line without
    the rest of the traceback, because the fault is in the values; ``%debug`` still has every frame.
    """

    @property
    def wrong(self) -> tuple[tuple[str, str], ...]:
        """The pairs."""
        return self.args[1:]

    def __str__(self) -> str:
        lines = [f"  - {said}" for _, said in self.wrong[:MAX_SENTENCES]]
        more = len(self.wrong) - len(lines)
        return "\n".join([f"{self.args[0]} was refused:", *lines, *([f"  - and {more:,} more"] if more else [])])

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of the traceback."""
        return [*_own_line(self), f"{type(self).__name__}: {self}"]


@contextlib.contextmanager
def refused_as(name: str) -> Iterator[None]:
    """Checks of a user's values, whose ``ValueError`` is raised as the ``Refused`` of what is called ``name``."""
    try:
        yield
    except ValueError as error:
        raise Refused(name, ("", _indented(error))) from error


def errors_of(check: Callable[..., object], *arguments: Any) -> list[str]:
    """The message of the ``ValueError`` that a check raises, or an empty list if it raises none."""
    try:
        check(*arguments)
    except ValueError as error:
        return [str(error)]
    return []


def _own_line(error: BaseException) -> list[str]:
    """The last line of the reader's own code before n2n's, if there is one."""
    own = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE + os.sep):
            break
        own = [f"line {number}: {linecache.getline(name, number).strip()}"]
    return own


class Strict(BaseModel):
    """Base of every configuration and specification.

    Raises:
        ValueError: on construction, one line for each wrong field: the value seen, what is allowed, the nearest name.
            It is a ``Refused``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    positional: ClassVar[tuple[str, ...]] = ()  # the fields that may be given without their names, in this order

    def __init__(self, *args: Any, **values: Any) -> None:
        self._fill(args, values, {})

    @model_validator(mode="wrap")  # because mappings within others become arguments before any other validator
    @classmethod
    def _names_are_text(cls, values: object, validate: Callable[[object], Self]) -> Self:
        strange = [name for name in values if not isinstance(name, str)] if isinstance(values, Mapping) else []
        if strange:
            raise ValueError(f"saw {short_repr(strange[0])} for the name of a field; text is needed")
        return validate(values)

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> Self:
        """The value that was written down as ``values``, checked but for what only the machine at hand can tell."""
        made = cls.__new__(cls)
        made._fill((), dict(values), {RECORDED: True})
        return made

    def _fill(self, args: tuple[Any, ...], values: dict[str, Any], context: dict[str, Any]) -> None:
        """Validate into this new value, as ``BaseModel.__init__`` does."""
        values, wrong = self._by_name(args, values)
        if found := nesting_errors(values):
            raise Refused(_public_name(type(self)), *found)
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self, context=context)
        except ValidationError as error:
            wrong += self._wrong(error, values)
        if wrong:
            raise Refused(_public_name(type(self)), *wrong) from None

    @classmethod
    def _by_name(cls, args: tuple[Any, ...], values: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """All values by the names of their fields, and what is wrong with those that came without one."""
        wrong = [(name, f"{name}: given twice, without its name and with it") for name in _twice(cls, args, values)]
        if len(args) > len(cls.positional):
            may = f"only {', '.join(cls.positional)} may be" if cls.positional else "every field needs its name"
            wrong.append(("", f"saw {len(args)} values without names; {may}"))
        return {**dict(zip(cls.positional, args, strict=False)), **values}, wrong

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Show the positional fields first in the signature, which is what editors and Jupyter complete from."""
        super().__pydantic_init_subclass__(**options)
        named = {n: p for n, p in inspect.signature(cls).parameters.items() if p.kind is p.KEYWORD_ONLY}
        first = [named.pop(name).replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in cls.positional]
        cls.__signature__ = inspect.Signature([*first, *named.values()])

    @classmethod
    def _wrong(cls, error: ValidationError, values: dict[str, Any]) -> list[tuple[str, str]]:
        entries = error.errors(include_url=False)
        lines = [
            (str(entry["loc"][0]) if entry["loc"] else "", said) for entry in entries for said in _lines(entry, cls)
        ]
        fields = {field for field, _ in lines if field}
        return lines + [("", said) for said in (cls._wrong_together(values, fields) if fields else [])]

    @classmethod
    def _wrong_together(cls, values: dict[str, Any], wrong: set[str]) -> list[str]:
        """What else is wrong, between fields, where ``wrong`` ones kept the whole from being checked."""
        return []

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A value with some fields replaced, validated as a new one is; ``deep`` changes nothing in a frozen value."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**fields, **(update or {})})


def _twice(model: type[Strict], args: tuple[Any, ...], values: Mapping[str, Any]) -> list[str]:
    return [name for name, _ in zip(model.positional, args, strict=False) if name in values]


def _lines(entry: dict[str, Any], model: type[Strict]) -> list[str]:
    error = entry.get("ctx", {}).get("error")
    return [_indented(said) for said in error.args] if isinstance(error, SeveralErrors) else [_line(entry, model)]


def _indented(said: object) -> str:
    return shorten(str(said), MAX_SENTENCE).replace("\n", "\n    ")


def _line(entry: dict[str, Any], model: type[Strict]) -> str:
    where = ".".join(map(_place, entry["loc"]))
    if entry["type"] == "extra_forbidden":
        return unknown("parameter", ".".join(map(str, entry["loc"])), sorted(model.model_fields))
    if entry["type"] == "missing":
        return f"{where}: missing"
    if entry["type"] == "value_error":
        text = _indented(entry["ctx"]["error"])
        return f"{where}: {text}" if where else text
    said = shorten(re.sub(r"^\w+ should", "it must", entry["msg"]).partition(", unable")[0], MAX_SENTENCE)
    if entry["type"] == "literal_error":
        options = entry["ctx"]["expected"].replace(" or ", ", ").split(", ")
        said += nearest_name(entry["input"], [option.strip("'") for option in options])
    return f"{where}: saw {short_repr(entry['input'])}; {said}"


def _place(part: str | int) -> str:
    return str(part) if isinstance(part, int) or (part.isprintable() and len(part) <= MAX_REPR) else short_repr(part)


def _public_name(kind: type) -> str:
    """The name that users type: ``n2n.TrainConfig`` where the front door has it, else the whole one."""
    import n2n

    public = kind.__module__.startswith("n2n.") and kind.__name__ in n2n.__all__
    return f"n2n.{kind.__name__}" if public else f"{kind.__module__}.{kind.__qualname__}"
