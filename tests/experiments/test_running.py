"""A design runs here, is killed, resumes, and ends with one row for each evaluation of each run."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.small_designs import small_design

import n2n
from n2n import experiments
from n2n.experiments import running
from n2n.experiments.rates import finished_points
from n2n.experiments.rows import run_rows, sweep_rows
from n2n.runs import RunFolder
from n2n.utils.lock import locked

KILLED = {
    "steps": [200],
    "archs": ["transformer"],
    "training": {"eval_sequences": 8, "device": "cpu", "checkpoint_every": 20},
}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / "runs"))
    return tmp_path


def trained(design, results, point, folder):
    """The run of a point, trained in this process."""
    alphas = experiments.reached(experiments.calibrations_file(design, results).read())
    config = experiments.train_config(design, point, alphas[point.cell[:3]])
    return n2n.train(config.model_copy(update={"run_dir": str(folder)})), alphas[point.cell[:3]]


def test_a_design_runs_to_its_end_once(tmp_path):
    design, lines = small_design(processes=[0]), []
    state = experiments.run(design, tmp_path, log=lines.append)
    table = experiments.runs_file(design, tmp_path).read()
    assert (state.done, state.runs, state.pending, state.uncalibrated) == (4, 4, (), 0)
    assert str(state) == "4 of 4 runs are done"
    assert finished_points(table) == {experiments.Point(cell, 0.01) for cell in design.cells}
    assert table[["split", "step"]].drop_duplicates().to_numpy().tolist() == [["valid", 3], ["test", 3]]
    assert len([line for line in lines if "excess" in line]) == 4
    assert os.listdir(tmp_path / "runs") == []
    before = experiments.runs_file(design, tmp_path).path.read_bytes()
    experiments.run(design, tmp_path, log=lines.append)
    assert experiments.runs_file(design, tmp_path).path.read_bytes() == before

    point = next(point for point in finished_points(table) if point.cell.arch == "mingru")
    run, _ = trained(design, tmp_path, point, tmp_path / "again")
    row = table[(table[list(point.columns)] == list(point.columns.values())).all(axis=1) & (table["split"] == "test")]
    assert row["excess"].item() == pytest.approx(run.evaluation["excess_loss"], abs=1e-6)
    assert row["parameters"].item() == run.evaluation["parameters"]


def test_a_killed_design_resumes_and_no_run_is_made_twice(tmp_path):
    here = os.path.join(os.path.dirname(__file__), "..")
    run = f"run(small_design(**{KILLED!r}), {str(tmp_path)!r})"
    code = f"from support.small_designs import small_design; from n2n.experiments import run; {run}"
    environment = {**os.environ, "PYTHONPATH": here}
    design = small_design(**KILLED)
    file = experiments.runs_file(design, tmp_path)
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(finished_points(file.read())) < 1:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = file.read()
    assert len(finished_points(done)) < 4
    place = next((tmp_path / "runs").iterdir())
    wait_for_workers(place)
    state = experiments.run(design, tmp_path, log=lambda line: None)
    table = file.read()
    assert (state.done, state.pending) == (4, ())
    assert table[: len(done)].equals(done)
    assert not table.duplicated([*experiments.results.KEYS, "split", "step"]).any()


def wait_for_workers(place) -> None:
    """Workers that lost their parent save and leave."""
    end = time.monotonic() + 30
    states = ["running"]
    while "running" in states and time.monotonic() < end:
        states = [RunFolder(path).read_status().get("state") for path in place.iterdir() if path.is_dir()]
        time.sleep(0.1)
    assert "running" not in states


def test_the_time_limit_stops_and_says_what_is_left(tmp_path):
    design = small_design(**KILLED)
    for _ in experiments.calibrations(design, experiments.calibrations_file(design, tmp_path)):
        pass
    state = experiments.run(design, tmp_path, limit_minutes=0.05, log=lambda line: None)
    assert state.pending
    assert state.done + len(state.pending) == 4


def test_what_cannot_reach_its_target_is_said_and_the_rest_runs(tmp_path):
    design = small_design(targets=[9.0], processes=[0])
    state = experiments.run(design, tmp_path)
    assert (state.runs, state.done, len(state.unreached)) == (0, 0, 2)
    assert str(state) == "0 of 0 runs are done; 2 processes cannot reach their target"


def test_two_processes_do_not_run_one_design(tmp_path):
    design = small_design()
    place = tmp_path / "runs" / f"experiment-small-{design.hash}"
    place.mkdir(parents=True)
    with locked(place / ".lock"), pytest.raises(ValueError, match="another process runs the design small now"):
        experiments.run(design, tmp_path)


def test_a_run_that_diverged_is_a_row_and_a_run_that_failed_is_not(tmp_path):
    design = small_design(lrs=[1e30], processes=[0], archs=["transformer"])
    point = experiments.Point(design.cells[0], 1e30)
    for _ in experiments.calibrations(design, experiments.calibrations_file(design, tmp_path)):
        pass
    with pytest.raises(FloatingPointError):
        trained(design, tmp_path, point, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    (row,) = run_rows(design, point, 1.0, folder)
    assert row["state"] == "diverged"
    assert "excess" not in row
    folder.status_path.write_text(folder.status_path.read_text().replace("FloatingPointError", "MemoryError"))
    assert run_rows(design, point, 1.0, folder) == []


def test_a_failed_run_is_reported_with_its_log(tmp_path, monkeypatch):
    design = small_design(processes=[0], archs=["transformer"])
    monkeypatch.setattr(running, "run_rows", lambda *arguments: [])
    with pytest.raises(RuntimeError, match=r"2 runs failed, such as states=4.*; see .*workers\.log"):
        experiments.run(design, tmp_path)


def test_runs_of_a_sweep_are_found_by_their_configuration(tmp_path):
    design = small_design(processes=[0])
    parameters = experiments.sweep_points(design, tmp_path)
    assert len(parameters) == 4
    for i in (2, 0):
        n2n.train(n2n.TrainConfig(**parameters[i], run_dir=str(tmp_path / "runs" / "sweep" / f"point{i}")))
    assert experiments.collect(design, "sweep", tmp_path) == 2
    assert experiments.collect(design, "sweep", tmp_path) == 0
    table = experiments.runs_file(design, tmp_path).read()
    assert {point.cell for point in finished_points(table)} == {design.cells[0], design.cells[2]}
    assert np.isfinite(table["excess"]).all()
    assert list(sweep_rows(design, {}, "sweep")) == []
    assert len(experiments.sweep_points(design, tmp_path)) == 2
