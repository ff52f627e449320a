"""Queries to a Slurm cluster without accounting, through sinfo, squeue, scontrol and scancel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from n2n.launch.resources import MAX_TIME, Resources, minutes
from n2n.utils.strict import unknown_name_message

TIMEOUT = 60  # seconds for one command
FALLBACK_TIME = 60  # minutes, if neither the caller nor the cluster sets a time
_INFO = "%P|%l|%L|%D|%c|%m|%G|%f"  # partition, limit, default time, nodes, cpus, MB, generic resources, features
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


@dataclass(frozen=True)
class Partition:
    """Limits of a partition; where its nodes differ, the largest.

    Attributes:
        time_limit: minutes (None: no limit).
        default_time: minutes (None: the time limit).
        nodes: number of nodes.
        cpus, gpus: number on each node.
        mem: GB on each node.
    """

    name: str
    default: bool
    time_limit: float | None
    default_time: float | None
    nodes: int
    cpus: int
    mem: float
    gpus: int
    features: frozenset[str]


def run_command(*command: str, stdin: str | None = None) -> str:
    """Run a Slurm command and return its output.

    Raises:
        OSError: if the command is missing, fails, or does not answer in time.
    """
    try:
        process = subprocess.run(command, input=stdin, check=False, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} did not answer within {TIMEOUT} s") from None
    if process.returncode:
        raise OSError(f"{' '.join(command)}: {(process.stderr or process.stdout).strip()}")
    return process.stdout


def available() -> bool:
    """Return whether this machine belongs to a Slurm cluster.

    Raises:
        OSError: if it does, but the cluster's controller does not answer.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        return False
    try:
        return bool(run_command("sinfo", "-h", "-o", "%P").strip())
    except OSError as error:
        if "Unable to contact slurm controller" in str(error) or "did not answer" in str(error):
            raise
        return False  # Slurm is installed, but not configured for a cluster


def partitions() -> dict[str, Partition]:
    """Return the cluster's partitions by name.

    Raises:
        OSError: if the cluster does not answer.
    """
    by_name: dict[str, Partition] = {}
    for line in run_command("sinfo", "-h", "-o", _INFO).splitlines():
        name, limit, default, nodes, cpus, mem, gres, features = line.strip().split("|")
        partition = Partition(
            name=name.rstrip("*"),
            default=name.endswith("*"),
            time_limit=_time(limit),
            default_time=_time(default),
            nodes=int(nodes),
            cpus=int(cpus.rstrip("+")),
            mem=int(mem.rstrip("+")) / 1000,
            gpus=sum(int(count) for count in re.findall(r"gpu(?::[^:,()]+)?:(\d+)", gres)),
            features=frozenset(features.split(",")) - {"(null)"},
        )
        other = by_name.get(partition.name)
        by_name[partition.name] = _merge(other, partition) if other else partition
    return by_name


def _merge(one: Partition, other: Partition) -> Partition:
    """Merge two kinds of nodes of the same partition."""
    largest = {name: max(getattr(one, name), getattr(other, name)) for name in ("cpus", "mem", "gpus")}
    both = {"nodes": one.nodes + other.nodes, "features": one.features | other.features}
    return Partition(one.name, one.default, one.time_limit, one.default_time, **largest, **both)


def _time(text: str) -> float | None:
    return None if text in ("infinite", "n/a", "UNLIMITED") else minutes(text)


def resolve(requested: Resources) -> Resources:
    """Return the resources with the cluster's partition and time in place of None.

    Raises:
        ValueError: if the partition does not exist, or has less than is requested; one line for each.
        OSError: if the cluster does not answer.
    """
    known = partitions()
    defaults = [name for name, partition in known.items() if partition.default]
    name = requested.partition or (defaults or list(known))[0]
    if name not in known:
        raise ValueError(f"partition: {unknown_name_message('partition', name, known)}")
    partition = known[name]
    errors = _errors(requested, partition)
    if errors:
        raise ValueError(f"the partition {name!r} cannot provide these resources:\n" + "\n".join(errors))
    time = requested.time
    if time is None:
        time = min(partition.default_time or min(partition.time_limit or FALLBACK_TIME, FALLBACK_TIME), MAX_TIME)
    return requested.model_copy(update={"partition": name, "time": time})


def _errors(requested: Resources, partition: Partition) -> list[str]:
    limits = {name: getattr(partition, name) for name in ("nodes", "cpus", "mem", "gpus")}
    units = {"time": " minutes", "mem": " GB a node", "cpus": " a node", "gpus": " a node"}
    errors = [
        f"  - {name}: saw {getattr(requested, name):g}; at most {limit:g}{units.get(name, '')}"
        for name, limit in {"time": partition.time_limit, **limits}.items()
        if limit is not None and getattr(requested, name) is not None and getattr(requested, name) > limit
    ]
    constraint = requested.constraint
    is_feature = constraint is not None and constraint.isidentifier()  # an expression of several is left to Slurm
    if is_feature and constraint not in partition.features:
        errors.append(f"  - constraint: {unknown_name_message('feature', constraint, sorted(partition.features))}")
    return errors


def check_script(header: str) -> None:
    """Ask Slurm whether it would accept a job; only Slurm knows the accounts and qualities of service.

    Args:
        header: the ``#SBATCH`` lines of the batch script.

    Raises:
        ValueError: if it would not, with Slurm's own message.
    """
    try:
        run_command("sbatch", "--test-only", stdin=f"{header}\ntrue\n")
    except OSError as error:
        raise ValueError(f"the cluster would not accept such a job: {error}") from None


def max_array_size() -> int:
    """Return the maximum number of jobs in an array."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", run_command("scontrol", "show", "config"))
    return max(1, int(match[1]) - 1) if match else 1000


class Live(NamedTuple):
    """A job that waits or runs.

    Attributes:
        running: whether it runs.
        left: time left until its limit, as Slurm prints it; empty if unknown.
    """

    running: bool
    left: str = ""


def queue(arrays: Iterable[str]) -> dict[str, Live]:
    """Return the jobs of some arrays or single jobs that wait or run.

    Returns:
        the jobs by submitit's identifiers, ``"12"`` or ``"12_3"``.

    Raises:
        OSError: if the cluster does not answer.
    """
    wanted = set(arrays)
    if not wanted:
        return {}
    lines = run_command("squeue", "-h", "-r", "-o", "%F|%i|%T|%L").splitlines()
    rows = (line.strip().split("|") for line in lines)
    return {
        job: Live(state in ("RUNNING", "COMPLETING"), left)
        for array, job, state, left in rows
        if array in wanted and state not in _ENDED
    }


def cancel(comment: str) -> None:
    """Cancel every job with this comment. Running jobs save; none is queued again.

    Raises:
        OSError: if the cluster does not answer.
    """
    rows = (line.strip().split("|", 1) for line in run_command("squeue", "-h", "-o", "%F|%k").splitlines())
    jobs = sorted({job for job, job_comment in rows if job_comment == comment})
    for i in range(0, len(jobs), 500):  # the length of a command line is limited
        run_command("scancel", *jobs[i : i + 500])
