"""A run's folder is moved, deleted or changed during training."""

import os
import shutil
from pathlib import Path

import pytest
from support.killed_trainers import train_telling, trainer
from support.run_folders import assert_same_run, config, contents, logged, wait_until

import n2n
from n2n.monitor import checkpoint
from n2n.utils.lock import LockHeld, is_locked, locked

STEPS = 40
FIELDS = {"steps": STEPS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> n2n.Run:
    return n2n.train(config(**FIELDS, run_dir=tmp_path_factory.mktemp("whole") / "run"))


def error_of_changed(folder: Path, change, tmp_path: Path) -> str:
    """The error of a trainer whose folder is changed after some steps."""
    message = tmp_path / "message"
    process = trainer(train_telling, {**FIELDS, "run_dir": folder}, 0.03, str(message))
    wait_until(lambda: logged(folder) >= 6)
    change()
    process.join(60)
    assert process.exitcode == 1, "the trainer stopped by itself"
    return message.read_text()


@pytest.mark.parametrize("hard", [False, True], ids=["copy", "hard links"])
def test_a_folder_that_replaces_the_run_s_is_not_written_to(whole, tmp_path, hard):
    folder, moved = tmp_path / "a", tmp_path / "b"

    def exchange():
        folder.rename(moved)
        if hard:  # the same locks, in another folder
            shutil.copytree(moved, folder, copy_function=os.link)
        else:
            shutil.copytree(whole.path, folder)
        before.update(contents(folder))

    before = {}
    message = error_of_changed(folder, exchange, tmp_path)
    assert (
        f"FolderGone: the folder {folder} was moved to {moved} while the run was training in it. The run has stopped"
        in message
    )
    assert "The last checkpoint is that of step " in message
    assert contents(folder) == before
    saved = max(checkpoint.steps(moved / "checkpoints"))
    assert saved < STEPS
    assert n2n.Run(moved).metrics["step"].is_monotonic_increasing
    if not hard:
        assert_same_run(whole, n2n.Run(folder))
        assert_same_run(whole, n2n.train(config(**FIELDS, run_dir=moved)))


def test_a_deleted_folder_does_not_come_back(tmp_path):
    message = error_of_changed(tmp_path / "a", lambda: shutil.rmtree(tmp_path / "a"), tmp_path)
    assert f"FolderGone: the folder {tmp_path / 'a'} was deleted while the run was training in it" in message
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", [".lock", ".launch.lock"])
def test_a_trainer_without_its_lock_stops(whole, tmp_path, name):
    folder = tmp_path / "a"
    message = error_of_changed(folder, (folder / name).unlink, tmp_path)
    assert f"FolderGone: the lock {folder / name} was deleted or replaced, so another trainer may be at work" in message
    assert_same_run(whole, n2n.train(config(**FIELDS, run_dir=folder)))


@pytest.mark.parametrize("name", ["metrics.jsonl", "evals.jsonl"])
def test_rows_that_vanish_end_the_run(whole, tmp_path, name):
    folder = tmp_path / "a"

    def vanish():
        wait_until(lambda: (folder / "checkpoints" / "step_00000010").exists())  # it marks rows of both files
        (folder / name).unlink()

    message = error_of_changed(folder, vanish, tmp_path)
    assert f"ChangedFile: {folder / name} has" in message
    assert "someone changed it" in message
    assert n2n.Run(folder).status["state"] == "failed"
    with pytest.warns(UserWarning, match=f"rows of {name} that it counts on are damaged or missing"):
        assert_same_run(whole, n2n.train(config(**FIELDS, run_dir=folder)))


def test_a_run_without_its_last_checkpoint_is_not_done(whole, tmp_path, monkeypatch):
    from n2n.training import reporter

    real, folder = reporter.evaluate_model, tmp_path / "a"

    def deleting(model, data):
        if data.split == "test":
            shutil.rmtree(folder / "checkpoints" / f"step_{STEPS:08d}")
        return real(model, data)

    with monkeypatch.context() as patch:
        patch.setattr(reporter, "evaluate_model", deleting)
        with pytest.raises(RuntimeError, match=f"the checkpoint of step {STEPS} was deleted from"):
            n2n.train(config(**FIELDS, run_dir=folder))
    assert n2n.Run(folder).status["state"] == "failed"
    assert_same_run(whole, n2n.train(config(**FIELDS, run_dir=folder)))


def test_checking_a_lock_excludes_nobody(tmp_path):
    path = tmp_path / "lock"
    assert is_locked(path) is None, "there is no lock"
    assert not path.exists()
    with locked(path, wait=False) as lock_file:
        assert is_locked(path) is True
        assert lock_file.in_place
        with pytest.raises(LockHeld), locked(path, wait=False):
            pass
        path.unlink()
        path.touch()
        assert not lock_file.in_place
        assert is_locked(path) is False
    for _ in range(20):
        assert is_locked(path) is False
        with locked(path, wait=False):
            pass


def test_a_check_at_the_wrong_moment_excludes_no_trainer(tmp_path, monkeypatch):
    """A check holds the lock for an instant, in which a trainer may try to take it."""
    import fcntl

    from n2n.utils import lock

    path = tmp_path / "lock"
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: os.close(looking))
    with locked(path, wait=False) as lock_file:
        assert lock_file.in_place
