"""The process that runs a sweep's jobs on this machine, a limited number at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from n2n.launch.clusters import (
    DISPATCHER,
    FOREVER,
    MAX_REQUEUES,
    WAITING,
    controller,
    point_job,
    python_command,
    sweep_resources,
)
from n2n.launch.job import read_job
from n2n.launch.sweep import LOGS, Sweep
from n2n.utils.lock import locked

PERIOD = 0.2  # seconds between checks


class Dispatcher:
    """Starts waiting points until there are none, each in a slot with its own GPUs.

    Args:
        sweep: the sweep whose jobs it starts.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep, self._resources = sweep, sweep_resources(sweep)
        self._slots: list[tuple[str, Any] | None] = [None] * (self._resources.max_parallel or 1)
        running = [(point, job) for point, job in sweep.jobs.items() if controller(job, sweep)]
        for slot, (point, job) in enumerate(running[: len(self._slots)]):
            self._slots[slot] = (point, _AdoptedJob(job, sweep))
        self._stop = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self._stop = True

    def run(self) -> None:
        """Start jobs until none waits or runs, or until SIGTERM; running jobs continue after that."""
        while not self._stop:
            self._clear()
            waiting = [point for point, job in self._sweep.jobs.items() if job == WAITING]
            for slot, point in zip(self._free_slots(), waiting, strict=False):
                self._start(slot, point)
            if not waiting and not any(self._slots):
                return
            time.sleep(PERIOD)

    def _free_slots(self) -> list[int]:
        return [i for i, job in enumerate(self._slots) if job is None]

    def _clear(self) -> None:
        for i, slot in enumerate(self._slots):
            if slot is not None and slot[1].done():
                self._slots[i] = None
                self._requeue(slot[0])

    def _requeue(self, point: str) -> None:
        """Queue a job again if it asks for it and submitit, which restarts a job six times, no longer does."""
        if read_job(self._sweep.path / point).get("state") == "requeued":
            self._sweep.record_jobs({point: WAITING})

    def _start(self, slot: int, point: str) -> None:
        from submitit import LocalExecutor

        gpus = self._resources.gpus or 0
        executor = LocalExecutor(
            self._sweep.path / LOGS, max_num_timeout=MAX_REQUEUES, python=python_command(self._sweep)
        )
        executor.update_parameters(
            timeout_min=self._resources.time or FOREVER,
            signal_delay_s=self._resources.grace,
            gpus_per_node=gpus,
            visible_gpus=_gpus(slot, gpus),
        )
        job = executor.submit(point_job(self._sweep, point))
        self._slots[slot] = (point, job)
        self._sweep.record_jobs({point: job.job_id})


class _AdoptedJob(NamedTuple):
    """A job that an earlier dispatcher started."""

    job: str
    sweep: Sweep

    def done(self) -> bool:
        return controller(self.job, self.sweep) is None


def _gpus(slot: int, count: int) -> list[int]:
    """Return the numbers of a slot's GPUs, among those that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    allowed = [int(number) for number in visible] if all(number.isdecimal() for number in visible) else None
    indices = range(slot * count, (slot + 1) * count)
    return [allowed[i] for i in indices] if allowed else list(indices)


def main(path: str) -> None:
    """Dispatch a sweep's jobs, after any other dispatcher of the sweep has ended."""
    sweep = Sweep(Path(path))
    with locked(sweep.path / DISPATCHER):
        Dispatcher(sweep).run()


if __name__ == "__main__":
    main(sys.argv[1])
