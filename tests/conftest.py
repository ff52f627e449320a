"""Shared by all tests: a place for runs, small configurations."""

import os

import pytest

import n2n

# Tests run side by side: threads of several torches would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _runs_elsewhere(tmp_path, monkeypatch):
    """No test leaves a folder among the user's runs."""
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def small():
    """A configuration that trains in a second; fields may be replaced."""

    def make(**fields) -> n2n.TrainConfig:
        given = {"graph": "four_chains", "dim": 16, "layers": 1, "heads": 2, "seq_len": 12, "batch_size": 4, "steps": 8}
        given |= {"log_every": 2, "checkpoint_every": 4, "eval_sequences": 8, "device": "cpu"}
        return n2n.TrainConfig(**{**given, **fields})

    return make
