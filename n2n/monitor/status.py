"""The status of a run: what it last wrote, and whether its process is still alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from n2n.utils.files import read_object_or_empty, write_json
from n2n.utils.lock import is_locked

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SLACK = 2.0  # seconds by which clocks of files and of processes may differ


def machine() -> dict[str, str | None]:
    """The host's name, and an identifier of the running system, which all containers on it share."""
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        boot = None
    return {"host": socket.gethostname(), "boot": boot}


def now() -> str:
    """The time in the format of status files and logs."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_status(path: Path, state: str, step: int, steps: int, error: str | None = None) -> None:
    """Replace a run's status.

    Args:
        path: the file.
        state: ``"running"``, ``"done"``, ``"preempted"`` or ``"failed"``.
        step: saved updates.
        steps: updates of the whole run.
        error: the traceback of a failed run.
    """
    status = {"state": state, "step": step, "steps": steps, **machine()}
    status |= {"pid": os.getpid(), "job_id": os.environ.get("SLURM_JOB_ID"), "updated_at": now(), "error": error}
    write_json(path, status)


def current_status(status: dict[str, Any], path: Path, locks: Sequence[Path]) -> dict[str, Any]:
    """The present status of a run, given a status that was just read; empty if that is empty. Nothing is written.

    The state of a run that was running becomes ``"killed"`` if none of its locks is held and its process is gone.
    Some file systems do not share locks between hosts, so that a run on another host keeps its state.

    Args:
        status: content of the file; empty if there is none.
        path: the file.
        locks: files that the run's processes keep locked.
    """
    if status.get("state") != "running" or _is_alive(status, locks):
        return status
    if (later := read_object_or_empty(path)) != status:  # the run ended, or another one began, between the two reads
        return current_status(later, path, locks)
    return {**status, "state": "killed"}


def _is_alive(status: dict[str, Any], locks: Sequence[Path]) -> bool:
    locked = [is_locked(lock) for lock in locks]
    if any(locked):
        return True
    own = machine()
    if status.get("host") != own["host"] and (own["boot"] is None or status.get("boot") != own["boot"]):
        return True
    return all(lock is None for lock in locked) and _process_exists(status)


def _process_exists(status: dict[str, Any]) -> bool:
    """Whether the process exists and is not a later one with the same number; for file systems without locks."""
    try:
        start = psutil.Process(status["pid"]).create_time()
        return start <= datetime.fromisoformat(status["updated_at"]).timestamp() + _SLACK
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
