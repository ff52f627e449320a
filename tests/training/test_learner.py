import pytest
import torch
from support.run_folders import config

from n2n.training import learner
from n2n.training.process_group import ProcessGroup


@pytest.mark.parametrize(("rank", "counts"), [(0, 1), (1, 0)])
def test_only_the_first_process_counts_operations(rank, counts, monkeypatch):
    calls, real = [], learner.forward_flops
    monkeypatch.setattr(learner, "forward_flops", lambda *arguments: calls.append(1) or real(*arguments))
    monkeypatch.setattr(ProcessGroup, "parallelize", lambda group, objective, parallel, device: objective)
    first = learner.Learner(config(), torch.device("cpu"), ProcessGroup(rank, 2))
    assert len(calls) == counts
    assert (first.forward_flops > 0) == (counts == 1)
