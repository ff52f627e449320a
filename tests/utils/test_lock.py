"""File systems without locks are told in a sentence with a way on, and nothing is left there."""

import errno
import fcntl
import os

import pytest

import n2n
from n2n import runs
from n2n.data import generate
from n2n.notebook import examples
from n2n.notebook.datasets import generate_splits
from n2n.notebook.process_notebook_configs import DatasetConfig
from n2n.utils.lock import NoLocks, locked

GRAPH = n2n.Graph.preset("single")
SAID = r"lies on a file system without locks \((Function not implemented|No locks available|Operation not supported)\)"


@pytest.fixture(params=["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def no_locks(request, monkeypatch):
    number = getattr(errno, request.param)
    asked = []

    def flock(handle, how):
        asked.append(how)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    yield
    assert asked


def left(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("wait", [True, False])
def test_a_lock_says_so_and_leaves_no_file(no_locks, tmp_path, wait):
    with pytest.raises(NoLocks, match=SAID), locked(tmp_path / "lock", wait=wait):
        raise AssertionError("it is not held")
    assert left(tmp_path) == []
    (tmp_path / "lock").touch()
    with pytest.raises(NoLocks, match=SAID), locked(tmp_path / "lock", wait=wait):
        raise AssertionError("it is not held")
    assert left(tmp_path) == ["lock"], "it was there"


def test_training_is_refused_with_a_way_on(no_locks, small, tmp_path):
    for folder in (tmp_path / "a" / "run", ""):
        with pytest.raises(ValueError, match=rf"run_dir: \S+ {SAID}.*run_dir.*N2N_RUNS"):
            n2n.train(small(run_dir=folder))
    assert left(tmp_path) == []


def test_a_folder_that_was_there_stays(no_locks, small, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match=SAID):
        n2n.train(small(run_dir=tmp_path / "run"))
    assert left(tmp_path) == ["run"]


def test_a_dataset_is_refused_with_a_way_on(no_locks, tmp_path):
    with pytest.raises(NoLocks, match=SAID):
        generate(n2n.Process(GRAPH), tmp_path / "deep" / "er" / "t.npy", 4, 8)
    with pytest.raises(NoLocks, match=SAID):
        generate_splits(DatasetConfig(graph=GRAPH, seq_len=8, train=4))
    assert left(tmp_path) == []


def test_a_held_lock_is_no_missing_one(tmp_path, small):
    folder = tmp_path / "run"
    folder.mkdir()
    with locked(folder / ".lock"), pytest.raises(ValueError, match="is being trained by another process"):
        n2n.train(small(run_dir=folder))
    assert folder.is_dir()


def test_a_sweep_is_refused_with_a_way_on(no_locks, monkeypatch):
    monkeypatch.setattr("n2n.launch.slurm.available", lambda: False)
    with pytest.raises(NoLocks, match=SAID):
        n2n.launch.submit("train.ipynb", [{"graph": "single", "steps": 1}], name="unlocked", cluster="debug")
    assert not runs.root().exists()


def test_an_example_is_refused_with_a_way_on(no_locks):
    with pytest.raises(NoLocks, match=SAID):
        examples.open_run("example:mess3")
    assert not runs.root().exists()
