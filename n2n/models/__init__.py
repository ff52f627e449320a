"""Sequence learners: one shared embedding-blocks-head, one file for each architecture.

An architecture is a module in ``architectures`` with a ``Config`` (a ``mixer.ModelConfig``) and a ``Mixer`` (a
``mixer.SequenceMixer``) built from it; modules there are registered automatically.
"""

from n2n.models.registry import HYBRID, build, configure, describe, match, names

__all__ = ["HYBRID", "build", "configure", "describe", "match", "names"]
