"""Where jobs run: a Slurm cluster, this machine, or this process; each starts, watches and takes back a sweep's."""

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
from n2n.launch.job import NotebookJob, told
from n2n.launch.resources import Resources
from n2n.launch.slurm import Live
from n2n.launch.sweep import CODE, LOGS, Sweep
from n2n.utils.cpu import cores
from n2n.utils.strict import unknown

FOREVER = 60 * 24 * 365  # minutes
TIMEOUTS = 10**6  # that submitit bears; a job that gets nowhere is ended by ``NotebookJob.checkpoint``
DISPATCHER = ".dispatcher"  # the lock of the process that starts local jobs
WAITING = "waiting"  # in the place of the identifier of a local job that was not started yet
SECONDS = 10.0  # that it may take to end


class Cluster(Protocol):
    """Where jobs run."""

    name: str

    def fitted(self, asked: Resources) -> Resources:
        """The resources, completed; a ``ValueError`` for what is not there."""

    def start(self, sweep: Sweep, points: Sequence[str]) -> None:
        """Start a job for each point and note its identifier in the sweep."""

    def live(self, sweep: Sweep) -> dict[str, Live]:
        """The points whose jobs wait or run."""

    def cancel(self, sweep: Sweep) -> None:
        """Take all jobs back; those that run save."""


def job_of(sweep: Sweep, point: str) -> NotebookJob:
    """A point's job."""
    about = sweep.about
    return NotebookJob(
        notebook=sweep.path / CODE / about["notebook"],
        folder=sweep.path / point,
        parameters=about["parameters"][point],
        environment={"N2N_RUNS": str(sweep.path.parent), **about["environment"]},
    )


@contextlib.contextmanager
def outside_any_job() -> Iterator[None]:
    """Without the variables of a job that this process may be in, which its own jobs would take for theirs."""
    from submitit.helpers import clean_env

    kept = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}  # which cluster it is
    with clean_env():
        os.environ.update(kept)
        yield


def python_of(sweep: Sweep) -> str:
    """The interpreter with the sweep's copy of n2n in front of any other."""
    run_copy = sweep.path / CODE / "n2n" / "launch" / "run_copy.py"
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(run_copy))}"


def resources_of(sweep: Sweep) -> Resources:
    """As they were fitted when the sweep was submitted."""
    return Resources(**sweep.about["resources"])


class Slurm:
    """Array jobs through submitit's Slurm executor."""

    name = "slurm"

    def fitted(self, asked: Resources) -> Resources:
        found = slurm.fitted(asked)
        slurm.rehearse(self.header(Path("rehearsal"), found, 1))
        return found

    def start(self, sweep: Sweep, points: Sequence[str]) -> None:
        most, started = slurm.most_in_an_array(), []
        for i in range(0, len(points), most):
            part = points[i : i + most]
            try:
                with outside_any_job():
                    jobs = self._executor(sweep, len(part)).submit_array([job_of(sweep, point) for point in part])
            except Exception as error:  # of submitit, of sbatch
                queued = f"; queued before: {', '.join(started)}, which cancel takes back" if started else ""
                raise OSError(f"sbatch refused {len(points) - i} of {len(points)} points{queued}: {error}") from error
            sweep.note_jobs({point: job.job_id for point, job in zip(part, jobs, strict=True)})
            started.append(jobs[0].job_id.split("_")[0])

    def live(self, sweep: Sweep) -> dict[str, Live]:
        jobs = sweep.jobs
        there = slurm.queue({job.split("_")[0] for job in jobs.values()})
        return {point: there[job] for point, job in jobs.items() if job in there}

    def cancel(self, sweep: Sweep) -> None:
        slurm.cancel(_comment(sweep.path))  # jobs that were queued and could not be noted, too

    def header(self, sweep_path: Path, resources: Resources, count: int) -> str:
        """The beginning of the batch file: what sbatch is asked for."""
        from submitit.slurm.slurm import _make_sbatch_string

        parameters = _slurm_parameters(resources, sweep_path, count)
        text = _make_sbatch_string("", sweep_path / LOGS, map_count=count if count > 1 else None, **parameters)
        return "\n".join(line for line in text.splitlines() if line.startswith(("#!", "#SBATCH")))

    def _executor(self, sweep: Sweep, count: int) -> Any:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(sweep.path / LOGS, max_num_timeout=TIMEOUTS, python=python_of(sweep))
        executor.update_parameters(**_slurm_parameters(resources_of(sweep), sweep.path, count))
        return executor


def _comment(path: Path) -> str:
    """By which a sweep's jobs are known to Slurm."""
    return f"n2n {path}"


def _slurm_parameters(asked: Resources, path: Path, count: int) -> dict[str, Any]:
    """In submitit's names. The notebook runs once, on the first node; its training reaches out to the others."""
    given = {"partition": asked.partition, "account": asked.account, "qos": asked.qos, "constraint": asked.constraint}
    given |= {"gpus_per_node": asked.gpus, "cpus_per_task": asked.cpus}
    given |= {
        "mem": f"{round(asked.mem * 1000)}M" if asked.mem else None,
        "array_parallelism": asked.max_parallel or count,
    }
    step = ["--nodes=1", "--ntasks=1"] if asked.nodes > 1 else []
    step += [f"--cpus-per-task={asked.cpus}"] if asked.cpus else []  # which srun does not take from sbatch any more
    found = {name: value for name, value in given.items() if value is not None}
    found |= {"time": ceil(asked.time), "nodes": asked.nodes, "ntasks_per_node": 1, "srun_args": step or None}
    return {**found, "job_name": path.name, "comment": _comment(path), "signal_delay_s": asked.grace}


class Local:
    """submitit's local executor, given as many jobs at once as this machine bears, by a process that outlives this."""

    name = "local"

    def fitted(self, asked: Resources) -> Resources:
        there = {"cpus": cores(), "gpus": _gpus(), "nodes": 1}
        wrong = [
            f"  - {name}: saw {getattr(asked, name)}; this machine has {most}"
            for name, most in there.items()
            if (getattr(asked, name) or 0) > most
        ]
        wrong += [
            f"  - {name}: saw {getattr(asked, name)!r}, which only a cluster with Slurm has"
            for name in ("partition", "account", "qos", "constraint", "mem")
            if getattr(asked, name) is not None
        ]
        if wrong:
            raise ValueError("this machine does not have what is asked for:\n" + "\n".join(wrong))
        gpus = min(1, there["gpus"]) if asked.gpus is None else asked.gpus
        bears = min(there["cpus"] // (asked.cpus or 1), there["gpus"] // gpus if gpus else FOREVER)
        most = min(asked.max_parallel or bears, bears)
        return asked.model_copy(update={"gpus": gpus, "cpus": asked.cpus or 1, "max_parallel": most})

    def start(self, sweep: Sweep, points: Sequence[str]) -> None:
        sweep.note_jobs(dict.fromkeys(points, WAITING))
        command = [*shlex.split(python_of(sweep)), "-m", "n2n.launch.dispatcher", str(sweep.path)]
        (sweep.path / LOGS).mkdir(exist_ok=True)
        with open(sweep.path / LOGS / "dispatcher.log", "ab") as log, outside_any_job():
            quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            process = subprocess.Popen(command, start_new_session=True, **quiet)
        process.returncode = 0  # it is not waited for: it outlives this process

    def live(self, sweep: Sweep) -> dict[str, Live]:
        waits = bool(_dispatchers(sweep))
        found = {point: self._live(sweep, point, job, waits) for point, job in sweep.jobs.items()}
        return {point: live for point, live in found.items() if live}

    def _live(self, sweep: Sweep, point: str, job: str, waits: bool) -> Live | None:
        if job != WAITING and controller(job, sweep):
            return Live(running=True)
        comes_back = job == WAITING or told(sweep.path / point).get("state") == "requeued"
        return Live(running=False) if waits and comes_back else None

    def cancel(self, sweep: Sweep) -> None:
        sweep.note_jobs({point: "cancelled" for point, job in sweep.jobs.items() if job == WAITING})
        dispatchers = _dispatchers(sweep)
        for process in dispatchers:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs(dispatchers, SECONDS)  # none starts another job now
        for job in sweep.jobs.values():
            running = controller(job, sweep)
            with contextlib.suppress(psutil.NoSuchProcess):
                running and running.terminate()  # submitit's controller passes it on


def _dispatchers(sweep: Sweep) -> list[psutil.Process]:
    """The processes that start this sweep's local jobs, one of them at a time."""
    ends = ["n2n.launch.dispatcher", str(sweep.path)]
    return [process for process in psutil.process_iter(["cmdline"]) if (process.info["cmdline"] or [])[-2:] == ends]


def controller(job: str, sweep: Sweep) -> psutil.Process | None:
    """submitit's process that runs a local job of a sweep, if it is there."""
    try:
        process = psutil.Process(int(job))
        there = process.status() != psutil.STATUS_ZOMBIE and str(sweep.path / LOGS) in process.cmdline()
    except (psutil.Error, ValueError):
        return None
    return process if there else None


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


class Debug:
    """In this process, one after another."""

    name = "debug"

    def fitted(self, asked: Resources) -> Resources:
        given = {name: value for name, value in asked.model_dump().items() if value != getattr(Resources(), name)}
        if given:
            raise ValueError(f"cluster: 'debug' is this process as it is, so it gives no {', '.join(given)}")
        return asked

    def start(self, sweep: Sweep, points: Sequence[str]) -> None:
        from submitit import DebugExecutor

        executor = DebugExecutor(sweep.path / LOGS)
        for point in points:
            job = executor.submit(job_of(sweep, point))
            sweep.note_jobs({point: job.job_id})
            job.exception()  # runs it; ``result`` would open a debugger
            if told(sweep.path / point).get("state") == "preempted":
                return  # this process was told to end

    def live(self, sweep: Sweep) -> dict[str, Live]:
        return {}

    def cancel(self, sweep: Sweep) -> None:
        """Nothing runs that this process does not wait for."""


CLUSTERS: dict[str, type[Cluster]] = {"slurm": Slurm, "local": Local, "debug": Debug}


def chosen(name: str) -> Cluster:
    """A cluster by name; ``"auto"`` is Slurm where it answers, else this machine.

    Raises:
        ValueError: an unknown name, or Slurm where there is none.
    """
    if name not in ("auto", *CLUSTERS):
        raise ValueError(unknown("cluster", name, ["auto", *CLUSTERS]))
    if name == "auto":
        return Slurm() if slurm.available() else Local()
    if name == "slurm" and not slurm.available():
        raise ValueError("cluster: saw 'slurm', but no Slurm answers here (sinfo); 'local' runs on this machine")
    return CLUSTERS[name]()
