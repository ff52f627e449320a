"""Resources of each job of a sweep."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from n2n.utils.configuration import Configuration
from n2n.utils.strict import Count, NonNegativeInt, Positive, short_repr

MIN_GRACE, MAX_GRACE = 5, 24 * 60 * 60  # seconds
MAX_TIME = 10 * 366 * 24 * 60  # minutes
MIN_MEM, MAX_MEM = 1e-3, 1e6  # GB; Slurm reads 0 MB as all memory of a node
MAX_UNITS = 10**6  # of GPUs, cores, nodes, jobs
MAX_WORD = 200  # characters


def word(value: str) -> str:
    """Check a name that goes into a line of the batch script: printable characters without a space."""
    if not value or len(value) > MAX_WORD or " " in value or not value.isprintable():
        needed = f"1 to {MAX_WORD} printable characters without a space are needed"
        raise ValueError(f"saw {short_repr(value)}; {needed}")
    return value


Word = Annotated[str, AfterValidator(word)]
Units = Annotated[Count, Field(le=MAX_UNITS)]


def minutes(value: object) -> object:
    """Convert Slurm's times to minutes: ``MM``, ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``.

    Values that are not text are returned as they are.
    """
    if not isinstance(value, str):
        return value
    number = "([0-9]{1,9})"
    match = re.fullmatch(f"(?:{number}-)?{number}(?::{number})?(?::{number})?", value.strip())
    if not match:
        raise ValueError(f"saw {short_repr(value)}; minutes, HH:MM:SS or D-HH:MM:SS are needed")
    days, *parts = match.groups()
    first, second, third = (int(part) if part else 0 for part in parts)
    if days is not None:
        return int(days) * 1440 + first * 60 + second + third / 60
    return first + second / 60 if parts[2] is None else first * 60 + second + third / 60


class Resources(Configuration):
    """Resources of each job of a sweep. None means the cluster's default.

    Args:
        time: minutes after which a job saves, stops and, if it made progress, is queued again; or Slurm's
            ``HH:MM:SS``.
        partition: partition of the cluster.
        gpus: GPUs on each node.
        cpus: cores on each node, which is also the number of torch's threads.
        mem: GB on each node.
        nodes: number of nodes, each of which runs one torchrun of the training.
        account, qos, constraint: names as in Slurm.
        max_parallel: maximum number of jobs at once for a submission (None: no limit on a cluster; on this machine as
            many as there are cores and GPUs).
        grace: seconds before the end of a job's time at which it saves.

    Raises:
        ValueError: one line for each wrong field: the value seen, what is allowed, the nearest name.
    """

    time: Annotated[Annotated[Positive, Field(le=MAX_TIME)] | None, BeforeValidator(minutes)] = None
    partition: Word | None = None
    gpus: Annotated[NonNegativeInt, Field(le=MAX_UNITS)] | None = None
    cpus: Units | None = None
    mem: Annotated[Positive, Field(ge=MIN_MEM, le=MAX_MEM)] | None = None
    nodes: Units = 1
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    max_parallel: Units | None = None
    grace: Annotated[Count, Field(ge=MIN_GRACE, le=MAX_GRACE)] = 120

    @model_validator(mode="after")
    def _check_grace(self) -> Resources:
        if self.time is not None and self.grace >= 60 * self.time:
            raise ValueError(f"grace: saw {self.grace} s, which leaves nothing of the {self.time:g} minutes of time")
        return self

    @property
    def processes(self) -> int:
        """Number of processes that train together in a job: one for each GPU, or one for each node without GPUs."""
        return self.nodes * max(1, self.gpus or 0)
