"""Checkpoints: a folder a step, complete or absent, with a manifest of what it is of and what it holds."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO

import torch

from n2n.monitor.journal import Marks
from n2n.utils.files import from_json, sync, write_json

_STATE, _MANIFEST = "state.pt", "manifest.json"
_MAX_MANIFEST = 2**20  # bytes

Missing = Callable[[Marks], str | None]


@dataclass(frozen=True)
class Found:
    """A checkpoint to go on from.

    Attributes:
        step: updates made by then.
        state: what was saved.
        marks: how far the run's files of rows went.
    """

    step: int
    state: dict[str, Any]
    marks: Marks


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=4)


def save(folder: Path, step: int, state: dict[str, Any], run: str, marks: Marks) -> Path:
    """Write ``folder/step_NNNNNNNN``: made beside, flushed to disk, then renamed: it is whole or not there.

    Args:
        folder: of all checkpoints of a run.
        step: updates made.
        state: tensors and plain values.
        run: the hash of what decides the run.
        marks: how far the run's files of rows go.
    """
    target = _path(folder, step)
    beside = folder / f".{target.name}.{os.getpid()}.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        _write(beside, state, {"step": step, "run": run, "rows": marks})
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
        shutil.rmtree(beside, ignore_errors=True)
        kept = max(steps(folder), default=None)
        last = "there is none before it" if kept is None else f"that of step {kept} is whole"
        raise OSError(f"the checkpoint of step {step} could not be written to {folder} ({error}); {last}") from error
    shutil.rmtree(target, ignore_errors=True)  # of an earlier attempt at the same step
    os.rename(beside, target)
    sync(folder)
    return target


def _write(beside: Path, state: dict[str, Any], about: dict[str, Any]) -> None:
    beside.mkdir(parents=True)
    with open(beside / _STATE, "w+b") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
        write_json(beside / _MANIFEST, {**about, "files": {_STATE: _measure(file)}})
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
    """Rename the checkpoints later than a step, which cannot be used, and delete what was never finished."""
    for step in steps(folder):
        if step > after:
            name = f"aside_{_path(folder, step).name}"
            free = chain([folder / name], (folder / f"{name}-{n}" for n in count(2)))
            _path(folder, step).rename(next(path for path in free if not path.exists()))
    for unfinished in folder.glob(".step_*.part"):
        shutil.rmtree(unfinished)


def last(folder: Path) -> int:
    """The newest step that has a checkpoint; 0 if none has."""
    return max(steps(folder), default=0)


def steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint, ascending."""
    names = (re.fullmatch(r"step_(\d{8,})", path.name) for path in folder.glob("step_*"))
    return sorted(int(name[1]) for name in names if name)


def load(folder: Path, step: int, run: str, device: str = "cpu") -> dict[str, Any]:
    """The state that a run saved at a step.

    Args:
        folder: of all checkpoints of the run.
        step: updates made.
        run: the hash of what decides the run.
        device: where tensors go.

    Raises:
        ValueError: no such checkpoint, one of another step or run, or one whose files are not what its manifest says.
    """
    return _opened(folder, step, run, lambda marks: None, device)[0]


def load_latest(
    folder: Path,
    run: str,
    missing: Missing = lambda marks: None,
    tell: Callable[[str], None] = _warn,
    device: str = "cpu",
) -> Found | None:
    """The newest checkpoint that can be used, or None.

    Args:
        folder, run, device: as of ``load``.
        missing: says what is missing beside a checkpoint, from its marks.
        tell: is given a sentence for each checkpoint that is passed over; by default it warns.
    """
    for step in reversed(steps(folder)):
        try:
            state, marks = _opened(folder, step, run, missing, device)
        except ValueError as error:
            tell(f"{error}; it is passed over")
        else:
            return Found(step, state, marks)
    return None


def fault(folder: Path, step: int, run: str) -> str | None:
    """Why a checkpoint cannot be used, if it cannot; its tensors are not loaded."""
    try:
        _checked(folder, step, run)[0].close()
    except ValueError as error:
        return str(error)
    return None


def _path(folder: Path, step: int) -> Path:
    return folder / f"step_{step:08d}"


def _opened(folder: Path, step: int, run: str, missing: Missing, device: str) -> tuple[dict[str, Any], Marks]:
    file, marks = _checked(folder, step, run)
    with file:
        path = _path(folder, step)
        if told := missing(marks):
            raise ValueError(f"checkpoint {path} cannot be used: {told}")
        try:
            state = torch.load(file, map_location=device, weights_only=True)
        except Exception as error:  # torch's own text may advise to load what it refused
            raise ValueError(f"damaged checkpoint {path}: {_STATE} cannot be read ({type(error).__name__})") from None
        if not isinstance(state, dict):
            raise ValueError(f"damaged checkpoint {path}: {_STATE} holds a {type(state).__name__}, not a dict")
        return state, marks


def _checked(folder: Path, step: int, run: str) -> tuple[BinaryIO, Marks]:
    """The file of a checkpoint's state, open, and its marks, once manifest and state are what they should be."""
    path = _path(folder, step)
    if not path.is_dir():
        raise ValueError(f"no checkpoint of step {step} in {folder}; there are {steps(folder)}")
    try:
        with _regular(path / _MANIFEST) as file:
            expected, marks = _agreed(from_json(file.read(_MAX_MANIFEST)), step, run)
        file = _regular(path / _STATE)
        if os.fstat(file.fileno()).st_size != expected["bytes"] or _measure(file) != expected:
            file.close()
            raise ValueError(f"{_STATE} does not match its manifest")
    except (OSError, ValueError) as error:
        raise ValueError(f"damaged checkpoint {path}: {error}") from None
    file.seek(0)
    return file, marks


def _agreed(about: Any, step: int, run: str) -> tuple[dict[str, Any], Marks]:
    """What a manifest says of the state's file and of the rows.

    Raises:
        ValueError: it is of another step or run, or lacks something.
    """
    try:
        its_step, its_run, files, marks = (about[name] for name in ("step", "run", "files", "rows"))
        expected = {name: files[_STATE][name] for name in ("bytes", "sha256")}
        marks = {name: {"bytes": int(mark["bytes"]), "crc": int(mark["crc"])} for name, mark in marks.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{_MANIFEST} is incomplete ({error!r})") from None
    if files.keys() != {_STATE}:
        raise ValueError(f"{_MANIFEST} names {sorted(files)}; {_STATE} alone is needed")
    if its_step != step:
        raise ValueError(f"{_MANIFEST} is of step {its_step!r}")
    if its_run != run:
        raise ValueError("it is of another run, with another configuration")
    return expected, marks


def _regular(path: Path) -> BinaryIO:
    """A file, open for reading; links, pipes and devices are refused."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path.name} is no regular file")
    return os.fdopen(handle, "rb")


def _measure(file: BinaryIO) -> dict[str, Any]:
    """Size and hash of an open file."""
    file.seek(0)
    sha, size = hashlib.sha256(), 0
    while block := file.read(1 << 20):
        sha.update(block)
        size += len(block)
    return {"bytes": size, "sha256": sha.hexdigest()}
