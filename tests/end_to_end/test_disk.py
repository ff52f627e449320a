"""Full disks and folders that cannot be written to: the last checkpoint stays, and the error is clear."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from support.killed_trainers import train_quietly, trainer
from support.run_folders import assert_same_run, config, contents

import n2n
from n2n.monitor import checkpoint

FIELDS = {"steps": 20, "arch": "minlstm"}
needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def assert_checkpoints_are_whole(folder: Path, whole: n2n.Run) -> None:
    steps = checkpoint.steps(folder / "checkpoints")
    assert 0 < steps[-1] < 20
    assert not list((folder / "checkpoints").glob(".*")), "no unfinished file is left to fill the disk"
    for step in steps:
        expected = whole.model(step).state_dict()
        assert all((value == expected[name]).all() for name, value in n2n.Run(folder).model(step).state_dict().items())


@needs_mounts
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    whole = n2n.train(config(**FIELDS, run_dir=tmp_path / "whole"))
    per_checkpoint = size_of(whole.path / "checkpoints" / "step_00000005")
    pages = 4096 * 12  # for the small files
    capacity = per_checkpoint * 5 // 2 + pages
    with mounted(tmp_path / "disk", f"size={capacity // 1024}k") as disk:
        folder = disk / "run"
        with pytest.raises(OSError, match=r"checkpoint of step 15 could not be written .*; that of step 10 is whole"):
            n2n.train(config(**FIELDS, run_dir=folder))
        assert_checkpoints_are_whole(folder, whole)
        assert n2n.Run(folder).status["state"] == "failed"
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert_same_run(whole, n2n.train(config(**FIELDS, run_dir=folder)))


def limited(fields: dict, max_bytes: int) -> None:
    """Train with a limit on the size of files after the first checkpoint, like a quota."""
    real = checkpoint.save

    def save(*arguments):
        real(*arguments)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))

    with mock.patch.object(checkpoint, "save", save), pytest.raises(OSError, match="that of step 5 is whole"):
        train_quietly(fields)


def test_a_limit_on_file_size_leaves_the_last_good_checkpoint(tmp_path):
    whole = n2n.train(config(**FIELDS, run_dir=tmp_path / "whole"))
    fields = {**FIELDS, "run_dir": tmp_path / "run"}
    process = trainer(limited, fields, (whole.path / "checkpoints" / "step_00000005" / "state.pt").stat().st_size // 2)
    process.join(60)
    assert process.exitcode == 0
    assert_checkpoints_are_whole(tmp_path / "run", whole)
    assert_same_run(whole, n2n.train(config(**fields)))


@needs_mounts
def test_a_read_only_folder_is_refused(tmp_path):
    with mounted(tmp_path / "disk", "size=4m") as disk:
        n2n.train(config(steps=5, run_dir=disk / "run"))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = contents(disk)
        for name in ("run", "new"):
            with pytest.raises(ValueError, match=rf"run_dir: \S+{name} cannot be written to: Read-only file system"):
                n2n.train(config(steps=10, run_dir=disk / name))
        assert contents(disk) == before
        assert n2n.evaluate(disk / "run").sequences == 8, "a run can still be read"
