"""The sidecar of a dataset: a JSON file with the plan that determines the tokens, and the hash of the tokens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from n2n.graph.graph import Graph
from n2n.process.process import Process
from n2n.process.splits import Split
from n2n.utils.files import read_object
from n2n.utils.strict import Refused, Strict

FORMAT = 1
_LONG_FIELDS = ("graph", "kernels")  # too long for a message

_PositiveInt = Annotated[int, Field(strict=True, ge=1)]


class Plan(Strict):
    """The fields that determine the tokens of a dataset and their type; see ``plan``."""

    format: Literal[1]
    graph: Graph
    kernels: dict[str, float]
    seed: Annotated[int, Field(strict=True, ge=0)]
    dtype: Literal["uint8", "uint16", "uint32", "uint64"]
    split: Split
    count: _PositiveInt
    length: Annotated[int, Field(strict=True, ge=2)]
    vocab_size: _PositiveInt

    @model_validator(mode="after")
    def _check_graph(self) -> Plan:
        if self.vocab_size != self.graph.vocab_size:
            raise ValueError(f"vocab_size: saw {self.vocab_size}; the graph has {self.graph.vocab_size} symbols")
        if self.dtype != _dtype(self.vocab_size):
            raise ValueError(
                f"dtype: saw {self.dtype!r}; {self.vocab_size} symbols are stored as {_dtype(self.vocab_size)}"
            )
        return self


class Sidecar(Plan):
    """The sidecar of a finished dataset: its plan, and the hash of the whole ``.npy`` file."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def read_plan(path: Path, kind: type[Plan]) -> dict[str, Any]:
    """Read the fields of a plan or a sidecar from a file, and check them.

    Raises:
        ValueError: if the file cannot be read or a field is wrong; the message names the file and each such field.
    """
    try:
        fields = read_object(path)
        kind(**fields)
    except Refused as error:
        message = "; ".join(" ".join(text.split()) for _, text in error.wrong)
    except (OSError, ValueError) as error:
        message = f"{type(error).__name__}: {error}"
    else:
        return fields
    raise ValueError(f"data: {path} does not describe a dataset ({message}); n2n.data.generate writes it")


def is_sidecar(path: Path) -> bool:
    """Return whether a file is the sidecar of a dataset."""
    try:
        read_plan(path, Sidecar)
    except ValueError:
        return False
    return True


def plan(process: Process, split: str, count: int, length: int) -> dict[str, Any]:
    """Return the fields of the ``Plan`` of a dataset."""
    shape = {"split": split, "count": count, "length": length, "vocab_size": process.graph.vocab_size}
    return {
        "format": FORMAT,
        **plan_without_kernels(process),
        "kernels": process.checksums,
        "dtype": _dtype(process.graph.vocab_size),
        **shape,
    }


def plan_without_kernels(process: Process) -> dict[str, Any]:
    """Return the part of a plan that does not require kernels to be drawn."""
    graph = process.graph.model_dump(mode="json")
    del graph["name"]  # only a title
    return {"graph": graph, "seed": int(process.seed)}


def _dtype(vocab_size: int) -> str:
    """Return the name of the smallest type that holds the symbols."""
    return str(np.min_scalar_type(vocab_size - 1))


def plan_differences(existing: dict[str, Any], requested: dict[str, Any]) -> str:
    """Describe how an existing plan differs from the requested one for a message; empty if it does not."""
    short = [name for name in requested if name not in _LONG_FIELDS]
    differences = [f"{k} {existing[k]!r}, not {requested[k]!r}" for k in short if existing[k] != requested[k]]
    if requested["graph"] != existing["graph"]:
        return "; ".join(["another graph", *differences])
    if not same_kernels(requested["kernels"], existing["kernels"]):
        differences = differences or ["other kernels"]
    return "; ".join(differences)


def same_kernels(first: dict[str, float], second: dict[str, float]) -> bool:
    """Return whether two sets of checksums belong to the same kernels, within the rounding of different machines."""
    return first.keys() == second.keys() and all(math.isclose(first[k], second[k], rel_tol=1e-9) for k in first)
