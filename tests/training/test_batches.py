import pytest
from support.run_folders import config

from n2n.data import Batches
from n2n.training import batches
from n2n.training.process_group import ProcessGroup


def test_a_rehearsal_counts_no_operations_and_draws_no_batch(monkeypatch):
    """A rehearsal takes the time of the forward and backward passes of a step."""
    model, source = config().build_model(), batches.open_batches(config(), ProcessGroup())
    passes = batches.rehearsal(model, source, config())
    monkeypatch.setattr(batches, "forward_flops", lambda *_: pytest.fail("counted"))
    monkeypatch.setattr(Batches, "batch", lambda *_: pytest.fail("drawn"))
    passes()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_batch_size_is_checked_before_a_dataset_is_read(monkeypatch):
    monkeypatch.setattr(batches, "open_data", lambda *_: pytest.fail("read"))
    with pytest.raises(ValueError, match=r"batch_size: saw 4; a multiple of processes \(3\) times accumulate \(1\)"):
        batches.open_batches(config(), ProcessGroup(0, 3))
