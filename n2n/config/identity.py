"""Which fields of a ``TrainConfig`` make a different run, and which may change when a run is resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ONLINE = "online"  # the value of ``data`` for sequences that are drawn during training
# Fields that may change when train() is called again on the same folder: how long, how often, and on what hardware.
CHANGEABLE = frozenset(
    {
        "steps",
        "accumulate",
        "log_every",
        "eval_every",
        "eval_sequences",
        "in_context_precision",
        "checkpoint_every",
        "keep_last",
        "keep_every",
    }
    | {"tensorboard", "profile_steps", "processes", "parallel", "device", "kernels", "compile", "run_dir"}
)


def decisive_hash(fields: Mapping[str, Any]) -> str:
    """A hash of the fields that decide a run.

    Args:
        fields: what JSON keeps of a configuration, without fields at their defaults. A new field with a default so
            leaves the hash unchanged.
    """
    decisive = {name: value for name, value in fields.items() if name not in CHANGEABLE}
    if "graph" in decisive:
        decisive["graph"] = _without_title(decisive["graph"])
    if "data" in decisive:
        decisive["data"] = "dataset"  # checkpoints have the hash of its tokens
    return hashlib.sha256(json.dumps(_equal_numbers(decisive), sort_keys=True).encode()).hexdigest()


def decisive_differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields that make two configurations different runs, ``{name: (value here, value there)}``.

    The path of a dataset makes no difference: checkpoints have the hash of its tokens.

    Args:
        here, there: all that JSON keeps of each configuration.
    """
    both_from_disk = ONLINE not in (here["data"], there["data"])
    here, there = ({**fields, "graph": _without_title(fields["graph"])} for fields in (here, there))
    decisive = [name for name in here if name not in CHANGEABLE and not (name == "data" and both_from_disk)]
    return {name: (here[name], there[name]) for name in decisive if here[name] != there[name]}


def _without_title(graph: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in graph.items() if name != "name"}


def _equal_numbers(value: Any) -> Any:
    """The same value with 1, 1.0 and True written as the same number."""
    if isinstance(value, dict):
        return {name: _equal_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_equal_numbers(item) for item in value]
    return int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value
