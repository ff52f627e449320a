"""On file systems without locks, errors say what to do and no files are left."""

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
MESSAGE = (
    r"lies on a file system without locks \((Function not implemented|No locks available|Operation not supported)\)"
)


@pytest.fixture(params=["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def no_locks(request, monkeypatch):
    number = getattr(errno, request.param)
    calls = []

    def flock(handle, operation):
        calls.append(operation)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    yield
    assert calls


def entries(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("wait", [True, False])
def test_a_lock_is_refused_and_leaves_no_file(no_locks, tmp_path, wait):
    with pytest.raises(NoLocks, match=MESSAGE), locked(tmp_path / "lock", wait=wait):
        raise AssertionError("the lock is not held")
    assert entries(tmp_path) == []
    (tmp_path / "lock").touch()
    with pytest.raises(NoLocks, match=MESSAGE), locked(tmp_path / "lock", wait=wait):
        raise AssertionError("the lock is not held")
    assert entries(tmp_path) == ["lock"], "a file that existed before stays"


def test_training_is_refused(no_locks, small, tmp_path):
    for folder in (tmp_path / "a" / "run", ""):
        with pytest.raises(ValueError, match=rf"run_dir: \S+ {MESSAGE}.*run_dir.*N2N_RUNS"):
            n2n.train(small(run_dir=folder))
    assert entries(tmp_path) == []


def test_a_folder_that_was_there_stays(no_locks, small, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match=MESSAGE):
        n2n.train(small(run_dir=tmp_path / "run"))
    assert entries(tmp_path) == ["run"]


def test_a_dataset_is_refused(no_locks, tmp_path):
    with pytest.raises(NoLocks, match=MESSAGE):
        generate(n2n.Process(GRAPH), tmp_path / "deep" / "er" / "t.npy", 4, 8)
    with pytest.raises(NoLocks, match=MESSAGE):
        generate_splits(DatasetConfig(graph=GRAPH, seq_len=8, train=4))
    assert entries(tmp_path) == []


def test_a_lock_held_by_another_trainer_has_its_own_error(tmp_path, small):
    folder = tmp_path / "run"
    folder.mkdir()
    with locked(folder / ".lock"), pytest.raises(ValueError, match="is being trained by another process"):
        n2n.train(small(run_dir=folder))
    assert folder.is_dir()


def test_a_sweep_is_refused(no_locks, monkeypatch):
    monkeypatch.setattr("n2n.launch.slurm.available", lambda: False)
    with pytest.raises(NoLocks, match=MESSAGE):
        n2n.launch.submit("train.ipynb", [{"graph": "single", "steps": 1}], name="unlocked", cluster="debug")
    assert not runs.root().exists()


def test_an_example_is_refused(no_locks):
    with pytest.raises(NoLocks, match=MESSAGE):
        examples.open_run("example:mess3")
    assert not runs.root().exists()
