"""Checkpoints: one folder a step, complete or absent, with a manifest of its files and of the run it belongs to.

``model.safetensors`` holds the weights, which other tools can open; ``state.pt`` holds everything else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from n2n.monitor.journal import Marks
from n2n.utils.files import from_json, sync, write_json

_WEIGHTS, _STATE, _MANIFEST = "model.safetensors", "state.pt", "manifest.json"
_FILES = (_WEIGHTS, _STATE)
_MAX_MANIFEST = 2**20  # bytes

Missing = Callable[[Marks], str | None]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint from which a run can be resumed.

    Attributes:
        step: updates made.
        state: what was saved.
        marks: lengths of the run's files of rows.
    """

    step: int
    state: dict[str, Any]
    marks: Marks


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def save(folder: Path, step: int, state: dict[str, Any], run: str, marks: Marks) -> Path:
    """Write ``folder/step_NNNNNNNN`` under another name, flush it to disk and rename it, so that it is complete.

    Args:
        folder: folder of the run's checkpoints.
        step: updates made.
        state: the weights as ``"model"``, a dictionary of tensors; and other tensors and plain values.
        run: hash of what decides the run.
        marks: lengths of the run's files of rows.

    Raises:
        OSError: if it cannot be written. The checkpoint before it is complete.
    """
    target = _path(folder, step)
    part = folder / f".{target.name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        _write(part, state, {"step": step, "run": run, "rows": marks})
    except (OSError, RuntimeError, SafetensorError) as error:  # what torch and safetensors raise on a full disk too
        shutil.rmtree(part, ignore_errors=True)
        kept = max(steps(folder), default=None)
        last = "there is none before it" if kept is None else f"that of step {kept} is whole"
        raise OSError(f"the checkpoint of step {step} could not be written to {folder} ({error}); {last}") from error
    shutil.rmtree(target, ignore_errors=True)  # from an earlier attempt at the same step
    os.rename(part, target)
    sync(folder)
    return target


def _write(part: Path, state: dict[str, Any], manifest: dict[str, Any]) -> None:
    part.mkdir(parents=True)
    with open(part / _STATE, "wb") as file:
        torch.save({name: value for name, value in state.items() if name != "model"}, file)
    weights = {name: value.contiguous() for name, value in state["model"].items()}
    safetensors.torch.save_file(weights, part / _WEIGHTS)  # straight from the tensors, without a copy in memory
    (part / _WEIGHTS).chmod((part / _STATE).stat().st_mode)  # safetensors makes files that only their owner may read
    write_json(part / _MANIFEST, {**manifest, "files": {name: _flushed(part / name) for name in _FILES}})
    sync(part)


def _flushed(path: Path) -> dict[str, Any]:
    """Flush a file to disk, and return its size and hash."""
    sync(path)
    with _open_regular(path) as file:
        return _measure(file)


def prune(folder: Path, keep_last: int | None, keep_every: int | None, kept: Collection[int] = ()) -> None:
    """Delete all but the newest ``keep_last`` checkpoints (None: all), multiples of ``keep_every``, and ``kept``."""
    for step in steps(folder)[: -keep_last if keep_last else 0]:
        if step not in kept and (keep_every is None or step % keep_every):
            part = folder / f".{_path(folder, step).name}.part"
            shutil.rmtree(part, ignore_errors=True)
            _path(folder, step).rename(part)  # a checkpoint never exists in part under its own name
            shutil.rmtree(part)


def set_aside(folder: Path, after: int) -> None:
    """Rename the unusable checkpoints after a step, and delete unfinished ones."""
    for step in steps(folder):
        if step > after:
            name = f"aside_{_path(folder, step).name}"
            candidates = chain([folder / name], (folder / f"{name}-{n}" for n in count(2)))
            _path(folder, step).rename(next(path for path in candidates if not path.exists()))
    for unfinished in folder.glob(".step_*.part"):
        shutil.rmtree(unfinished)


def steps(folder: Path) -> list[int]:
    """Steps with a checkpoint, ascending."""
    names = (re.fullmatch(r"step_(\d{8,})", path.name) for path in folder.glob("step_*"))
    return sorted(int(name[1]) for name in names if name)


def load(folder: Path, step: int, run: str) -> Checkpoint:
    """The checkpoint of a step, with tensors on the CPU.

    Args:
        folder: folder of the run's checkpoints.
        step: updates made.
        run: hash of what decides the run.

    Raises:
        ValueError: if there is no such checkpoint, if it belongs to another step or run, or if its files differ from
            its manifest.
    """
    return _read(folder, step, run, lambda marks: None)


def load_weights(folder: Path, step: int, run: str) -> dict[str, Tensor]:
    """The weights that a run saved at a step, on the CPU. Other files are neither read nor checked."""
    with ExitStack() as files:
        handles, _ = _open(folder, step, run, files, [_WEIGHTS])
        return _weights(_path(folder, step), handles[_WEIGHTS])


def load_latest(
    folder: Path, run: str, missing: Missing = lambda marks: None, on_skip: Callable[[str], None] = _warn
) -> Checkpoint | None:
    """The newest usable checkpoint, or None.

    Args:
        folder: folder of the run's checkpoints.
        run: hash of what decides the run.
        missing: says, from a checkpoint's marks, which of the run's other files lacks rows; None if they are complete.
        on_skip: called with a sentence for each checkpoint that is passed over; warns by default.
    """
    for step in reversed(steps(folder)):
        try:
            return _read(folder, step, run, missing)
        except ValueError as error:
            on_skip(f"{error}; it is passed over")
    return None


def fault(folder: Path, step: int, run: str) -> str | None:
    """The reason why a checkpoint cannot be used; None if it can. Its tensors are not loaded."""
    try:
        with ExitStack() as files:
            _open(folder, step, run, files)
    except ValueError as error:
        return str(error)
    return None


def _path(folder: Path, step: int) -> Path:
    return folder / f"step_{step:08d}"


def _read(folder: Path, step: int, run: str, missing: Missing) -> Checkpoint:
    path = _path(folder, step)
    with ExitStack() as files:
        handles, marks = _open(folder, step, run, files)
        if message := missing(marks):
            raise ValueError(f"checkpoint {path} cannot be used: {message}")
        weights = _weights(path, handles[_WEIGHTS])
        state = _parsed(path, _STATE, lambda: torch.load(handles[_STATE], map_location="cpu", weights_only=True))
    if not isinstance(state, dict):
        raise ValueError(f"damaged checkpoint {path}: {_STATE} holds a {type(state).__name__}, not a dict")
    return Checkpoint(step, {"model": weights, **state}, marks)


def _weights(path: Path, file: BinaryIO) -> dict[str, Tensor]:
    """Weights by name in an open file of the checkpoint ``path``.

    They are sorted: safetensors returns them in an order that differs between processes, which exchange them one by
    one. They are mapped from the file and not copied. The path through the handle leads to the file that was hashed,
    even if the checkpoint is renamed or deleted in the same instant.
    """
    source = f"/dev/fd/{file.fileno()}"
    return dict(sorted(_parsed(path, _WEIGHTS, lambda: safetensors.torch.load_file(source)).items()))


def _parsed(path: Path, name: str, parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except Exception as error:  # torch's own message may advise to load what it refused
        raise ValueError(f"damaged checkpoint {path}: {name} cannot be read ({type(error).__name__})") from None


def _open(
    folder: Path, step: int, run: str, files: ExitStack, names: Sequence[str] = _FILES
) -> tuple[dict[str, BinaryIO], Marks]:
    """Open files of a checkpoint that agree with its manifest, and the checkpoint's marks.

    Args:
        folder: folder of the run's checkpoints.
        step: updates made.
        run: hash of what decides the run.
        files: closes the files.
        names: names of the files.

    Raises:
        ValueError: if there is no such checkpoint or if it is damaged.
    """
    path = _path(folder, step)
    if not path.is_dir():
        raise ValueError(f"no checkpoint of step {step} in {folder}; there are {steps(folder)}")
    try:
        with _open_regular(path / _MANIFEST) as file:
            expected, marks = _checked_manifest(from_json(file.read(_MAX_MANIFEST)), step, run)
        handles = {name: files.enter_context(_open_regular(path / name)) for name in names}
        for name, file in handles.items():
            size = os.fstat(file.fileno()).st_size
            if size != expected[name]["bytes"] or _measure(file) != expected[name]:
                raise ValueError(f"{name} does not match its manifest")
            file.seek(0)
    except (OSError, ValueError) as error:
        raise ValueError(f"damaged checkpoint {path}: {error}") from None
    return handles, marks


def _checked_manifest(manifest: Any, step: int, run: str) -> tuple[dict[str, dict[str, Any]], Marks]:
    """Size and hash of each file, and the marks.

    Raises:
        ValueError: if the manifest belongs to another step or run, or if it is incomplete.
    """
    try:
        its_step, its_run, files, marks = (manifest[name] for name in ("step", "run", "files", "rows"))
        marks = {name: {"bytes": int(mark["bytes"]), "crc": int(mark["crc"])} for name, mark in marks.items()}
        if sorted(files) == sorted(_FILES):
            files = {name: {key: files[name][key] for key in ("bytes", "sha256")} for name in _FILES}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{_MANIFEST} is incomplete ({error!r})") from None
    if sorted(files) != sorted(_FILES):
        raise ValueError(f"{_MANIFEST} names {sorted(files)}; a checkpoint has exactly {sorted(_FILES)}")
    if its_step != step:
        raise ValueError(f"{_MANIFEST} is of step {its_step!r}")
    if its_run != run:
        raise ValueError("it is of another run, with another configuration")
    return files, marks


def _open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; links, pipes and devices are refused."""
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
