"""Architectures by name: their configurations, and models of a given architecture or size.

Functions import torch when they need it, so that listing the architectures stays fast.
"""

from __future__ import annotations

import pkgutil
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from n2n.models import architectures
from n2n.utils.strict import as_integer, short_repr, unknown_name_message

if TYPE_CHECKING:
    import pandas as pd

    from n2n.models.lm import LanguageModel, Layer
    from n2n.models.mixer import Frame
    from n2n.models.sizes import Matched

HYBRID = "hybrid"  # name of a model whose layers have the architectures in ``pattern``


def names() -> list[str]:
    """Names of the architectures, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(architectures.__path__))


def configure(arch: str, **options: Any) -> Frame:
    """An architecture's validated configuration.

    Args:
        arch: one of ``names()``, or ``"hybrid"``.
        **options: fields of the architecture's ``Config``. A hybrid takes ``pattern``, the architecture of each layer,
            as a list or as ``"mamba,mamba,transformer"``; ``layers``, a multiple of the pattern's length (by default
            the pattern is used once); and fields of these architectures, which apply to the layers that have them.

    Raises:
        ValueError: if the architecture or an option is unknown, or a value is not allowed.
    """
    return _plan(arch, options)[0]


def build(arch: str, *, vocab_size: int, seed: int = 0, **options: Any) -> LanguageModel:
    """A model in float32 on the CPU. Its initial weights are a pure function of the arguments.

    Args:
        arch: as in ``configure``.
        vocab_size: number of symbols.
        seed: seed of the initial weights. torch's global random generators are not changed.
        **options: as in ``configure``, such as ``dim``, ``layers``, ``heads`` and ``max_length``.

    Raises:
        ValueError: as ``configure``, or if the seed is not a whole number from 0.
    """
    config, layers = _plan(arch, {"vocab_size": vocab_size, **options})
    from n2n.models.lm import initialised

    return initialised(config, layers, as_integer("seed", seed, 0))


def match(arch: str, *, parameters: int, vocab_size: int, **options: Any) -> Matched:
    """The width that brings an architecture nearest to a number of parameters, to compare learners at equal size.

    >>> sized = n2n.models.match("mamba", parameters=500_000, vocab_size=32, layers=4)
    >>> model = n2n.models.build("mamba", **sized.options)

    Args:
        arch: as in ``configure``.
        parameters: number of parameters to reach, the start vector, embedding and head included.
        vocab_size: number of symbols.
        **options: as in ``configure``, without ``dim``.

    Returns:
        The model's options, its number of parameters, and the relative distance of that number from ``parameters``.
        Widths are multiples of the number of heads. If the nearest width is more than 2% off, one more option is set at
        this width or one close to it, unless you set it: ``mlp_ratio`` if there is an MLP, else the architecture's
        ``size_option`` (``state_dim`` for a Mamba).

    Raises:
        ValueError: as ``configure``, if ``dim`` is among the options, or if even the smallest model has more parameters
            or even the largest has fewer.
    """
    from n2n.models.sizes import matched

    return matched(partial(_plan, arch), parameters, {"vocab_size": vocab_size, **options})


def describe(model: LanguageModel, length: int = 256) -> pd.DataFrame:
    """Parameters and floating-point operations of each part of a model; see ``sizes.describe``."""
    from n2n.models import sizes
    from n2n.models.lm import LanguageModel

    if not isinstance(model, LanguageModel):
        raise ValueError(f"model: saw {short_repr(model)}; a model is needed, such as n2n.models.build makes")
    return sizes.describe(model, length)


def _plan(arch: str, options: dict[str, Any]) -> tuple[Frame, list[Layer]]:
    """The model's configuration, and each layer's configuration and mixer."""
    if arch == HYBRID:
        return _plan_hybrid(options)
    if arch not in names():
        raise ValueError(unknown_name_message("architecture", arch, [*names(), HYBRID]))
    module = _module(arch)
    config = module.Config(**options)
    return config, [(config, module.Mixer)] * config.layers


def _plan_hybrid(options: dict[str, Any]) -> tuple[Frame, list[Layer]]:
    from n2n.models.mixer import Frame, Hybrid

    pattern = _pattern(options.get("pattern", ()))
    others = {name: value for name, value in options.items() if name != "pattern"}
    frame = {name: value for name, value in others.items() if name in Frame.model_fields}
    config = Hybrid(pattern=pattern, **{"layers": len(pattern), **frame})
    kinds = {name: _module(name) for name in pattern}
    fields = {name: set(kind.Config.model_fields) for name, kind in kinds.items()}
    known = set().union(*fields.values())
    unknown_options = [name for name in others if name not in known]
    if unknown_options:
        raise ValueError(unknown_name_message(f"parameter of {', '.join(fields)}", unknown_options[0], sorted(known)))
    shared = {"layers": config.layers, **others}
    layers = {}
    for name, kind in kinds.items():
        own = {option: value for option, value in shared.items() if option in fields[name]}
        layers[name] = kind.Config(**own), kind.Mixer
    return config, [layers[name] for name in pattern * (config.layers // len(pattern))]


def _pattern(pattern: object) -> tuple[str, ...]:
    """The names of architectures in a hybrid's ``pattern``, a list of names or a text with commas."""
    layers = [name.strip() for name in pattern.split(",")] if isinstance(pattern, str) else pattern
    if not isinstance(layers, list | tuple) or not layers:
        raise ValueError(
            f"pattern: saw {short_repr(pattern)}; architectures' names are needed, such as 'mamba,transformer'"
        )
    for name in layers:
        if name not in names():
            raise ValueError(f"pattern: {unknown_name_message('architecture', name, names())}")
    return tuple(layers)


def _module(name: str) -> ModuleType:
    return import_module(f"{architectures.__name__}.{name}")
