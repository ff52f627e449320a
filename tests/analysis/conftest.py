"""Shared by the tests of analyses."""

import pytest

import n2n


@pytest.fixture(scope="session")
def regimes_run(tmp_path_factory) -> n2n.Run:
    """A finished run of 12 steps with checkpoints at every second step, for tests that only read it."""
    small = {"dim": 16, "layers": 1, "heads": 2, "seq_len": 12, "batch_size": 4, "steps": 12, "device": "cpu"}
    small |= {"checkpoint_every": 2, "eval_sequences": 4, "process_seed": 1}
    folder = tmp_path_factory.mktemp("runs") / "run"
    return n2n.train(n2n.TrainConfig(graph=n2n.examples.REGIMES, run_dir=folder, **small))
