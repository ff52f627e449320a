"""Hardware of a run: its device, its nodes, and whether it fits in memory."""

from __future__ import annotations

import os

import psutil
import torch

from n2n.config.limits import BYTES_PER_PARAMETER, MAX_OPTION_FACTOR, min_bytes, min_parameters, over_limit
from n2n.config.train_config import TrainConfig
from n2n.training.process_group import ProcessGroup


def choose_device(config: TrainConfig, group: ProcessGroup) -> torch.device:
    """The device on which this process trains.

    Raises:
        ValueError: if there is no such device, too few GPUs, or a kernel that needs one.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cuda" and not gpus:
        raise ValueError("device: saw 'cuda', but torch sees no CUDA GPU here (allowed: auto, cpu)")
    if config.device == "cpu" or not gpus:
        if config.kernels == "fused":
            raise ValueError("kernels: saw 'fused', but the run is on the CPU (allowed there: auto, torch)")
        return torch.device("cpu")
    if config.processes > 1 and processes_per_node(config) > gpus:
        raise ValueError(f"processes: saw {config.processes}, but there are {gpus} GPUs here, one for each")
    if group.size > 1:
        torch.cuda.set_device(group.local_rank)
    return torch.device("cuda", torch.cuda.current_device())


def check_memory(config: TrainConfig, device: torch.device) -> None:
    """Check that this machine can hold the run, before the run has a folder; otherwise most runs would fail late.

    Raises:
        ValueError: if it cannot.
    """
    memory = psutil.virtual_memory().total + psutil.swap_memory().total
    if device.type == "cuda":
        memory = max(memory, torch.cuda.get_device_properties(device).total_memory)
    parameters = min_parameters(dict(config))
    if MAX_OPTION_FACTOR * BYTES_PER_PARAMETER * parameters > memory:  # an exact count takes seconds
        with torch.device("meta"):
            parameters = config.build_model().num_parameters
    machine = f"this machine has {memory / 2**30:,.0f} GiB"
    if problems := over_limit(min_bytes(dict(config), parameters), memory, machine):
        raise ValueError("\n".join(problems))


def processes_per_node(config: TrainConfig) -> int:
    """The number of processes that train on each node.

    Raises:
        ValueError: if the nodes of this Slurm job do not divide the processes.
    """
    if config.processes % nodes():
        raise ValueError(f"processes: saw {config.processes}, which the job's {nodes()} nodes do not divide")
    return config.processes // nodes()


def nodes() -> int:
    """The number of nodes of this Slurm job; 1 outside of one."""
    return int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
