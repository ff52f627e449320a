"""Processes that train runs on this machine, several at a time, one thread each."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import n2n
from n2n.runs.folder import CONFIG
from n2n.utils.cpu import THREADS_VARIABLE

BATCH = 12  # runs that a process trains in turn, at most; starting a process takes as long as half a small run
PATIENCE = 60.0  # seconds in which a process saves when it is told to leave


class Workers:
    """Training processes; a context manager that tells them to save and leave at its end.

    A process ends with the one that started it, even if that is killed (on Linux): its run saves and can be resumed.

    Args:
        parallel: number of processes at a time.
        log: file that receives what they print.
    """

    def __init__(self, parallel: int, log: Path) -> None:
        self._parallel, self._log, self._stack = parallel, log, contextlib.ExitStack()
        self._running: list[subprocess.Popen] = []
        self._waiting: list[list[Path]] = []

    def __enter__(self) -> Workers:
        self._stream = self._stack.enter_context(open(self._log, "ab"))
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._stack:
            self.stop()

    def add(self, folders: Sequence[Path]) -> None:
        """Train in these folders, which hold configurations."""
        size = max(1, min(BATCH, math.ceil(len(folders) / self._parallel)))
        self._waiting += [list(folders[i : i + size]) for i in range(0, len(folders), size)]

    def poll(self) -> bool:
        """Start waiting runs where a process has ended, and return whether any is at work."""
        self._running = [process for process in self._running if process.poll() is None]
        while self._waiting and len(self._running) < self._parallel:
            self._running.append(self._start(self._waiting.pop(0)))
        return bool(self._running)

    def stop(self) -> None:
        """Start no further run, and wait until those at work have saved."""
        self._waiting.clear()
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start(self, folders: list[Path]) -> subprocess.Popen:
        package = str(Path(n2n.__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "n2n.training", "--with-parent", *(str(path / CONFIG) for path in folders)]
        environment = {**os.environ, THREADS_VARIABLE: "1", "PYTHONPATH": path}
        streams = {"stdin": subprocess.DEVNULL, "stdout": self._stream, "stderr": self._stream}
        return subprocess.Popen(command, env=environment, **streams)
