"""State in checkpoints: one process saves the dictionaries that torch gathers from several."""

import copy

import pytest
import torch
from support.run_folders import config
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_state_dict,
)

from n2n.training import state_dicts
from n2n.training.learner import Learner
from n2n.training.process_group import ProcessGroup

FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


def learner(arch: str, steps: int) -> Learner:
    learner = Learner(config(arch=arch, layers=2), torch.device("cpu"), ProcessGroup())
    for step in range(steps):
        learner.update(torch.from_numpy(learner.batches.batch(step).tokens), None)
    return learner


def state(learner: Learner) -> dict:
    return copy.deepcopy(state_dicts.gather_optimizer(learner.objective, learner.optimizer, learner.group))


def equal(one, other) -> bool:
    """Whether nested dictionaries and lists are equal, tensors to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple):  # torch loads tuples as lists
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if torch.is_tensor(one) else one == other


@pytest.mark.parametrize("arch", ["transformer", "mamba", "hawk"])
def test_one_process_saves_like_torch(arch):
    trained = learner(arch, steps=3)
    weights = state_dicts.gather_weights(trained.objective, trained.group)
    assert equal(weights, get_model_state_dict(trained.objective, options=FULL))
    assert equal(state(trained), get_optimizer_state_dict(trained.objective, trained.optimizer, options=FULL))


def test_one_process_loads_like_torch():
    trained, ours, theirs = learner("mamba", 3), learner("mamba", 0), learner("mamba", 0)
    weights = state_dicts.gather_weights(trained.objective, trained.group)
    state_dicts.load(ours.objective, ours.optimizer, ours.group, weights, state(trained))
    set_state_dict(
        theirs.objective,
        theirs.optimizer,
        model_state_dict=weights,
        optim_state_dict=state(trained),
        options=StateDictOptions(full_state_dict=True),
    )
    assert equal(state(ours), state(theirs))
    assert equal(state(ours), state(trained))
    for one in (ours, theirs, trained):
        one.done = 3
        one.update(torch.from_numpy(one.batches.batch(3).tokens), None)
    assert equal(trained.model.state_dict(), ours.model.state_dict())
    assert equal(trained.model.state_dict(), theirs.model.state_dict())
