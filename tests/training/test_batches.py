import pytest
from support.run_folders import config

import n2n
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


def test_a_number_of_sequences_makes_online_data_finite(small):
    """The first epoch is the stream's; later ones are permutations of its sequences."""
    finite, stream = batches.open_data(small(sequences=6)), batches.open_data(small())
    assert (finite.take(0, 6) == stream.take(0, 6)).all()
    later = finite.indices(6, 12)
    assert sorted(later[:6]) == sorted(later[6:]) == list(range(6))
    assert (finite.take(6, 12) == stream.take(0, 6)[later]).all()
    assert (later[:6] != later[6:]).any()


def test_more_sequences_than_are_read_change_nothing(small):
    finite, stream = batches.open_data(small(sequences=100)), batches.open_data(small())
    assert (finite.take(3, 29) == stream.take(3, 29)).all()


def test_finite_online_data_are_those_of_a_dataset(small, tmp_path):
    config = small(sequences=6)
    store = n2n.data.generate(config.process, tmp_path / "train.npy", 9, 12)
    disk = batches.open_data(small(sequences=6, data=str(store.path)))
    assert (batches.open_data(config).take(0, 30) == disk.take(0, 30)).all()


def test_sequences_that_no_memory_holds_are_refused(small):
    with pytest.raises(ValueError, match="sequences: saw 1000000000000000 of seq_len 12, which needs"):
        small(sequences=10**15, steps=10**15)
