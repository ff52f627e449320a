"""Strict values: frozen, unknown names refused, and everything that is wrong said at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from numbers import Integral
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from typing import Self


MOST = 2**62 - 1  # of an index or a size


def nearest(value: object, allowed: Iterable[object]) -> str:
    """The clause "; did you mean 'x'?" for the allowed name closest to ``value``, or an empty string."""
    by_lower = {str(name).lower(): str(name) for name in allowed}
    close = difflib.get_close_matches(str(value).lower(), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def unknown(what: str, value: object, allowed: Iterable[object]) -> str:
    """The message for a name that is not among those allowed: value seen, nearest name, names allowed."""
    names = [str(name) for name in allowed]
    return f"unknown {what} {value!r}{nearest(value, names)} (allowed: {', '.join(names)})"


def whole(what: str, value: object, least: int, most: int = MOST) -> int:
    """``value`` as an int, or a ``ValueError`` if it is not a whole number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        limit = "2**62 - 1" if most == MOST else most
        raise ValueError(f"{what}: saw {value!r}; a whole number from {least} to {limit} is needed")
    return int(value)


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"saw {value!r}, a boolean; a number is needed")
    return value


def _no_set(value: object) -> object:
    if isinstance(value, AbstractSet):
        raise ValueError(f"saw {value!r}, a set, which has no order; a list or a tuple is needed")
    return value


T = TypeVar("T")
Ordered = Annotated[tuple[T, ...], BeforeValidator(_no_set)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(gt=0)]
NonNegativeInt = Annotated[int, BeforeValidator(_no_bool), Field(ge=0)]
Seed = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, lt=2**63)]
Positive = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False)]


class Refused(ValueError):
    """The refusal of a ``Strict`` value: its class's name, then a (field, what is wrong) pair for each wrong field.

    The field is empty where the fault lies between fields.
    """

    @property
    def wrong(self) -> tuple[tuple[str, str], ...]:
        """The pairs."""
        return self.args[1:]

    def __str__(self) -> str:
        return f"{self.args[0]} was refused:\n" + "\n".join(f"  - {said}" for _, said in self.wrong)


class Strict(BaseModel):
    """Base of every configuration and specification.

    Raises:
        ValueError: on construction, one line for each wrong field: the value seen, what is allowed, the nearest name.
            It is a ``Refused``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise Refused(f"{type(self).__module__}.{type(self).__qualname__}", *self._wrong(error, values)) from None

    @classmethod
    def _wrong(cls, error: ValidationError, values: dict[str, Any]) -> list[tuple[str, str]]:
        entries = error.errors(include_url=False)
        lines = [(str(entry["loc"][0]) if entry["loc"] else "", _line(entry, cls)) for entry in entries]
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


def _line(entry: dict[str, Any], model: type[Strict]) -> str:
    where = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return unknown("parameter", where, sorted(model.model_fields))
    if entry["type"] == "missing":
        return f"{where}: missing"
    if entry["type"] == "value_error":
        text = str(entry["ctx"]["error"]).replace("\n", "\n    ")
        return f"{where}: {text}" if where else text
    said = entry["msg"].replace("Input should be", "it must be")
    if entry["type"] == "literal_error":
        options = entry["ctx"]["expected"].replace(" or ", ", ").split(", ")
        said += nearest(entry["input"], [option.strip("'") for option in options])
    return f"{where}: saw {entry['input']!r}; {said}"
