"""What a Slurm cluster says of itself and of its jobs, without accounting: sinfo, squeue, scontrol, scancel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from n2n.launch.resources import MAX_TIME, Resources, minutes
from n2n.utils.strict import unknown

SECONDS = 60  # that a command may take
FALLBACK_TIME = 60  # minutes, where neither the caller nor the cluster says
_INFO = "%P|%l|%L|%D|%c|%m|%G|%f"  # partition, limit, default time, nodes, cpus, MB, generic resources, features


@dataclass(frozen=True)
class Partition:
    """A partition's limits, the largest of its kinds of nodes: minutes (None: no limit), GB."""

    name: str
    default: bool
    time_limit: float | None
    default_time: float | None
    nodes: int
    cpus: int
    mem: float
    gpus: int
    features: frozenset[str]


def ask(*command: str, given: str | None = None) -> str:
    """What a command of Slurm prints, ``given`` on its standard input.

    Raises:
        OSError: it is not there, fails, or does not answer.
    """
    said = {"capture_output": True, "text": True, "timeout": SECONDS}
    try:
        done = subprocess.run(command, input=given, check=False, **said)
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} did not answer within {SECONDS} s") from None
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def available() -> bool:
    """Whether there is a Slurm here.

    Raises:
        OSError: there is, and its controller does not answer.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        return False
    try:
        return bool(ask("sinfo", "-h", "-o", "%P").strip())
    except OSError as error:
        if "Unable to contact slurm controller" in str(error) or "did not answer" in str(error):
            raise
        return False  # its programs are installed and belong to no cluster


def partitions() -> dict[str, Partition]:
    """The cluster's partitions by name.

    Raises:
        OSError: no answer.
    """
    found: dict[str, Partition] = {}
    for line in ask("sinfo", "-h", "-o", _INFO).splitlines():
        name, limit, default, nodes, cpus, mem, gres, features = line.strip().split("|")
        one = Partition(
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
        found[one.name] = _joined(found[one.name], one) if one.name in found else one
    return found


def _joined(one: Partition, other: Partition) -> Partition:
    """Two kinds of nodes of one partition."""
    largest = {name: max(getattr(one, name), getattr(other, name)) for name in ("cpus", "mem", "gpus")}
    both = {"nodes": one.nodes + other.nodes, "features": one.features | other.features}
    return Partition(one.name, one.default, one.time_limit, one.default_time, **largest, **both)


def _time(text: str) -> float | None:
    return None if text in ("infinite", "n/a", "UNLIMITED") else minutes(text)


def fitted(asked: Resources) -> Resources:
    """The resources with the cluster's own defaults in the place of None.

    Raises:
        ValueError: a partition that the cluster does not have, or more than it has; one line for each.
        OSError: no answer.
    """
    known = partitions()
    defaults = [name for name, one in known.items() if one.default]
    name = asked.partition or (defaults or list(known))[0]
    if name not in known:
        raise ValueError(f"partition: {unknown('partition', name, known)}")
    there = known[name]
    wrong = [line for line in _too_much(asked, there) if line]
    if wrong:
        raise ValueError(f"the partition {name!r} does not have what is asked for:\n" + "\n".join(wrong))
    if asked.time is None:
        time = min(there.default_time or min(there.time_limit or FALLBACK_TIME, FALLBACK_TIME), MAX_TIME)
        return asked.model_copy(update={"partition": name, "time": time})
    return asked.model_copy(update={"partition": name})


def _too_much(asked: Resources, there: Partition) -> list[str | None]:
    limits = {"time": there.time_limit, "nodes": there.nodes, "cpus": there.cpus, "mem": there.mem, "gpus": there.gpus}
    units = {"time": " minutes", "mem": " GB a node", "cpus": " a node", "gpus": " a node"}
    wrong = [
        f"  - {name}: saw {getattr(asked, name):g}; at most {limit:g}{units.get(name, '')}"
        for name, limit in limits.items()
        if limit is not None and getattr(asked, name) is not None and getattr(asked, name) > limit
    ]
    plain = asked.constraint if asked.constraint and asked.constraint.isidentifier() else None
    if plain and plain not in there.features:
        wrong.append(f"  - constraint: {unknown('feature', plain, sorted(there.features))}")
    return wrong


def rehearse(header: str) -> None:
    """Have Slurm itself say whether it would take a job: accounts and qualities of service are known to it alone.

    Raises:
        ValueError: it would not; in its own words.
    """
    try:
        ask("sbatch", "--test-only", given=f"{header}\ntrue\n")
    except OSError as error:
        raise ValueError(f"the cluster would not take such a job: {error}") from None


def most_in_an_array() -> int:
    """Jobs that one array may have."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"))
    return max(1, int(found[1]) - 1) if found else 1000


class Live(NamedTuple):
    """A job that is there: whether it runs (or waits), and what is left of its time."""

    running: bool
    left: str = ""


def queue(arrays: Iterable[str]) -> dict[str, Live]:
    """The jobs still there, by submitit's identifiers (``"12"``, ``"12_3"``), of some arrays or single jobs.

    Raises:
        OSError: no answer.
    """
    wanted = set(arrays)
    if not wanted:
        return {}
    lines = ask("squeue", "-h", "-r", "-o", "%F|%i|%T|%L").splitlines()
    rows = (line.strip().split("|") for line in lines)
    ending = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
    return {
        job: Live(state in ("RUNNING", "COMPLETING"), left)
        for array, job, state, left in rows
        if array in wanted and state not in ending
    }


def cancel(comment: str) -> None:
    """Take back every job with a comment: those that run are told to save, and do not come back.

    Raises:
        OSError: no answer.
    """
    rows = (line.strip().split("|", 1) for line in ask("squeue", "-h", "-o", "%F|%k").splitlines())
    found = sorted({job for job, said in rows if said == comment})
    for i in range(0, len(found), 500):  # a command line has an end
        ask("scancel", *found[i : i + 500])
