"""Complete weights and optimizer state of a model in training, by name, for any number of processes.

torch gathers the shards of several processes. One process has everything, so that it does not import torch's tools for
that, which takes longer than a small run needs to start. Both ways return and accept the same dictionaries. Tensors
that are on the CPU already are not copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from n2n.training.process_group import ProcessGroup


def gather_weights(objective: nn.Module, group: ProcessGroup) -> dict[str, Tensor]:
    """All weights on the CPU. Every process has to call; the first one receives sharded weights."""
    if group.size == 1:
        return _on_cpu(objective.state_dict())
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(objective, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def gather_optimizer(objective: nn.Module, optimizer: torch.optim.Optimizer, group: ProcessGroup) -> dict[str, Any]:
    """The optimizer's state on the CPU, with names instead of numbers of parameters. Every process has to call."""
    if group.size == 1:
        state, names = optimizer.state_dict(), _names(objective, optimizer)
        groups = [{**one, "params": [names[i] for i in one["params"]]} for one in state["param_groups"]]
        return {"state": {names[i]: _on_cpu(value) for i, value in state["state"].items()}, "param_groups": groups}
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_optimizer_state_dict(objective, optimizer, options=options)


def load(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    group: ProcessGroup,
    weights: Mapping[str, Tensor],
    optimizer_state: Mapping[str, Any],
) -> None:
    """Load what ``gather_weights`` and ``gather_optimizer`` returned. Every process has to call."""
    if group.size == 1:
        objective.load_state_dict(weights)
        numbers = {name: i for i, name in enumerate(_names(objective, optimizer))}
        state = {numbers[name]: value for name, value in optimizer_state["state"].items()}
        groups = [
            {**one, "params": [numbers[name] for name in one["params"]]} for one in optimizer_state["param_groups"]
        ]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    set_state_dict(
        objective,
        optimizer,
        model_state_dict=dict(weights),
        optim_state_dict=dict(optimizer_state),
        options=StateDictOptions(full_state_dict=True),
    )


def _names(objective: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which the optimizer numbers them."""
    names = {parameter: name for name, parameter in objective.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}
