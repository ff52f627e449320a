"""Architectures by name: which there are, their configurations, models of them, models of equal size."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from n2n.models import architectures
from n2n.utils.strict import as_integer, short_repr, unknown

if TYPE_CHECKING:
    import pandas as pd

    from n2n.models.lm import LanguageModel, Layer
    from n2n.models.mixer import Frame
    from n2n.models.sizes import Matched

HYBRID = "hybrid"  # in the place of an architecture: the layers follow ``pattern``


def names() -> list[str]:
    """The architectures, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(architectures.__path__))


def configure(arch: str, **options: Any) -> Frame:
    """An architecture's validated configuration.

    Args:
        arch: one of ``names()``, or ``"hybrid"``.
        **options: fields of the architecture's ``Config``. Of a hybrid: ``pattern``, the names of its layers'
            architectures, as a list or as in ``"mamba,mamba,transformer"``, repeated as often as ``layers`` says
            (by default once), and fields of those architectures, each for the layers that have it.

    Raises:
        ValueError: an unknown architecture, an option that it does not have, or a value that it does not allow.
    """
    return _plan(arch, options)[0]


def build(arch: str, *, vocab_size: int, seed: int = 0, **options: Any) -> LanguageModel:
    """A model in float32 on the CPU, its initial weights a pure function of the arguments.

    Args:
        arch: as in ``configure``.
        vocab_size: number of symbols.
        seed: names the initial weights; torch's global generators are left as they were.
        **options: as in ``configure``, among them ``dim``, ``layers``, ``heads``, ``max_length``.

    Raises:
        ValueError: as ``configure``, or a seed that is no whole number from 0.
    """
    config, layers = _plan(arch, {"vocab_size": vocab_size, **options})
    from n2n.models.lm import initialised

    return initialised(config, layers, as_integer("seed", seed, 0))


def match(arch: str, *, parameters: int, vocab_size: int, **options: Any) -> Matched:
    """The width at which an architecture comes nearest to a number of parameters, to compare learners at equal size.

    >>> found = n2n.models.match("mamba", parameters=500_000, vocab_size=32, layers=4)
    >>> model = n2n.models.build("mamba", **found.options)

    Args:
        arch: as in ``configure``.
        parameters: wanted, the start vector, embedding and head included.
        vocab_size: number of symbols.
        **options: as in ``configure``, without ``dim``.

    Returns:
        the model's options, its number of parameters, and how far that is from the number wanted. Widths go in
        multiples of the heads. Where the nearest one is more than 2% off, one more option is set unless it is given,
        at this width or one close to it: ``mlp_ratio`` where there is an MLP, else the architecture's own finest one
        (``state_dim`` of a Mamba).

    Raises:
        ValueError: as ``configure``, ``dim`` among the options, or fewer parameters than the smallest model has or more
            than the largest.
    """
    from n2n.models.sizes import matched

    return matched(lambda given: _plan(arch, given), parameters, {"vocab_size": vocab_size, **options})


def describe(model: LanguageModel, length: int = 256) -> pd.DataFrame:
    """Parameters and floating-point operations of each part of a model; see ``sizes.describe``."""
    from n2n.models.lm import LanguageModel
    from n2n.models.sizes import describe as described

    if not isinstance(model, LanguageModel):
        raise ValueError(f"model: saw {short_repr(model)}; a model is needed, such as n2n.models.build makes")
    return described(model, length)


def _plan(arch: str, options: dict[str, Any]) -> tuple[Frame, list[Layer]]:
    """The whole model's configuration, and each layer's own with its mixer."""
    if arch == HYBRID:
        return _plan_hybrid(options)
    if arch not in names():
        raise ValueError(unknown("architecture", arch, [*names(), HYBRID]))
    module = _module(arch)
    config = module.Config(**options)
    return config, [(config, module.Mixer)] * config.layers


def _plan_hybrid(options: dict[str, Any]) -> tuple[Frame, list[Layer]]:
    from n2n.models.mixer import Frame, Hybrid

    pattern = _names_in(options.get("pattern", ()))
    own = {name: value for name, value in options.items() if name != "pattern"}
    frame = {name: value for name, value in own.items() if name in Frame.model_fields}
    config = Hybrid(pattern=pattern, **{"layers": len(pattern), **frame})
    kinds = {name: _module(name) for name in pattern}
    fields = {name: set(kind.Config.model_fields) for name, kind in kinds.items()}
    known = set().union(*fields.values())
    strange = [name for name in own if name not in known]
    if strange:
        raise ValueError(unknown(f"parameter of {', '.join(fields)}", strange[0], sorted(known)))
    shared = {"layers": config.layers, **own}
    made = {
        name: kind.Config(**{option: value for option, value in shared.items() if option in fields[name]})
        for name, kind in kinds.items()
    }
    return config, [(made[name], kinds[name].Mixer) for name in pattern * (config.layers // len(pattern))]


def _names_in(pattern: object) -> tuple[str, ...]:
    found = [name.strip() for name in pattern.split(",")] if isinstance(pattern, str) else pattern
    if not isinstance(found, list | tuple) or not found:
        raise ValueError(
            f"pattern: saw {short_repr(pattern)}; architectures' names are needed, such as 'mamba,transformer'"
        )
    for name in found:
        if name not in names():
            raise ValueError(f"pattern: {unknown('architecture', name, names())}")
    return tuple(found)


def _module(name: str) -> ModuleType:
    return import_module(f"{architectures.__name__}.{name}")
