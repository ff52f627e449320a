"""Shared by all tests: a place for runs, small configurations."""

import contextlib
import multiprocessing
import os
from pathlib import Path

import psutil
import pytest

import n2n

# Tests run side by side: threads of several torches would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _runs_elsewhere(tmp_path, monkeypatch):
    """No test leaves a folder among the user's runs."""
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / "runs"))


@pytest.fixture(autouse=True)
def _no_process_left():
    """No test leaves a process of ``multiprocessing`` or its descendants."""
    yield
    for child in multiprocessing.active_children():
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(child.pid).children(recursive=True), child]:
                process.kill()


@pytest.fixture
def log(tmp_path) -> Path:
    """What the processes of a test print."""
    return tmp_path / "log.txt"


@pytest.fixture
def small():
    """A configuration that trains in a second; fields may be replaced."""

    def make(**fields) -> n2n.TrainConfig:
        given = {"graph": "four_chains", "dim": 16, "layers": 1, "heads": 2, "seq_len": 12, "batch_size": 4, "steps": 8}
        given |= {"log_every": 2, "checkpoint_every": 4, "eval_sequences": 8, "device": "cpu"}
        return n2n.TrainConfig(**{**given, **fields})

    return make


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
