import numpy as np
import pytest
import torch
from support.run_folders import assert_same_run, config

import n2n
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


IN_CONTEXT = n2n.Graph(
    nodes=[
        n2n.Node(name="A", num_states=3, mode="context"),
        n2n.Node(name="B", num_states=4, parents=("A",)),
        n2n.Node(name="X", num_states=5, parents=("B",), observed=True, mode="context", alpha=0.3),
    ]
)


def told(process: n2n.Process, tokens: np.ndarray, sequences: np.ndarray) -> float:
    """The mean loss with each sequence's kernels, a filter for each of them."""
    rows = zip(sequences, tokens.astype(int), strict=True)
    return np.mean([n2n.filter(process.of_sequence(int(i)), row[None]).nll.mean().item() for i, row in rows])


@pytest.mark.parametrize("pool", [None, 3])
@pytest.mark.parametrize("data", ["online", "a dataset"])
def test_in_context_the_oracle_is_told_the_kernels_of_each_sequence(data, pool, tmp_path, monkeypatch):
    """Also in the later, shuffled epochs of a dataset, and in a run that is resumed within them."""
    graph = IN_CONTEXT.model_copy(update={"pool": pool})
    process, fields = n2n.Process(graph), {"graph": graph, "steps": 12, "checkpoint_every": 6}
    indices = np.arange(48)
    if data != "online":
        store = n2n.data.generate(process, tmp_path / "train.npy", 10, 12)
        fields["data"] = str(store.path)
        indices = n2n.data.Epochs(store).indices(0, 48)
    whole = n2n.train(config(**fields, run_dir=str(tmp_path / "whole")))
    for step, logged in zip(whole.metrics["step"], whole.metrics["oracle_nll"], strict=True):
        sequences = indices[4 * step : 4 * step + 4]
        tokens = np.concatenate([process.sample(1, length=12, start=int(i)).tokens for i in sequences])
        assert logged == pytest.approx(told(process, tokens, sequences), abs=1e-12)
    parts = config(**fields, run_dir=str(tmp_path / "parts"))
    real, updates = learner.update, iter(range(9))  # it fails in its tenth step, after a checkpoint of six
    with monkeypatch.context() as patch:
        patch.setattr(learner, "update", lambda *arguments: next(updates) is None or real(*arguments))
        with pytest.raises(StopIteration):
            n2n.train(parts)
    assert n2n.Run(tmp_path / "parts").steps == [6]
    assert_same_run(n2n.train(parts), whole)
