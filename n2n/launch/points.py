"""The points of a sweep, dictionaries of a notebook's parameters, and their names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from n2n.graph.yaml_marks import Faults, Page, read
from n2n.utils import strict
from n2n.utils.nested import check_nesting
from n2n.utils.paths import checked_path, shorten, slug, truncate
from n2n.utils.strict import MAX_REPR, short_repr

Point = dict[str, Any]

MAX_NAME = 80  # characters of a point's name, the name of its folder


def grid(**axes: Any) -> list[Point]:
    """Every combination of the values of some parameters, the last one varying fastest.

    >>> grid(arch=["mamba", "hawk"], seed=range(2))[1]
    {'arch': 'mamba', 'seed': 1}

    Args:
        **axes: for each parameter its values; a text, a number or a mapping is one value.

    Raises:
        ValueError: no parameter, or one without a value.
    """
    if not axes:
        raise ValueError("grid: saw no parameter; each needs its values, such as grid(arch=['mamba', 'hawk'])")
    values = {name: _values(given) for name, given in axes.items()}
    for name, given in values.items():
        if not given:
            raise ValueError(f"grid: saw no value of {name!r}; each parameter needs one at least")
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def _values(given: Any) -> list[Any]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def crossed(points: Sequence[Point], others: Sequence[Point]) -> list[Point]:
    """Each point with each of the others.

    Raises:
        ValueError: a parameter that both give.
    """
    twice = sorted({name for point in points for name in point} & {name for point in others for name in point})
    if twice:
        raise ValueError(f"points: {twice[0]!r} is given by the file and by the grid")
    return [{**point, **other} for point in points for other in others]


def parse_axis(text: str) -> tuple[str, list[Any]]:
    """``"seed=0,1,2"`` as a parameter's name and its values, as a list in YAML 1.2 has them.

    Raises:
        ValueError: a text of another form.
    """
    name, equals, listed = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"grid: saw {short_repr(text)}; NAME=VALUE,VALUE,.. is needed, such as seed=0,1,2")
    try:
        page = Page(f"[{listed}]")
        page.refuse()
    except Faults as error:
        said = strict.shorten(
            error.args[0].partition(": ")[2], MAX_REPR
        )  # without the place, which counts a bracket of ours
        raise ValueError(f"grid: saw {short_repr(text)}, which is no list of values in YAML: {said}") from None
    return name, page.value


def read_points(path: Path) -> list[Point]:
    """The points in a YAML file, a list of mappings from parameters to values.

    Raises:
        ValueError: a file that is not there or holds something else, with the line and column of each fault.
    """
    try:
        page = read(checked_path(path, "points"))
        page.refuse()
        found = page.value
        if not isinstance(found, list) or not found:
            raise Faults(
                page.at(
                    (), f"a list of mappings is needed, such as '- {{arch: mamba, seed: 0}}'; saw {short_repr(found)}"
                )
            )
        strange = [
            page.at((i,), f"saw {short_repr(point)}; a mapping is needed")
            for i, point in enumerate(found)
            if not isinstance(point, dict)
        ]
        if strange:
            raise Faults(*strange)
    except Faults as error:
        raise error.within(path) from None
    return found


def points_by_name(points: Iterable[Mapping[str, Any]]) -> dict[str, Point]:
    """The points by the names of their folders, which tell the parameters that vary: ``"arch=mamba,seed=0"``.

    Raises:
        ValueError: no point, something that is no point, values that are no plain ones, or two points alike.
    """
    plain = [_plain(i, point) for i, point in enumerate(points)]
    if not plain:
        raise ValueError("points: saw none; a list of dictionaries is needed, such as n2n.launch.grid(seed=range(3))")
    varying = [name for name in _all_names(plain) if len({_text(point.get(name)) for point in plain}) > 1]
    found: dict[str, Point] = {}
    for point in plain:
        name = _name({k: point[k] for k in (varying if len(plain) > 1 else point) if k in point})
        if name in found:
            raise ValueError(f"points: saw {short_repr(point)} twice")
        found[name] = point
    return found


def _plain(i: int, point: Mapping[str, Any]) -> Point:
    """As JSON has it, which is what is kept and what the notebook gets."""
    if not isinstance(point, Mapping) or not all(isinstance(name, str) for name in point):
        raise ValueError(f"points: saw {short_repr(point)}; a dictionary of parameters is needed")
    check_nesting(f"points: point {i}", point)
    try:
        return json.loads(json.dumps(dict(point), default=_native, allow_nan=False))
    except (TypeError, ValueError) as error:
        said = strict.shorten(str(error), MAX_REPR)
        raise ValueError(f"points: point {i}, {short_repr(dict(point))}, can be given to no notebook: {said}") from None


def _native(value: Any) -> Any:
    """numpy's numbers and arrays, and paths."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{short_repr(value)} is of type {type(value).__name__}")


def point_identity(point: Point) -> str:
    """A text that is the same for parameters that are the same, 1 and 1.0 among them."""
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


def _name(shown: Point) -> str:
    parts = [f"{name}={_slug(value)}" for name, value in shown.items()]
    name = ",".join(parts) or "defaults"
    told = all(_tells(value) for value in shown.values())
    return shorten(name, MAX_NAME, _text(shown)) if told else truncate(name, MAX_NAME, _text(shown))


def _tells(value: Any) -> bool:
    """Whether a value's slug says all of it."""
    return not isinstance(value, str | list | dict) or _slug(value) == value


def _slug(value: Any) -> str:
    return slug(value.lstrip("-.") if isinstance(value, str) else json.dumps(value))
