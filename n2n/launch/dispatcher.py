"""The process that starts a sweep's jobs on this machine, as many at once as it bears."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from n2n.launch.clusters import DISPATCHER, FOREVER, TIMEOUTS, WAITING, controller, job_of, python_of, resources_of
from n2n.launch.job import told
from n2n.launch.sweep import LOGS, Sweep
from n2n.utils.lock import locked

PERIOD = 0.2  # seconds between looks


class Dispatcher:
    """Starts the points that wait until there are none, each in a slot that names its GPUs.

    Args:
        sweep: whose jobs these are.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep, self._resources = sweep, resources_of(sweep)
        self._slots: list[tuple[str, Any] | None] = [None] * (self._resources.max_parallel or 1)
        running = [(point, job) for point, job in sweep.jobs.items() if controller(job, sweep)]
        for slot, (point, job) in enumerate(running[: len(self._slots)]):
            self._slots[slot] = (point, _Adopted(job, sweep))
        self._left = False
        signal.signal(signal.SIGTERM, self._leave)

    def _leave(self, number: int, frame: object) -> None:
        self._left = True

    def run(self) -> None:
        """Until nothing waits or runs, or it is told to leave; jobs that run go on."""
        while not self._left:
            self._clear()
            waiting = [point for point, job in self._sweep.jobs.items() if job == WAITING]
            for slot, point in zip(self._free(), waiting, strict=False):
                self._start(slot, point)
            if not waiting and not any(self._slots):
                return
            time.sleep(PERIOD)

    def _free(self) -> list[int]:
        return [i for i, taken in enumerate(self._slots) if taken is None]

    def _clear(self) -> None:
        for i, taken in enumerate(self._slots):
            if taken is not None and taken[1].done():
                self._slots[i] = None
                self._repeat(taken[0])

    def _repeat(self, point: str) -> None:
        """A job that was to come back does, beyond the six times that submitit itself sees to."""
        if told(self._sweep.path / point).get("state") == "requeued":
            self._sweep.note_jobs({point: WAITING})

    def _start(self, slot: int, point: str) -> None:
        from submitit import LocalExecutor

        gpus = self._resources.gpus or 0
        executor = LocalExecutor(self._sweep.path / LOGS, max_num_timeout=TIMEOUTS, python=python_of(self._sweep))
        executor.update_parameters(
            timeout_min=self._resources.time or FOREVER,
            signal_delay_s=self._resources.grace,
            gpus_per_node=gpus,
            visible_gpus=_gpus(slot, gpus),
        )
        job = executor.submit(job_of(self._sweep, point))
        self._slots[slot] = (point, job)
        self._sweep.note_jobs({point: job.job_id})


class _Adopted(NamedTuple):
    """A job that an earlier dispatcher started."""

    job: str
    sweep: Sweep

    def done(self) -> bool:
        return controller(self.job, self.sweep) is None


def _gpus(slot: int, count: int) -> list[int]:
    """The numbers of a slot's GPUs, among those that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    allowed = [int(number) for number in given] if all(number.isdecimal() for number in given) else None
    numbers = range(slot * count, (slot + 1) * count)
    return [allowed[i] for i in numbers] if allowed else list(numbers)


def main(path: str) -> None:
    """Dispatch a sweep's jobs, once no other process does."""
    sweep = Sweep(Path(path))
    with locked(sweep.path / DISPATCHER):
        Dispatcher(sweep).run()


if __name__ == "__main__":
    main(sys.argv[1])
