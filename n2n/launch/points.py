"""The points of a sweep, which are dictionaries of a notebook's parameters, and their names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from n2n.graph.yaml_marks import Faults, Page, read
from n2n.utils.nested import check_nesting
from n2n.utils.paths import checked_path, slug, with_hash, with_hash_if_long
from n2n.utils.strict import MAX_REPR, short_repr, shorten

Point = dict[str, Any]

MAX_NAME = 80  # characters of a point's name, which is the name of its folder


def grid(**axes: Any) -> list[Point]:
    """Return every combination of the values of some parameters; the last parameter varies fastest.

    >>> grid(arch=["mamba", "hawk"], seed=range(2))[1]
    {'arch': 'mamba', 'seed': 1}

    Args:
        **axes: values of each parameter; a text, a number or a mapping is a single value.

    Raises:
        ValueError: if there is no parameter, or one has no value.
    """
    if not axes:
        raise ValueError("grid: saw no parameter; each needs its values, such as grid(arch=['mamba', 'hawk'])")
    values = {name: _as_list(axis) for name, axis in axes.items()}
    for name, axis in values.items():
        if not axis:
            raise ValueError(f"grid: saw no value of {name!r}; each parameter needs at least one")
    return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


def _as_list(axis: Any) -> list[Any]:
    if isinstance(axis, str | bytes | Mapping) or not isinstance(axis, Iterable):
        return [axis]
    return list(axis)


def cross(points: Sequence[Point], others: Sequence[Point]) -> list[Point]:
    """Combine each point with each of the others.

    Raises:
        ValueError: if a parameter is in both.
    """
    twice = sorted({name for point in points for name in point} & {name for point in others for name in point})
    if twice:
        raise ValueError(f"points: {twice[0]!r} is in the file and in the grid")
    return [{**point, **other} for point in points for other in others]


def parse_axis(text: str) -> tuple[str, list[Any]]:
    """Parse a text such as ``"seed=0,1,2"`` to a parameter's name and its values, read as a list in YAML 1.2.

    Raises:
        ValueError: if the text has another form.
    """
    name, equals, values = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"grid: saw {short_repr(text)}; NAME=VALUE,VALUE,.. is needed, such as seed=0,1,2")
    try:
        page = Page(f"[{values}]")
        page.refuse()
    except Faults as error:
        message = error.args[0].partition(": ")[2]  # without the column, which counts the bracket added above
        raise ValueError(
            f"grid: saw {short_repr(text)}, which is no list of values in YAML: {shorten(message, MAX_REPR)}"
        ) from None
    return name, page.value


def read_points(path: Path) -> list[Point]:
    """Read points from a YAML file, a list of mappings from parameters to values.

    Raises:
        ValueError: if the file is missing or holds something else; with the line and column of each fault.
    """
    try:
        page = read(checked_path(path, "points"))
        page.refuse()
        points = page.value
        if not isinstance(points, list) or not points:
            needed = "a list of mappings is needed, such as '- {arch: mamba, seed: 0}'"
            raise Faults(page.at((), f"{needed}; saw {short_repr(points)}"))
        errors = [
            page.at((i,), f"saw {short_repr(point)}; a mapping is needed")
            for i, point in enumerate(points)
            if not isinstance(point, dict)
        ]
        if errors:
            raise Faults(*errors)
    except Faults as error:
        raise error.within(path) from None
    return points


def points_by_name(points: Iterable[Mapping[str, Any]]) -> dict[str, Point]:
    """Return the points by the names of their folders, which list the parameters that vary: ``"arch=mamba,seed=0"``.

    Raises:
        ValueError: if there is no point, one is not a dictionary or cannot be written as JSON, or two are equal.
    """
    plain = [_plain(i, point) for i, point in enumerate(points)]
    if not plain:
        raise ValueError("points: saw none; a list of dictionaries is needed, such as n2n.launch.grid(seed=range(3))")
    varying = [name for name in _all_names(plain) if len({_text(point.get(name)) for point in plain}) > 1]
    by_name: dict[str, Point] = {}
    for point in plain:
        name = _name({k: point[k] for k in (varying if len(plain) > 1 else point) if k in point})
        if name in by_name:
            raise ValueError(f"points: saw {short_repr(point)} twice")
        by_name[name] = point
    return by_name


def _plain(i: int, point: Mapping[str, Any]) -> Point:
    """Return the point as JSON represents it, as the sweep's file and the notebook get it."""
    if not isinstance(point, Mapping) or not all(isinstance(name, str) for name in point):
        raise ValueError(f"points: saw {short_repr(point)}; a dictionary of parameters is needed")
    check_nesting(f"points: point {i}", point)
    try:
        return json.loads(json.dumps(dict(point), default=_native, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"points: point {i}, {short_repr(dict(point))}, cannot be passed to a notebook: "
            f"{shorten(str(error), MAX_REPR)}"
        ) from None


def _native(value: Any) -> Any:
    """Convert numpy's numbers and arrays, and paths."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{short_repr(value)} is of type {type(value).__name__}")


def point_identity(point: Point) -> str:
    """Return a text that is equal exactly for equal parameters; 1 and 1.0 are equal."""
    return _text(_whole(point))


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _all_names(points: list[Point]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _name(parameters: Point) -> str:
    parts = [f"{name}={_slug(value)}" for name, value in parameters.items()]
    name = ",".join(parts) or "defaults"
    complete = all(_is_complete(value) for value in parameters.values())
    add_hash = with_hash_if_long if complete else with_hash
    return add_hash(name, MAX_NAME, _text(parameters))


def _is_complete(value: Any) -> bool:
    """Return whether a value's slug identifies it."""
    return not isinstance(value, str | list | dict) or _slug(value) == value


def _slug(value: Any) -> str:
    return slug(value.lstrip("-.") if isinstance(value, str) else json.dumps(value))
