"""Sequence learners: one shared embedding-blocks-head, one file for each architecture.

An architecture is a module of this package with a ``Config`` (a ``lm.ModelConfig``) and a ``Mixer`` built from it; to
be in this folder is to be registered.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

from n2n.strict import unknown

if TYPE_CHECKING:
    from n2n.models.lm import LanguageModel, ModelConfig

_SHARED = {"lm", "ops"}


def names() -> list[str]:
    """The architectures, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)


def configure(arch: str, **options: Any) -> ModelConfig:
    """An architecture's validated configuration.

    Raises:
        ValueError: an unknown architecture, an option that it does not have, or a value that it does not allow.
    """
    if arch not in names():
        raise ValueError(unknown("architecture", arch, names()))
    return import_module(f"{__name__}.{arch}").Config(**options)


def build(arch: str, *, vocab_size: int, seed: int = 0, **options: Any) -> LanguageModel:
    """A model in float32 on the CPU, its initial weights a pure function of the arguments.

    Args:
        arch: one of ``names()``.
        vocab_size: number of symbols.
        seed: names the initial weights; torch's global generators are left as they were.
        **options: fields of the architecture's ``Config``, among them ``dim``, ``layers``, ``heads``, ``max_length``.

    Raises:
        ValueError: as ``configure``.
    """
    config = configure(arch, vocab_size=vocab_size, **options)
    from n2n.models.lm import initialised

    return initialised(config, import_module(f"{__name__}.{arch}").Mixer, seed)
