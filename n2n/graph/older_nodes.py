"""The older spelling of a node: ``state_dim``, ``kernel_type``, and ``product`` as the default kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OLDER = {"state_dim": "num_states", "kernel_type": "kernel"}
SIZES = ("num_states", "state_dim")
OPTIONAL = {"kernel", "mode", "alpha", "stickiness", "recurrent", "observed", "initial"}
_YES = {"true", "t", "yes", "y", "on", "1"}  # pydantic converts these to True


def is_older(spec: Any) -> bool:
    """Return whether a node has a key of the older spelling."""
    return isinstance(spec, Mapping) and any(key in spec for key in OLDER)


def is_observed(spec: Any) -> bool:
    """Return whether a node, which is not yet validated, specifies that it is observed."""
    value = spec.get("observed") if isinstance(spec, Mapping) else getattr(spec, "observed", None)
    return str(value).lower() in _YES


def has_kernel(spec: Any) -> bool:
    """Return whether a node specifies its kernel; True for values that are not mappings, which other code checks."""
    return not isinstance(spec, Mapping) or any(spec.get(key) is not None for key in ("kernel", "kernel_type"))


def twice(spec: Any) -> list[str]:
    """Return the older keys of the fields that a node has in both spellings."""
    return [key for key, field in OLDER.items() if key in spec and field in spec] if isinstance(spec, Mapping) else []


def today(spec: Any, kernel: str | None) -> tuple[Any, dict[str, str]]:
    """Return a node's fields in today's spelling, and the key that spelt each field.

    This function does not validate values; ``Node`` does.

    Args:
        spec: the node; a value that is not a mapping is returned unchanged.
        kernel: the kernel of a node that does not specify one; None keeps the default of ``Node``.
    """
    if not isinstance(spec, Mapping):
        return spec, {}
    spelt = {OLDER.get(key, key): key for key in spec}
    fields = {field: _value(key, spec[key]) for field, key in spelt.items()}
    if is_older(spec) or kernel:  # in such a node, null means that the field is left out
        fields = {field: value for field, value in fields.items() if value is not None or field not in OPTIONAL}
    return {**({"kernel": kernel} if kernel else {}), **fields}, spelt


def _value(key: str, value: Any) -> Any:
    if key == "parents" and value is None:
        return ()
    if key in ("mode", "kernel_type") and isinstance(value, str):
        return "full" if key == "kernel_type" and value.lower() == "fullrank" else value.lower()
    return value
