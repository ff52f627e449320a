"""Runs that are killed repeatedly end exactly as runs that are not."""

import signal
import time

import numpy as np
import pytest
from support.killed_trainers import PLACES, train_and_die, train_quietly, trainer
from support.run_folders import assert_same_run, config, logged, wait_until

import n2n
from n2n.monitor import checkpoint

KILLS = 17  # of each run
STEPS = 17 * 20
FIELDS = {
    "mamba": {"arch": "mamba", "accumulate": 2, "schedule": "wsd", "keep_last": 2, "keep_every": 20},
    "transformer": {"arch": "transformer", "schedule": "constant", "clip": 0.1, "model_options": {"dropout": 0.1}},
    "hawk": {"arch": "hawk", "sequences": 30},
}


CALLS = (1, 2, 1, 2)  # number of the call that kills, in successive runs


def kill_at_random(fields: dict, rng: np.random.Generator) -> list[int]:
    """Train to the end with kills at random moments, and return the last logged step at each kill."""
    kills = [kill_once(fields, rng) for _ in range(KILLS)]
    process = trainer(train_quietly, fields)
    process.join(60)
    assert process.exitcode == 0
    return kills


def kill_once(fields: dict, rng: np.random.Generator) -> int:
    folder = fields["run_dir"]
    target = max(checkpoint.steps(folder / "checkpoints"), default=0) + rng.integers(0, STEPS // KILLS)
    process = trainer(train_quietly, fields)
    wait_until(lambda: logged(folder) >= target or not process.is_alive())
    process.join(rng.uniform(0.0, 0.02))
    assert process.is_alive(), "the run was too short"
    process.kill()
    process.join()
    return logged(folder)


@pytest.mark.parametrize("name", FIELDS)
def test_a_run_killed_at_random_moments_equals_an_uninterrupted_one(name, tmp_path):
    fields = {**FIELDS[name], "steps": STEPS}
    if "sequences" in fields:
        process = config(**{**fields, "sequences": None}).process
        fields["data"] = str(n2n.data.generate(process, tmp_path / "train.npy", 40, 12).path)
    whole = n2n.train(config(**fields, run_dir=tmp_path / "whole"))
    kills = kill_at_random({**fields, "run_dir": tmp_path / "killed"}, np.random.default_rng(7))
    assert len(set(kills)) > KILLS / 3, "at many different steps"
    killed = n2n.Run(tmp_path / "killed")
    assert_same_run(whole, killed)
    assert killed.status["state"] == "done"
    assert checkpoint.steps(killed.path / "checkpoints") == checkpoint.steps(whole.path / "checkpoints")
    assert not list(killed.path.rglob("*.part")), "unfinished files are removed"


@pytest.mark.parametrize("place", PLACES)
def test_killed_at_the_worst_moments(place, tmp_path):
    """Kills during a step, a row, and the writing, renaming and pruning of a checkpoint."""
    fields = {"steps": 20, "keep_last": 1, "arch": "mingru"}
    whole = n2n.train(config(**fields, run_dir=tmp_path / "whole"))
    fields["run_dir"] = tmp_path / "killed"
    ends = []
    for call in CALLS:
        process = trainer(train_and_die, fields, place, call)
        process.join(60)
        ends.append(process.exitcode)
    assert ends == [-signal.SIGKILL] * len(CALLS)
    process = trainer(train_quietly, fields)
    process.join(60)
    assert process.exitcode == 0
    assert_same_run(whole, n2n.Run(tmp_path / "killed"))
    assert checkpoint.steps(tmp_path / "killed" / "checkpoints") == [20]


def test_a_second_trainer_is_refused_while_the_first_lives(tmp_path):
    fields = {"steps": 10**5, "run_dir": tmp_path / "run"}
    first = trainer(train_quietly, fields)
    wait_until(lambda: (tmp_path / "run" / "checkpoints" / "step_00000005").exists())
    config_before = (tmp_path / "run" / "config.json").read_text()
    with pytest.raises(ValueError, match=rf"is being trained by process {first.pid} on \S+; wait"):
        n2n.train(config(**{**fields, "log_every": 7}))
    assert first.is_alive()
    assert (tmp_path / "run" / "config.json").read_text() == config_before
    first.kill()
    first.join()
    saved = checkpoint.steps(tmp_path / "run" / "checkpoints")[-1]
    start = time.monotonic()
    process = trainer(train_quietly, {**fields, "steps": saved + 5})
    process.join(60)
    assert process.exitcode == 0, "the lock ended with its holder"
    assert time.monotonic() - start < 60
