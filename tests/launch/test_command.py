"""``python -m n2n.launch``: dry runs and error messages."""

import pytest
from support.notebooks import TRAIN
from support.slurm_cluster import SINFO

from n2n.launch import command, slurm


def test_a_dry_run_prints_the_batch_script_and_submits_nothing(capsys, runs, monkeypatch):
    monkeypatch.setattr(slurm, "available", lambda: True)
    monkeypatch.setattr(slurm, "run_command", lambda *command, **options: SINFO)
    arguments = [str(TRAIN), "--name", "dry", "--grid", "arch=mamba,hawk", "--grid", "seed=0,1", "--time", "1:30:00"]
    assert command.main([*arguments, "--gpus", "8", "--grid", "batch_size=32", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "4 points on slurm, nothing is submitted" in out
    assert "arch=hawk,seed=1: {'arch': 'hawk', 'seed': 1, 'batch_size': 32}" in out
    for line in ("--time=90", "--gpus-per-node=8", "--array=0-3%4", "--partition=main", "--signal=USR2@120"):
        assert f"#SBATCH {line}\n" in out
    assert not (runs / "dry").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["statsu", "x"], 2, "did you mean 'status'"),
        (["status", "x"], 2, "no sweep in"),
        ([str(TRAIN), "--name", "x", "--grid", "seed=0", "--grid", "seed=1"], 2, "grid: saw 'seed' twice"),
        ([str(TRAIN), "--name", "x", "--grid", "sede=0"], 2, "did you mean 'seed'"),
        ([str(TRAIN), "--name", "x"], 2, "grid: saw no parameter"),
        ([str(TRAIN), "--name", "x", "--grid", "seed=0", "--cluster", "slrum"], 2, "did you mean 'slurm'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, code, message, capsys):
    assert command.main(arguments) == code
    assert message in capsys.readouterr().err
