"""``python -m n2n.experiments``."""

import pytest
from support.small_designs import small_design

from n2n import experiments
from n2n.experiments import command, designs

NAMES = list(designs.DESIGNS)


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / "runs"))
    monkeypatch.setitem(designs.DESIGNS, "small", lambda: small_design(processes=[0], archs=["mingru"]))


def test_the_command_runs_lists_and_resumes(tmp_path, capsys):
    assert command.main(["small", "--list", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "0 of 2 runs are done; 2 processes are to be calibrated\n"
    assert command.main(["small", "--limit-minutes", "1e-6", "--results", str(tmp_path)]) == 3
    assert "1 processes are to be calibrated" in capsys.readouterr().out
    assert command.main(["small", "--results", str(tmp_path), "--parallel", "1"]) == 0
    out = capsys.readouterr().out
    assert "states=8,target=1.4,process=0,arch=mingru: excess " in out
    assert out.endswith("2 of 2 runs are done\n")
    assert command.main(["small", "--list", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "2 of 2 runs are done\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smal"], "unknown design 'smal'; did you mean 'small'"),
        (["small", "--parallel", "0"], "parallel: saw 0"),
        (["small", "--limit-minutes", "-1"], "limit_minutes: saw -1.0"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(arguments, message, capsys, tmp_path):
    assert command.main([*arguments, "--results", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_results_file_of_another_design_is_refused(capsys, tmp_path):
    other = small_design(seq_len=9)
    experiments.runs_file(other, tmp_path).append([])
    assert command.main(["small", "--results", str(tmp_path)]) == 2
    assert "holds results of the design small" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_every_design_is_well_formed(name):
    assert experiments.by_name(name).name == name
    assert experiments.by_name(name).question.endswith("?")
