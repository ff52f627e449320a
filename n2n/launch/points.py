"""The points of a sweep, dictionaries of a notebook's parameters, and their names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from n2n.paths import cut, shortened, slug, usable

Point = dict[str, Any]

LONGEST_NAME = 80  # characters of a point's name, the name of its folder


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
    """``"seed=0,1,2"`` as a parameter's name and its values, each as YAML has it, and numbers such as 1e-4 as numbers.

    Raises:
        ValueError: a text of another form.
    """
    name, equals, listed = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"grid: saw {text!r}; NAME=VALUE,VALUE,.. is needed, such as seed=0,1,2")
    try:
        return name, [_number(value) for value in yaml.safe_load(f"[{listed}]")]
    except yaml.YAMLError as error:
        raise ValueError(f"grid: saw {text!r}, whose values are no YAML list: {error}") from None


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as a text."""
    if not isinstance(value, str) or not re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return value
    return float(value)


def read_points(path: Path) -> list[Point]:
    """The points in a YAML file, a list of mappings from parameters to values.

    Raises:
        ValueError: a file that is not there or holds something else.
    """
    try:
        found = yaml.safe_load(usable(path, "points").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"points: {path} cannot be read: {error}") from None
    if not isinstance(found, list) or not found or not all(isinstance(point, dict) for point in found):
        raise ValueError(f"points: {path} does not hold a list of mappings, such as '- {{arch: mamba, seed: 0}}'")
    return [{str(name): _number(value) for name, value in point.items()} for point in found]


def named(points: Iterable[Mapping[str, Any]]) -> dict[str, Point]:
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
            raise ValueError(f"points: saw {point} twice")
        found[name] = point
    return found


def _plain(i: int, point: Mapping[str, Any]) -> Point:
    """As JSON has it, which is what is kept and what the notebook gets."""
    if not isinstance(point, Mapping) or not all(isinstance(name, str) for name in point):
        raise ValueError(f"points: saw {point!r}; a dictionary of parameters is needed")
    try:
        return json.loads(json.dumps(dict(point), default=_native, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"points: point {i}, {dict(point)}, can be given to no notebook: {error}") from None


def _native(value: Any) -> Any:
    """numpy's numbers and arrays, and paths."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is of type {type(value).__name__}")


def _all_names(points: list[Point]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _name(shown: Point) -> str:
    parts = [f"{name}={_slug(value)}" for name, value in shown.items()]
    name = ",".join(parts) or "defaults"
    told = all(_tells(value) for value in shown.values())
    return shortened(name, LONGEST_NAME, _text(shown)) if told else cut(name, LONGEST_NAME, _text(shown))


def _tells(value: Any) -> bool:
    """Whether a value's slug says all of it."""
    return not isinstance(value, str | list | dict) or _slug(value) == value


def _slug(value: Any) -> str:
    return slug(value.lstrip("-.") if isinstance(value, str) else json.dumps(value))
