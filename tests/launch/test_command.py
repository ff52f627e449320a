"""``python -m n2n.launch``: a dry run and its refusals."""

from pathlib import Path

import pytest
from support.slurm_cluster import SINFO

import n2n
from n2n.launch import command, slurm

TRAIN = Path(__file__).parents[2] / "notebooks" / "train.ipynb"


@pytest.fixture
def runs() -> Path:
    return n2n.runs.root()


def test_a_dry_run_shows_what_would_be_and_does_nothing(capsys, runs, monkeypatch):
    monkeypatch.setattr(slurm, "available", lambda: True)
    monkeypatch.setattr(slurm, "run_command", lambda *command, **given: SINFO)
    given = [str(TRAIN), "--name", "dry", "--grid", "arch=mamba,hawk", "--grid", "seed=0,1", "--time", "1:30:00"]
    assert command.main([*given, "--gpus", "8", "--grid", "batch_size=32", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "4 points on slurm, nothing is submitted" in out
    assert "arch=hawk,seed=1: {'arch': 'hawk', 'seed': 1, 'batch_size': 32}" in out
    for line in ("--time=90", "--gpus-per-node=8", "--array=0-3%4", "--partition=main", "--signal=USR2@120"):
        assert f"#SBATCH {line}\n" in out
    assert not (runs / "dry").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["statsu", "x"], 2, "did you mean 'status'"),
        (["status", "x"], 2, "no sweep in"),
        ([str(TRAIN), "--name", "x", "--grid", "seed=0", "--grid", "seed=1"], 2, "grid: saw 'seed' twice"),
        ([str(TRAIN), "--name", "x", "--grid", "sede=0"], 2, "did you mean 'seed'"),
        ([str(TRAIN), "--name", "x"], 2, "grid: saw no parameter"),
        ([str(TRAIN), "--name", "x", "--grid", "seed=0", "--cluster", "slrum"], 2, "did you mean 'slurm'"),
    ],
)
def test_refusals_in_a_shell(arguments, code, said, capsys):
    assert command.main(arguments) == code
    assert said in capsys.readouterr().err
