"""Checkpoints: a folder a step, complete or absent, with a manifest of sizes and hashes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from n2n.monitor.files import read_json, sync, write_json

_STATE, _MANIFEST = "state.pt", "manifest.json"


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``folder/step_NNNNNNNN``: made beside, flushed to disk, then renamed: it is whole or not there."""
    target = _path(folder, step)
    beside = folder / f".{target.name}.{os.getpid()}.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        _write(beside, step, state)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
        shutil.rmtree(beside, ignore_errors=True)
        kept = max(steps(folder), default=None)
        last = "there is none before it" if kept is None else f"that of step {kept} is whole"
        raise OSError(f"the checkpoint of step {step} could not be written to {folder} ({error}); {last}") from error
    shutil.rmtree(target, ignore_errors=True)  # of an earlier attempt at the same step
    os.rename(beside, target)
    sync(folder)
    return target


def _write(beside: Path, step: int, state: dict[str, Any]) -> None:
    beside.mkdir(parents=True)
    with open(beside / _STATE, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    write_json(beside / _MANIFEST, {"step": step, "files": {_STATE: _measure(beside / _STATE)}})
    sync(beside)


def prune(folder: Path, keep_last: int | None, keep_every: int | None) -> None:
    """Delete all but the newest ``keep_last`` checkpoints (None: keep all) and those at multiples of ``keep_every``."""
    for step in steps(folder)[: -keep_last if keep_last else 0]:
        if keep_every is None or step % keep_every:
            going = folder / f".{_path(folder, step).name}.part"
            shutil.rmtree(going, ignore_errors=True)
            _path(folder, step).rename(going)  # so that none is ever there in part
            shutil.rmtree(going)


def set_aside(folder: Path, after: int) -> None:
    """Rename the checkpoints later than a step, which were found damaged, and delete what was never finished."""
    for step in steps(folder):
        if step > after:
            aside = folder / f"damaged_{_path(folder, step).name}"
            shutil.rmtree(aside, ignore_errors=True)
            _path(folder, step).rename(aside)
    for unfinished in folder.glob(".step_*.part"):
        shutil.rmtree(unfinished)


def steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint, ascending."""
    names = (re.fullmatch(r"step_(\d{8,})", path.name) for path in folder.glob("step_*"))
    return sorted(int(name[1]) for name in names if name)


def load(folder: Path, step: int, device: str = "cpu") -> dict[str, Any]:
    """The state saved at a step.

    Raises:
        ValueError: no such checkpoint, or one whose files are not what its manifest says.
    """
    path = _path(folder, step)
    if not path.is_dir():
        raise ValueError(f"no checkpoint of step {step} in {folder}; there are {steps(folder)}")
    fault = _fault(path)
    if fault:
        raise ValueError(f"damaged checkpoint {path}: {fault}")
    return torch.load(path / _STATE, map_location=device, weights_only=True)


def load_latest(folder: Path, device: str = "cpu") -> tuple[int, dict[str, Any]] | None:
    """The newest undamaged checkpoint as (step, state), or None. Each damaged one on the way gives a warning."""
    for step in reversed(steps(folder)):
        try:
            return step, load(folder, step, device)
        except ValueError as error:
            warnings.warn(f"{error}; it is passed over", stacklevel=2)
    return None


def _path(folder: Path, step: int) -> Path:
    return folder / f"step_{step:08d}"


def _fault(path: Path) -> str | None:
    try:
        files = read_json(path / _MANIFEST)["files"]
        wrong = [name for name, expected in files.items() if _measure(path / name) != expected]
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{wrong[0]} does not match its manifest" if wrong else None


def _measure(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        sha = hashlib.sha256()
        while block := file.read(1 << 20):
            sha.update(block)
    return {"bytes": path.stat().st_size, "sha256": sha.hexdigest()}
