"""The sequences of each training step: from a process or a dataset, on any number of processes."""

import threading

import numpy as np
import pytest

import n2n
from n2n.data import Batches, Epochs, Stream

PROCESS = n2n.Process(n2n.Graph.preset("sparse"))
BATCHES = Batches(Stream(PROCESS, 12), batch_size=5)


@pytest.fixture
def store(tmp_path) -> n2n.TokenStore:
    return n2n.data.generate(PROCESS, tmp_path / "train.npy", 30, 12)


def test_batches_are_consecutive_sequences():
    whole = PROCESS.sample(20, length=12).tokens
    batches = [BATCHES.batch(step) for step in range(4)]
    assert np.array_equal(np.concatenate([batch.tokens for batch in batches]), whole)
    assert np.concatenate([batch.sequences for batch in batches]).tolist() == list(range(20))
    assert batches[0].tokens.dtype == np.int64


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_processes_share_every_batch(processes):
    whole = PROCESS.sample(24, length=12).tokens
    parts = [Batches(Stream(PROCESS, 12), 6, rank, processes) for rank in range(processes)]
    batches = [part.batch(step) for step in range(4) for part in parts]
    assert np.array_equal(np.concatenate([batch.tokens for batch in batches]), whole)
    assert np.concatenate([batch.sequences for batch in batches]).tolist() == list(range(24))


def test_a_batch_that_processes_cannot_share_equally_is_refused():
    with pytest.raises(
        ValueError, match=r"batch_size: saw 6; a multiple of processes \(4\) times accumulate \(1\) is needed"
    ):
        Batches(Stream(PROCESS, 12), 6, 0, 4)


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (3, 7), (6, 7), (7, 7)])
def test_batches_made_ahead_are_the_same(start, stop):
    batches = list(BATCHES.ahead(start, stop))
    assert len(batches) == stop - start
    for step, batch in enumerate(batches, start=start):
        assert all(map(np.array_equal, batch, BATCHES.batch(step)))


def test_closing_the_iterator_ends_its_thread():
    batches = BATCHES.ahead(0, 1000)
    next(batches)
    assert any(thread.name.startswith("n2n-batches") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("n2n-batches") for thread in threading.enumerate())


def test_an_error_in_the_thread_is_raised_in_the_reader():
    with pytest.raises(ValueError, match="unknown split 'trian'"):
        next(Batches(Stream(PROCESS, 12, "trian"), 5).ahead(0, 3))


def test_a_damaged_dataset_is_not_trained_on(small, store, tmp_path):
    data = bytearray(store.path.read_bytes())
    data[-1] ^= 1
    store.path.write_bytes(data)
    with pytest.raises(ValueError, match=r"train.npy is damaged: its SHA-256 is \w+, not \w+"):
        n2n.train(small(graph="sparse", data=store.path, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_epoch_has_every_sequence_once(store):
    source = Epochs(store, sequences=20)
    epochs = source.indices(0, 60).reshape(3, 20)
    assert epochs[0].tolist() == list(range(20))
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
    assert epochs[1].tolist() != epochs[2].tolist() != list(range(20))
    assert np.array_equal(source.take(15, 30), store.tokens[source.indices(15, 30)])


def test_the_order_depends_only_on_seed_and_epoch(store):
    """The order does not depend on the position, the pieces or the reader."""
    whole = Epochs(store, seed=3).indices(0, 120)
    other = Epochs(store, seed=3)
    for start, count in ((100, 20), (25, 40), (29, 1), (0, 61)):
        assert np.array_equal(other.indices(start, count), whole[start : start + count])
    assert not np.array_equal(Epochs(store, seed=4).indices(30, 30), whole[30:60])


def test_sequences_of_a_batch_are_those_of_its_tokens(store):
    """Over the end of an epoch, and after it; sequence i of a dataset is sequence i of its split."""
    batches = Batches(Epochs(store, length=9), batch_size=12, rank=1, processes=2)
    for step in range(8):
        tokens, sequences = batches.batch(step)
        drawn = [PROCESS.sample(1, length=9, start=int(index)).tokens[0] for index in sequences]
        assert np.array_equal(tokens, drawn)


def test_permutations_are_uniform(store):
    """In 2,000 epochs of 3 sequences, each of the 6 orders occurs about 333 times (standard deviation 17)."""
    orders = Epochs(store, sequences=3).indices(3, 6000).reshape(2000, 3)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert abs(counts - 2000 / 6).max() < 5 * 17


def test_a_prefix_longer_than_the_dataset_is_refused(store):
    with pytest.raises(ValueError, match=r"sequences: saw 31; .*train.npy holds 30"):
        Epochs(store, sequences=31)
    with pytest.raises(ValueError, match=r"seq_len: saw 13; the sequences of .*train.npy have 12 tokens"):
        Epochs(store, length=13)


def test_shorter_sequences_are_prefixes_of_longer_ones(store):
    assert np.array_equal(Epochs(store, length=7).take(0, 30), PROCESS.sample(30, length=7).tokens)


def test_training_within_the_first_epoch_equals_the_online_run(small, store):
    from support.run_folders import assert_same_run

    fields = {"graph": "sparse", "batch_size": 3, "eval_every": 4}
    assert_same_run(n2n.train(small(**fields)), n2n.train(small(**fields, data=str(store.path))))


def test_the_logged_oracle_loss_of_a_later_epoch_is_that_of_its_sequences(small, store):
    config = small(graph="sparse", data=str(store.path), sequences=10)
    run = n2n.train(config)
    tokens = store.tokens[Epochs(store, sequences=10).indices(16, 4)].astype(int)
    expected = n2n.filter(config.process, tokens).nll.mean().item()
    assert run.metrics.set_index("step").loc[4, "oracle_nll"] == pytest.approx(expected, abs=1e-9)
    fitted = n2n.fit_ngram(config.process.sample(10, length=12).tokens, 32, 1)
    held_out = config.process.sample(8, length=12, split="test").tokens
    assert run.evaluation["unigram"] == pytest.approx(fitted.nll(held_out).mean())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"graph": "four_chains"}, "was drawn with another graph"),
        ({"graph": "single"}, "was drawn with another graph"),
        ({"graph": "slow_switch"}, "has 32 symbols; the graph has 128"),
        ({"process_seed": 1}, "was drawn with seed 0, not 1"),
        ({"seq_len": 13}, "seq_len: saw 13"),
        ({"sequences": 31}, "sequences: saw 31"),
        ({"data": "nowhere.npy"}, "no dataset at .*nowhere.npy"),
    ],
)
def test_a_dataset_that_does_not_fit_leaves_no_folder(small, store, tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        n2n.train(small(**{"graph": "sparse", "data": str(store.path), "run_dir": tmp_path / "run", **fields}))
    assert not (tmp_path / "run").exists()


def test_a_held_out_split_is_refused_as_training_data(small, tmp_path):
    held_out = n2n.data.generate(PROCESS, tmp_path / "test.npy", 30, 12, split="test")
    with pytest.raises(ValueError, match="holds the test split"):
        n2n.train(small(graph="sparse", data=str(held_out.path)))


def test_a_run_resumes_from_a_moved_dataset_but_not_from_another(small, store, tmp_path):
    fields = {"graph": "sparse", "run_dir": tmp_path / "run", "sequences": 10}
    n2n.train(small(**fields, data=str(store.path)))
    for suffix in (".npy", ".json"):
        store.path.with_suffix(suffix).rename(tmp_path / f"moved{suffix}")
    n2n.train(small(**fields, data=str(tmp_path / "moved.npy"), steps=12))
    other = n2n.data.generate(PROCESS, tmp_path / "other.npy", 29, 12)
    with pytest.raises(ValueError, match="was trained on a dataset of SHA-256"):
        n2n.train(small(**fields, data=str(other.path), steps=16))
