"""Places where jobs run: a Slurm cluster, this machine, or this process."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import psutil

from n2n.launch import slurm
from n2n.launch.job import NotebookJob, read_job
from n2n.launch.resources import Resources
from n2n.launch.slurm import Live
from n2n.launch.sweep import CODE, LOGS, Sweep
from n2n.utils.cpu import cores
from n2n.utils.strict import unknown_name_message

FOREVER = 60 * 24 * 365  # minutes
MAX_REQUEUES = 10**6  # effectively no limit in submitit: ``NotebookJob.checkpoint`` ends a job without progress
DISPATCHER = ".dispatcher"  # lock file of the process that starts local jobs
WAITING = "waiting"  # stands for the identifier of a local job that has not started
MAX_SECONDS = 10.0  # for a dispatcher to end


class Cluster(Protocol):
    """A place where jobs run."""

    name: str

    def resolve(self, requested: Resources) -> Resources:
        """Return the resources with defaults filled in; raise a ``ValueError`` for what is not available."""

    def start(self, sweep: Sweep, points: Sequence[str]) -> None:
        """Start a job for each point, and record its identifier in the sweep."""

    def live(self, sweep: Sweep) -> dict[str, Live]:
        """Return the points whose jobs wait or run."""

    def cancel(self, sweep: Sweep) -> None:
        """Cancel all jobs; running ones save."""


def point_job(sweep: Sweep, point: str) -> NotebookJob:
    """Return the job of a point."""
    record = sweep.record
    return NotebookJob(
        notebook=sweep.path / CODE / record["notebook"],
        folder=sweep.path / point,
        parameters=record["parameters"][point],
        environment={"N2N_RUNS": str(sweep.path.parent), **record["environment"]},
    )


@contextlib.contextmanager
def outside_any_job() -> Iterator[None]:
    """Remove the variables of the job that runs this process, if any: new jobs would mistake them for their own."""
    from submitit.helpers import clean_env

    kept = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}  # identifies the cluster
    with clean_env():
        os.environ.update(kept)
        yield


def python_command(sweep: Sweep) -> str:
    """Return the command of the interpreter with the sweep's copy of n2n first on its path."""
    run_copy = sweep.path / CODE / "n2n" / "launch" / "run_copy.py"
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(run_copy))}"


def sweep_resources(sweep: Sweep) -> Resources:
    """Return the resources of each job, as resolved when the sweep was submitted."""
    return Resources(**sweep.record["resources"])


class Slurm:
    """Array jobs, through submitit's Slurm executor."""

    name = "slurm"

    def resolve(self, requested: Resources) -> Resources:
        resources = slurm.resolve(requested)
        slurm.check_script(self.header(Path("rehearsal"), resources, 1))
        return resources

    def start(self, sweep: Sweep, points: Sequence[str]) -> None:
        size, started = slurm.max_array_size(), []
        for i in range(0, len(points), size):
            part = points[i : i + size]
            try:
                with outside_any_job():
                    jobs = self._executor(sweep, len(part)).submit_array([point_job(sweep, point) for point in part])
            except Exception as error:  # submitit and sbatch raise errors of many types
                queued = f"; queued before: {', '.join(started)}, which cancel takes back" if started else ""
                raise OSError(f"sbatch refused {len(points) - i} of {len(points)} points{queued}: {error}") from error
            sweep.record_jobs({point: job.job_id for point, job in zip(part, jobs, strict=True)})
            started.append(jobs[0].job_id.split("_")[0])

    def live(self, sweep: Sweep) -> dict[str, Live]:
        jobs = sweep.jobs
        queue = slurm.queue({job.split("_")[0] for job in jobs.values()})
        return {point: queue[job] for point, job in jobs.items() if job in queue}

    def cancel(self, sweep: Sweep) -> None:
        slurm.cancel(_comment(sweep.path))  # finds jobs that were queued but not recorded, too

    def header(self, sweep_path: Path, resources: Resources, count: int) -> str:
        """Return the first lines of the batch script: the shell and the options of sbatch."""
        from submitit.slurm.slurm import _make_sbatch_string

        parameters = _slurm_parameters(resources, sweep_path, count)
        text = _make_sbatch_string("", sweep_path / LOGS, map_count=count if count > 1 else None, **parameters)
        return "\n".join(line for line in text.splitlines() if line.startswith(("#!", "#SBATCH")))

    def _executor(self, sweep: Sweep, count: int) -> Any:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(sweep.path / LOGS, max_num_timeout=MAX_REQUEUES, python=python_command(sweep))
        executor.update_parameters(**_slurm_parameters(sweep_resources(sweep), sweep.path, count))
        return executor


def _comment(path: Path) -> str:
    """Return the comment that identifies a sweep's jobs."""
    return f"n2n {path}"


def _slurm_parameters(resources: Resources, path: Path, count: int) -> dict[str, Any]:
    """Return submitit's parameters. The notebook runs once, on the first node; its training uses the others, too."""
    step_options = ["--nodes=1", "--ntasks=1"] if resources.nodes > 1 else []
    if resources.cpus:
        step_options.append(f"--cpus-per-task={resources.cpus}")  # srun no longer inherits it from sbatch
    optional = {
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "gpus_per_node": resources.gpus,
        "cpus_per_task": resources.cpus,
        "mem": f"{round(resources.mem * 1000)}M" if resources.mem else None,
    }
    return {
        **{name: value for name, value in optional.items() if value is not None},
        "array_parallelism": resources.max_parallel or count,
        "time": ceil(resources.time),
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "srun_args": step_options or None,
        "job_name": path.name,
        "comment": _comment(path),
        "signal_delay_s": resources.grace,
    }


class Local:
    """This machine, through submitit's local executor.

    A dispatcher process, which outlives this one, runs as many jobs at once as there are cores and GPUs for them.
    """

    name = "local"

    def resolve(self, requested: Resources) -> Resources:
        limits = {"cpus": cores(), "gpus": _gpu_count(), "nodes": 1}
        errors = [
            f"  - {name}: saw {getattr(requested, name)}; this machine has {limit}"
            for name, limit in limits.items()
            if (getattr(requested, name) or 0) > limit
        ]
        errors += [
            f"  - {name}: saw {getattr(requested, name)!r}, which only a cluster with Slurm has"
            for name in ("partition", "account", "qos", "constraint", "mem")
            if getattr(requested, name) is not None
        ]
        if errors:
            raise ValueError("this machine cannot provide these resources:\n" + "\n".join(errors))
        gpus = min(1, limits["gpus"]) if requested.gpus is None else requested.gpus
        cpus = requested.cpus or 1
        slots = limits["cpus"] // cpus
        if gpus:
            slots = min(slots, limits["gpus"] // gpus)
        max_parallel = min(requested.max_parallel or slots, slots)
        return requested.model_copy(update={"gpus": gpus, "cpus": cpus, "max_parallel": max_parallel})

    def start(self, sweep: Sweep, points: Sequence[str]) -> None:
        sweep.record_jobs(dict.fromkeys(points, WAITING))
        command = [*shlex.split(python_command(sweep)), "-m", "n2n.launch.dispatcher", str(sweep.path)]
        (sweep.path / LOGS).mkdir(exist_ok=True)
        with open(sweep.path / LOGS / "dispatcher.log", "ab") as log, outside_any_job():
            process = subprocess.Popen(
                command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        process.returncode = 0  # silences the warning about a process that still runs: it outlives this one

    def live(self, sweep: Sweep) -> dict[str, Live]:
        dispatching = bool(_dispatchers(sweep))
        jobs = {point: self._live_job(sweep, point, job, dispatching) for point, job in sweep.jobs.items()}
        return {point: live for point, live in jobs.items() if live}

    def _live_job(self, sweep: Sweep, point: str, job: str, dispatching: bool) -> Live | None:
        if job != WAITING and controller(job, sweep):
            return Live(running=True)
        will_start = job == WAITING or read_job(sweep.path / point).get("state") == "requeued"
        return Live(running=False) if dispatching and will_start else None

    def cancel(self, sweep: Sweep) -> None:
        dispatchers = _dispatchers(sweep)
        for process in dispatchers:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs(dispatchers, MAX_SECONDS)  # from now on no other job starts, so none is missed below
        sweep.record_jobs({point: "cancelled" for point, job in sweep.jobs.items() if job == WAITING})
        for job in sweep.jobs.values():
            process = controller(job, sweep)
            if process is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()  # submitit's controller passes the signal on


def _dispatchers(sweep: Sweep) -> list[psutil.Process]:
    """Return the processes that start this sweep's local jobs; only one of them is active at a time."""
    ending = ["n2n.launch.dispatcher", str(sweep.path)]
    return [process for process in psutil.process_iter(["cmdline"]) if (process.info["cmdline"] or [])[-2:] == ending]


def controller(job: str, sweep: Sweep) -> psutil.Process | None:
    """Return submitit's process that runs a local job of a sweep, or None if it has ended."""
    try:
        process = psutil.Process(int(job))
        runs = process.status() != psutil.STATUS_ZOMBIE and str(sweep.path / LOGS) in process.cmdline()
    except (psutil.Error, ValueError):
        return None
    return process if runs else None


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count()


class Debug:
    """This process, one job after another."""

    name = "debug"

    def resolve(self, requested: Resources) -> Resources:
        defaults = Resources()
        changed = [name for name, value in requested.model_dump().items() if value != getattr(defaults, name)]
        if changed:
            raise ValueError(f"cluster: 'debug' runs jobs in this process, so it cannot set {', '.join(changed)}")
        return requested

    def start(self, sweep: Sweep, points: Sequence[str]) -> None:
        from submitit import DebugExecutor

        executor = DebugExecutor(sweep.path / LOGS)
        for point in points:
            job = executor.submit(point_job(sweep, point))
            sweep.record_jobs({point: job.job_id})
            job.exception()  # runs the job; ``result`` would open a debugger
            if read_job(sweep.path / point).get("state") == "preempted":
                return  # this process received a signal to end

    def live(self, sweep: Sweep) -> dict[str, Live]:
        return {}

    def cancel(self, sweep: Sweep) -> None:
        """Do nothing: no job runs outside ``start``."""


CLUSTERS: dict[str, type[Cluster]] = {"slurm": Slurm, "local": Local, "debug": Debug}


def cluster_by_name(name: str) -> Cluster:
    """Return a cluster by name; ``"auto"`` is Slurm if available, else this machine.

    Raises:
        ValueError: if the name is unknown, or it is ``"slurm"`` and this machine belongs to no Slurm cluster.
    """
    if name not in ("auto", *CLUSTERS):
        raise ValueError(unknown_name_message("cluster", name, ["auto", *CLUSTERS]))
    if name == "auto":
        return Slurm() if slurm.available() else Local()
    if name == "slurm" and not slurm.available():
        raise ValueError("cluster: saw 'slurm', but no Slurm answers here (sinfo); 'local' runs on this machine")
    return CLUSTERS[name]()
