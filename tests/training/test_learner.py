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


def test_a_step_draws_the_numbers_of_its_own_seed(monkeypatch):
    """Those of ``torch.manual_seed``, whatever was drawn before, so that dropout survives a resume."""
    drawn = []
    monkeypatch.setattr(learner, "update", lambda *arguments: (drawn.append(torch.rand(5)), torch.zeros(()))[::-1])
    one = learner.Learner(settings := config(), torch.device("cpu"), ProcessGroup())
    tokens = torch.zeros(settings.batch_size, settings.seq_len, dtype=torch.int64)
    for step in range(2):
        torch.rand(step + 1)
        one.update(tokens, None)
        torch.manual_seed(learner.step_seed(settings.seed, step, 0))
        assert torch.equal(drawn[step], torch.rand(5))
    assert not torch.equal(*drawn)
