"""The processes that train one model together: their ranks, what they agree on, and how they share gradients."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn

Parallel = Literal["ddp", "fsdp"]
LAUNCHED = "N2N_LAUNCHED"  # an environment variable of processes whose launcher is responsible for the run's folder


@dataclass(frozen=True)
class ProcessGroup:
    """This process and those that train with it; a group of one unless torchrun started it.

    Args:
        rank: number of this process, from 0.
        size: number of processes.
        local_rank: number of this process on its machine, which selects its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> ProcessGroup:
        """The group that torchrun's environment variables describe."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return cls(*(int(os.environ[name]) for name in names)) if launched_by_torchrun() else cls()

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.rank == 0

    @contextlib.contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """Connect to the other processes: by NCCL between GPUs, by gloo between CPUs.

        On a single machine gloo uses the loopback interface unless ``$GLOO_SOCKET_IFNAME`` names another one. By
        default gloo would look up the address of the machine's own name, which may not resolve.
        """
        if self.size == 1:
            yield
            return
        if os.environ.get("LOCAL_WORLD_SIZE") == str(self.size) and (loopback := _loopback()):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; the same answer in all."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes."""
        if self.size > 1:
            dist.all_reduce(values := values.clone())
            values /= self.size
        return values

    def broadcast(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def parallelize(self, objective: nn.Module, parallel: Parallel, device: torch.device) -> nn.Module:
        """A module whose gradients are the mean over processes: replicas (DDP), or sharded weights (FSDP2).

        Args:
            objective: from tokens to losses; ``objective.model.blocks`` are sharded one by one.
            parallel: ``"ddp"`` or ``"fsdp"``.
            device: where the module is.
        """
        if self.size == 1:
            return objective
        if parallel == "ddp":
            return nn.parallel.DistributedDataParallel(objective)
        from torch.distributed.fsdp import fully_shard

        mesh = dist.init_device_mesh(device.type, (self.size,))
        for block in objective.model.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(objective, mesh=mesh)


def _loopback() -> str | None:
    """The name of the interface with the address 127.0.0.1; None if there is none."""
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, addresses in interfaces if any(a.address == "127.0.0.1" for a in addresses)), None)


def launched_by_n2n() -> bool:
    """Whether ``n2n.training.torchrun`` started this process."""
    return launched_by_torchrun() and LAUNCHED in os.environ


def launched_by_torchrun() -> bool:
    """Whether torchrun, or another elastic launcher, started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


@contextlib.contextmanager
def synchronized_at_last(objective: nn.Module, *, last: bool) -> Iterator[None]:
    """Accumulate the gradients of a micro-batch in this process; share them after the last micro-batch."""
    if isinstance(objective, nn.parallel.DistributedDataParallel) and not last:
        with objective.no_sync():
            yield
        return
    if hasattr(objective, "set_requires_gradient_sync"):
        objective.set_requires_gradient_sync(last)
    yield
