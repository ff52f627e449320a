"""What a dataset says of itself, in the JSON file beside it: the plan that decides its tokens, and their hash."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from n2n.graph.graph import Graph
from n2n.process.process import Process, Split
from n2n.utils.files import read_object
from n2n.utils.strict import Refused, Strict

FORMAT = 1
LONG = ("graph", "kernels")  # fields of a plan that are too long for a message

Whole = Annotated[int, Field(strict=True, ge=1)]


class Plan(Strict):
    """What decides the tokens of a dataset, and their type; see ``plan``."""

    format: Literal[1]
    graph: Graph
    kernels: dict[str, float]
    seed: Annotated[int, Field(strict=True, ge=0)]
    dtype: Literal["uint8", "uint16", "uint32", "uint64"]
    split: Split
    count: Whole
    length: Annotated[int, Field(strict=True, ge=2)]
    vocab_size: Whole

    @model_validator(mode="after")
    def _of_the_graph(self) -> Plan:
        if self.vocab_size != self.graph.vocab_size:
            raise ValueError(f"vocab_size: saw {self.vocab_size}; the graph has {self.graph.vocab_size} symbols")
        if self.dtype != _dtype(self.vocab_size):
            raise ValueError(
                f"dtype: saw {self.dtype!r}; {self.vocab_size} symbols are kept as {_dtype(self.vocab_size)}"
            )
        return self


class Sidecar(Plan):
    """Of a finished dataset: the plan and the hash of the whole ``.npy`` file."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def described(path: Path, kind: type[Plan]) -> dict[str, Any]:
    """A plan or a sidecar as it stands in a file, checked.

    Raises:
        ValueError: with the file and each field at fault.
    """
    try:
        fields = read_object(path)
        kind(**fields)
    except Refused as error:
        said = "; ".join(" ".join(said.split()) for _, said in error.wrong)
    except (OSError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
    else:
        return fields
    raise ValueError(f"data: {path} does not describe a dataset ({said}); n2n.data.generate writes it")


def is_description(path: Path) -> bool:
    """Whether a file is the sidecar of a dataset."""
    try:
        described(path, Sidecar)
    except ValueError:
        return False
    return True


def plan(process: Process, split: str, count: int, length: int) -> dict[str, Any]:
    """What decides the tokens of a dataset, and their type."""
    shape = {"split": split, "count": count, "length": length, "vocab_size": process.graph.vocab_size}
    return {
        "format": FORMAT,
        **without_kernels(process),
        "kernels": process.checksums,
        "dtype": _dtype(process.graph.vocab_size),
        **shape,
    }


def without_kernels(process: Process) -> dict[str, Any]:
    """The part of a plan for which no kernel is drawn."""
    graph = process.graph.model_dump(mode="json")
    del graph["name"]  # a title
    return {"graph": graph, "seed": int(process.seed)}


def _dtype(vocab_size: int) -> str:
    """The smallest type that holds the symbols."""
    return str(np.min_scalar_type(vocab_size - 1))


def differing(there: dict[str, Any], here: dict[str, Any]) -> str:
    """In what two plans differ, for people; empty if in nothing."""
    differences = [f"{k} {there[k]!r}, not {here[k]!r}" for k in here if k not in LONG and here[k] != there[k]]
    if here["graph"] != there["graph"]:
        return "; ".join(["another graph", *differences])
    if not same_kernels(here["kernels"], there["kernels"]):
        differences = differences or ["other kernels"]
    return "; ".join(differences)


def same_kernels(here: dict[str, float], there: dict[str, float]) -> bool:
    """Whether checksums are those of the same kernels, to the rounding of two machines."""
    return here.keys() == there.keys() and all(math.isclose(here[k], there[k], rel_tol=1e-9) for k in here)
