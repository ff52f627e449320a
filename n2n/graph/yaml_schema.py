"""The core schema of YAML 1.2, which defines the values of a YAML text that are numbers, booleans, null or text.

``1e-4`` is a number; ``yes``, ``1:30``, ``1_000`` and dates are texts. An integer with a leading 0, such as ``010``, is
refused, because YAML 1.1 reads it as 8 and YAML 1.2 as 10.
"""

from __future__ import annotations

import re
from math import isinf
from typing import Any

from ruamel.yaml.nodes import Node, ScalarNode

from n2n.utils.strict import MAX_REPR, short_repr, shorten

TAG = "tag:yaml.org,2002:"
SCHEMA = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}  # the pattern of each kind of value, and the characters with which it may begin


def resolvers() -> dict[str, list[tuple[str, re.Pattern]]]:
    """Return, for each first character, the tags that a plain scalar may have, with their patterns."""
    by_first: dict[str, list[tuple[str, re.Pattern]]] = {"": [(f"{TAG}null", re.compile(r"\Z"))]}
    for kind, (pattern, firsts) in SCHEMA.items():
        for first in firsts:
            by_first.setdefault(first, []).append((TAG + kind, re.compile(rf"(?:{pattern})\Z")))
    return by_first


def refuse_tag(node: Node, *allowed: str) -> None:
    if node.tag not in [TAG + kind for kind in allowed]:
        raise ValueError(
            f"unknown tag {short_repr(str(node.tag))}; values are texts, numbers, booleans, lists and mappings"
        )


def scalar(node: ScalarNode) -> Any:
    """Return the plain value of a scalar.

    Raises:
        ValueError: if the scalar has an unknown tag or an invalid text; the message gives it and what is allowed.
    """
    kind, text = str(node.tag).removeprefix(TAG), node.value
    refuse_tag(node, "str", "merge", *SCHEMA)
    if kind in ("str", "merge"):
        return _joined(text)
    if not re.fullmatch(SCHEMA[kind][0], text):
        raise ValueError(f"saw {short_repr(text)}, which is no {kind}")
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    return _whole(text) if kind == "int" else _real(text)


def _joined(text: str) -> str:
    """Return a text in which each character beyond 16 bits, which JSON writes as two escapes, is one character."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError(f"saw {short_repr(text)}, which has half of a character") from None


def _whole(text: str) -> int:
    digits = text.lstrip("+-")
    if len(digits) > MAX_REPR:
        raise ValueError(f"saw a whole number of {len(digits):,} digits; at most {MAX_REPR} are read")
    if re.fullmatch(r"0[0-9]+", digits):
        raise ValueError(
            f"saw {text}, which is octal for some readers of YAML and not for others; write {int(text)}, or put a text "
            "into quotes"
        )
    return int(text, {"0o": 8, "0x": 16}.get(digits[:2], 10))


def _real(text: str) -> float:
    number = float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
    if isinf(number) and "inf" not in text.lower():
        raise ValueError(f"saw {shorten(text, MAX_REPR)}, which is beyond the largest floating-point number")
    return number
