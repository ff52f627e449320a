"""Submission of sweeps in this process, and waiting for jobs."""

import os
import signal

import nbformat
import numpy as np
import pandas as pd
import pytest
from support.notebooks import TRAIN, quiet_kernel
from support.small_notebook import trivial

import n2n
from n2n import launch
from n2n.utils.files import read_json


def test_all_wrong_points_are_reported_and_nothing_is_written(runs):
    points = [{"arch": "mamba"}, {"arch": "mmba"}, {"step": 3}, {"heads": 5}, {"run_dir": "x"}, {"lr": "fast"}]
    with pytest.raises(ValueError, match="5 of 6 points are wrong, and nothing was submitted") as error:
        launch.submit(TRAIN, points, name="wrong", cluster="debug")
    for message in (
        "arch=mmba: ",
        "did you mean 'mamba'",
        "did you mean 'steps'",
        "heads: saw 5",
        "run_dir: each point",
    ):
        assert message in str(error.value)
    assert "lr: saw 'fast'" in str(error.value)
    assert not (runs / "wrong").exists()


@quiet_kernel
def test_a_sweep_runs_in_this_process(tmp_path, runs, monkeypatch):
    monkeypatch.setenv("MINE", "kept")
    notebook = trivial(tmp_path / "t.ipynb", "import os; print(os.environ['N2N_RUNS'], os.environ['MINE'])")
    jobs = launch.submit(notebook, launch.grid(i=[0], fail=[False, True]), name="here", cluster="debug")
    table = jobs.table()
    assert table["state"].to_dict() == {"fail=false": "done", "fail=true": "failed"}
    job = read_json(runs / "here" / "fail=true" / "job.json")
    assert "fail is set" in job["error"]
    assert job["pid"] == os.getpid()
    assert table["error"].to_dict() == {"fail=false": "", "fail=true": "AssertionError: fail is set"}
    printed = nbformat.read(jobs.path / "fail=false" / "notebook.ipynb", 4).cells[-1].outputs[0].text
    assert printed.split() == [str(runs), "kept"]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    notebook.unlink()
    assert jobs.resubmit() == ["fail=true"], "the sweep has a copy of the notebook"


@quiet_kernel
def test_a_name_that_exists_with_other_points_is_refused(tmp_path):
    notebook = trivial(tmp_path / "t.ipynb")
    launch.submit(notebook, launch.grid(i=[0, 1]), name="twice", cluster="debug")
    with pytest.raises(ValueError, match=r"exists with other points:\n  - i=1: only there\n  - i=2: new"):
        launch.submit(notebook, launch.grid(i=[0, 2]), name="twice", cluster="debug")
    with pytest.raises(ValueError, match="cluster: saw 'local'; the sweep 'twice' exists with 'debug'"):
        launch.submit(notebook, launch.grid(i=[0, 1]), name="twice", cluster="local")
    (n2n.runs.root() / "mine").mkdir()
    (n2n.runs.root() / "mine" / "thesis.tex").write_text("the only copy")
    with pytest.raises(ValueError, match="exists and holds no sweep"):
        launch.submit(notebook, launch.grid(i=[0, 1]), name="mine", cluster="debug")
    with pytest.raises(ValueError, match=r"no sweep in .*none-such \(sweeps there: twice\)"):
        launch.load("none-such")


def test_waiting_prints_changes_of_the_states(capsys, monkeypatch):
    from n2n.launch import submission

    states = [["queued"] * 2, ["queued"] * 2, ["running", "queued"], ["done", "failed"]]
    tables = iter([pd.DataFrame({"state": column, "excess_loss": [0.1, np.nan]}) for column in states])
    monkeypatch.setattr(launch.Jobs, "table", lambda self: next(tables))
    monkeypatch.setattr(submission, "PERIOD", 0)
    assert launch.Jobs(None).wait(watch=True)["state"].tolist() == ["done", "failed"]
    assert capsys.readouterr().out.splitlines() == ["2 queued", "1 running, 1 queued", "1 done, 1 failed"]


def test_waiting_has_a_timeout(monkeypatch, tmp_path):
    from n2n.launch import submission

    monkeypatch.setattr(launch.Jobs, "table", lambda self: pd.DataFrame({"state": ["running"]}))
    monkeypatch.setattr(launch.Jobs, "path", tmp_path / "endless")
    monkeypatch.setattr(submission, "PERIOD", 0.01)
    with pytest.raises(TimeoutError, match=r"endless is not finished after 0.1 s: 1 running"):
        launch.Jobs(None).wait(0.1)
