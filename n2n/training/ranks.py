"""The processes that train one model together: who they are, what they agree on, how gradients are shared."""

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
LAUNCHED = "N2N_LAUNCHED"  # an environment variable of ranks whose launcher answers for the run's folder


@dataclass(frozen=True)
class Ranks:
    """One process among those that train together; alone, unless torchrun started it.

    Args:
        rank: of this process, from 0.
        count: how many there are.
        local: its number on this machine, which names its GPU.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @classmethod
    def here(cls) -> Ranks:
        """As torchrun's environment variables have it."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return cls(*(int(os.environ[name]) for name in names)) if started_by_torchrun() else cls()

    @property
    def first(self) -> bool:
        """Whether this one writes the run's folder."""
        return self.rank == 0

    @contextlib.contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """In touch with the others: NCCL between GPUs, gloo between CPUs.

        On one machine gloo takes the loopback interface unless ``$GLOO_SOCKET_IFNAME`` names another: by itself it asks
        for the address of the machine's own name, which may have none.
        """
        if self.count == 1:
            yield
            return
        if os.environ.get("LOCAL_WORLD_SIZE") == str(self.count) and (loopback := _loopback()):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any rank, the same answer for all."""
        if self.count == 1:
            return flag
        seen = torch.tensor(int(flag))
        dist.all_reduce(seen, dist.ReduceOp.MAX)
        return bool(seen)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks."""
        if self.count > 1:
            dist.all_reduce(values := values.clone())
            values /= self.count
        return values

    def tell(self, value: Any) -> Any:
        """The first rank's value, on all."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def share(self, objective: nn.Module, parallel: Parallel, device: torch.device) -> nn.Module:
        """A module whose gradients are the mean over ranks: replicas (DDP), or weights in shards (FSDP2).

        Args:
            objective: from tokens to losses; ``objective.model.blocks`` are sharded one by one.
            parallel: ``"ddp"`` or ``"fsdp"``.
            device: where it is.
        """
        if self.count == 1:
            return objective
        if parallel == "ddp":
            return nn.parallel.DistributedDataParallel(objective)
        from torch.distributed.fsdp import fully_shard

        mesh = dist.init_device_mesh(device.type, (self.count,))
        for block in objective.model.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(objective, mesh=mesh)


def _loopback() -> str | None:
    """The name of the interface with the address 127.0.0.1, if there is one."""
    found = psutil.net_if_addrs().items()
    return next((name for name, addresses in found if any(one.address == "127.0.0.1" for one in addresses)), None)


def started_by_launcher() -> bool:
    """Whether ``n2n.training.torchrun`` started this process."""
    return started_by_torchrun() and LAUNCHED in os.environ


def started_by_torchrun() -> bool:
    """Whether this process is one of those that torchrun, or another elastic launcher, started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


@contextlib.contextmanager
def shared_at_the_end(objective: nn.Module, last: bool) -> Iterator[None]:
    """Gradients of accumulated parts are summed here, and shared with the other ranks after the last part alone."""
    if isinstance(objective, nn.parallel.DistributedDataParallel) and not last:
        with objective.no_sync():
            yield
        return
    if hasattr(objective, "set_requires_gradient_sync"):
        objective.set_requires_gradient_sync(last)
    yield
