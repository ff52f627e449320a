"""How a run stands: what it said last, and whether it is still there."""

from __future__ import annotations

import socket
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from n2n.utils.files import read_object_or_empty
from n2n.utils.lock import is_locked

STATUS = "status.json"
# Whoever answers for a run's folder holds the first lock; whoever trains in it, maybe a process of theirs, the second.
ANSWERS, TRAINS = ".launch.lock", ".lock"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SLACK = 2.0  # seconds by which clocks of files and of processes may differ


def machine() -> dict[str, str | None]:
    """The host's name, and a name of the system that runs on it since it was started, which its containers share."""
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        boot = None
    return {"host": socket.gethostname(), "boot": boot}


def read_status(folder: Path) -> dict[str, Any]:
    """What ``status.json`` says; empty without one. Nothing is written.

    A run that is said to be running is ``"killed"`` if nobody holds its locks and the process is gone. A run on another
    host whose locks are free is left as it is said to be: not every file system shares locks between hosts.
    """
    status = read_object_or_empty(folder / STATUS)
    if status.get("state") != "running" or _there(folder, status):
        return status
    again = read_object_or_empty(folder / STATUS)
    if again != status:  # it ended, or another trainer began, between the two looks
        return read_status(folder)
    return {**status, "state": "killed"}


def _there(folder: Path, status: dict[str, Any]) -> bool:
    locks = [is_locked(folder / name) for name in (TRAINS, ANSWERS)]
    if any(locks):
        return True
    here = machine()
    if status.get("host") != here["host"] and (here["boot"] is None or status.get("boot") != here["boot"]):
        return True
    return locks == [None, None] and _alive(status)


def _alive(status: dict[str, Any]) -> bool:
    """Whether the process is there, and not a later one of the same number; for file systems without locks."""
    try:
        begun = psutil.Process(status["pid"]).create_time()
        return begun <= datetime.fromisoformat(status["updated_at"]).timestamp() + _SLACK
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
