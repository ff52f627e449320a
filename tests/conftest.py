"""Fixtures for all tests: a folder for runs, small configurations and a small run."""

import contextlib
import multiprocessing
import os
from pathlib import Path

import psutil
import pytest

import n2n

# Tests run in parallel processes, whose threads would otherwise wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _runs_elsewhere(tmp_path, monkeypatch):
    """Keep runs of tests out of the user's folder of runs."""
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / "runs"))


@pytest.fixture(autouse=True)
def _no_process_left():
    """End processes of ``multiprocessing`` that a test has left, with their descendants."""
    yield
    for child in multiprocessing.active_children():
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(child.pid).children(recursive=True), child]:
                process.kill()


@pytest.fixture
def log(tmp_path) -> Path:
    """File for the output of a test's processes."""
    return tmp_path / "log.txt"


@pytest.fixture
def small():
    """A function that makes a configuration that trains in a second; its arguments replace fields."""

    def make(**fields) -> n2n.TrainConfig:
        base = {"graph": "four_chains", "dim": 16, "layers": 1, "heads": 2, "seq_len": 12, "batch_size": 4, "steps": 8}
        base |= {"log_every": 2, "checkpoint_every": 4, "eval_sequences": 8, "device": "cpu"}
        return n2n.TrainConfig(**{**base, **fields})

    return make


@pytest.fixture
def run(small) -> n2n.Run:
    """A finished run of 12 steps."""
    return n2n.train(small(steps=12))


# Files that take longest or wait longest, by folder and name. They start first, so that the others fill the remaining
# time.
SLOWEST = (
    "end_to_end/test_slurm.py",
    "launch/test_clusters.py",
    "notebooks/sweep.ipynb",
    "end_to_end/test_lab.py",
    "end_to_end/test_kills.py",
    "training/test_process_group.py",
    "end_to_end/test_stopping.py",
    "training/test_torchrun.py",
    "end_to_end/test_notebooks.py",
    "notebooks/train.ipynb",
    "models/test_models.py",
    "notebooks/report.ipynb",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: i for i, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get("/".join(item.path.parts[-2:]), len(SLOWEST)))
