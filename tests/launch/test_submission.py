"""Sweeps without Slurm: points, notebooks and resources that are checked; this machine and this process as clusters."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from support.run_folders import SMALL, still_there, waited
from support.small_notebook import trivial

import n2n
from n2n import launch
from n2n.launch import clusters, command, job, point_states, points, slurm
from n2n.launch.notebooks import Notebook
from n2n.utils.files import read_json
from n2n.utils.lock import locked

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TRAIN = NOTEBOOKS / "train.ipynb"
quiet_kernel = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def runs() -> Path:
    return n2n.runs.root()


# Points


def test_a_grid_is_every_combination():
    found = launch.grid(arch=["a", "b"], seed=range(2), lr=0.1, graph="sparse")
    assert found == [{"arch": a, "seed": s, "lr": 0.1, "graph": "sparse"} for a in "ab" for s in (0, 1)]


@pytest.mark.parametrize(
    ("axes", "said"), [({}, "grid: saw no parameter"), ({"seed": [], "arch": ["a"]}, "grid: saw no value of 'seed'")]
)
def test_an_empty_grid_is_refused(axes, said):
    with pytest.raises(ValueError, match=said):
        launch.grid(**axes)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([{"arch": "a", "seed": 0, "lr": 0.1}, {"arch": "a", "seed": 1, "lr": 0.1}], ["seed=0", "seed=1"]),
        ([{"seed": np.int64(3), "lr": 1e-4}], ["seed=3,lr=0.0001"]),
        ([{}], ["defaults"]),
        ([{"a": -1}, {"a": 1}, {"a": None}, {"a": True}], ["a=-1", "a=1", "a=null", "a=true"]),
        ([{"a": 1}, {}], ["a=1", "defaults"]),
    ],
)
def test_points_are_named_by_what_varies(given, names):
    assert list(points.points_by_name(given)) == names


def test_names_that_cannot_tell_all_are_told_apart():
    given = [{"data": "/a/b c"}, {"data": "/a/b/c"}, {"x": {"k": 1}}, {"x": {"k": 2}}, {"s": "y" * 300}]
    names = list(points.points_by_name(given))
    assert len(set(names)) == 5
    assert all(len(name) <= points.MAX_NAME and "/" not in name and " " not in name for name in names)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "points: saw none"),
        ([{"a": 1}, {"a": 2}, {"a": 1}], r"points: saw \{'a': 1\} twice"),
        ([{"a": object()}], r"points: point 0, .* can be given to no notebook: .* is of type object"),
        ([{"a": float("nan")}], "points: point 0"),
        (["a"], "points: saw 'a'; a dictionary of parameters is needed"),
    ],
)
def test_bad_points_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        points.points_by_name(given)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=0,1,2", [0, 1, 2]),
        ("arch=transformer,mamba", ["transformer", "mamba"]),
        ("lr=1e-4,0.01", [1e-4, 0.01]),
        ("batches=[16, 64],[32]", [[16, 64], [32]]),
        ("x='a,b',null,true", ["a,b", None, True]),
        ("x=", []),
    ],
)
def test_axes_in_a_shell(text, values):
    name, found = points.parse_axis(text)
    assert (name, found) == (text.split("=")[0], values)


@pytest.mark.parametrize("text", ["seed", "=1", "a b=1", "x=[1"])
def test_bad_axes_are_refused(text):
    with pytest.raises(ValueError, match=r"grid: saw"):
        points.parse_axis(text)


def test_points_in_a_file(tmp_path):
    path = tmp_path / "points.yaml"
    path.write_text("- {arch: mamba, lr: 1e-4}\n- {arch: hawk}\n")
    found = points.crossed(points.read_points(path), launch.grid(seed=[0, 1]))
    assert found == [
        {"arch": "mamba", "lr": 1e-4, "seed": 0},
        {"arch": "mamba", "lr": 1e-4, "seed": 1},
        {"arch": "hawk", "seed": 0},
        {"arch": "hawk", "seed": 1},
    ]
    with pytest.raises(ValueError, match="'arch' is given by the file and by the grid"):
        points.crossed(found, launch.grid(arch=["mamba"]))
    for content in ("{}", "- 3", "[", "[]"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"points.yaml"):
            points.read_points(path)


# Notebooks


@pytest.mark.parametrize(
    ("name", "strict"),
    [("train", n2n.TrainConfig), ("dataset", n2n.DatasetConfig), ("benchmark", n2n.benchmark.Settings)],
)
def test_a_notebook_tells_its_configuration(name, strict):
    assert Notebook(NOTEBOOKS / f"{name}.ipynb").strict is strict


def test_every_wrong_point_is_told_and_nothing_written(runs):
    given = [{"arch": "mamba"}, {"arch": "mmba"}, {"step": 3}, {"heads": 5}, {"run_dir": "x"}, {"lr": "fast"}]
    with pytest.raises(ValueError, match="5 of 6 points are wrong, and nothing was submitted") as told:
        launch.submit(TRAIN, given, name="wrong", cluster="debug")
    for said in ("arch=mmba: ", "did you mean 'mamba'", "did you mean 'steps'", "heads: saw 5", "run_dir: each point"):
        assert said in str(told.value)
    assert "lr: saw 'fast'" in str(told.value)
    assert not (runs / "wrong").exists()


def test_a_notebook_without_a_configuration_takes_its_own_parameters(tmp_path):
    book = Notebook(trivial(tmp_path / "t.ipynb"))
    assert (book.strict, book.names) == (None, ["fail", "i"])
    assert book.judge({"i": 3}, launch.Resources()) is None
    assert "unknown parameter 'fial'; did you mean 'fail'" in book.judge({"fial": True}, launch.Resources())
    assert "nodes: saw 2, but the notebook has no parameter 'processes'" in book.judge({}, launch.Resources(nodes=2))
    said = Notebook(TRAIN).judge({"processes": 3, "batch_size": 30}, launch.Resources(nodes=2))
    assert said == "processes: saw 3, which 2 nodes do not divide"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "notebook: no file"),
        ("nothing", "is no notebook"),
        ("{}", "is no notebook"),
        ("bare", "no cell with the tag"),
    ],
)
def test_what_is_no_notebook_with_parameters_is_refused(tmp_path, content, said):
    path = tmp_path / "n.ipynb"
    if content == "bare":
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), path)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said):
        launch.submit(path, [{}], name="bare", cluster="debug")


def test_paths_are_from_where_the_sweep_is_submitted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    book = Notebook(TRAIN)
    found = book.completed({"data": "here/train.npy", "arch": "mamba"}, tmp_path / "point", 1)
    assert found == {"data": str(tmp_path / "here/train.npy"), "arch": "mamba", "run_dir": str(tmp_path / "point")}
    assert book.completed({"data": "online"}, None, 4) == {"data": "online", "processes": 4}
    assert book.completed({"processes": 2}, None, 4) == {"processes": 2}


# Resources


@pytest.mark.parametrize(
    ("given", "minutes"),
    [(90, 90), ("90", 90), ("01:30:00", 90), ("1-00", 1440), ("1-02:30", 1590), ("2:30", 2.5), ("1-00:00:30", 1440.5)],
)
def test_times_as_slurm_has_them(given, minutes):
    assert launch.Resources(time=given).time == pytest.approx(minutes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"time": "soon"}, "saw 'soon'; minutes, HH:MM:SS"),
        ({"time": 0}, "time: saw 0"),
        ({"gpu": 1}, "unknown parameter 'gpu'; did you mean 'gpus'"),
        ({"cpus": 0}, "cpus: saw 0"),
        ({"time": 1, "grace": 60}, "grace: saw 60 s, which leaves nothing of the 1 minutes"),
        ({"nodes": 2}, "nodes: saw 2; this machine has 1"),
        ({"cpus": 10**6}, "cpus: saw 1000000; this machine has"),
        ({"partition": "main"}, "partition: saw 'main', which only a cluster with Slurm has"),
        ({"cluster": "debug", "time": 3, "cpus": 1}, "'debug' is this process as it is, so it gives no time, cpus"),
    ],
)
def test_bad_resources_are_refused(given, said, tmp_path, runs):
    with pytest.raises(ValueError, match=said):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name="bad", **{"cluster": "local", **given})
    assert not (runs / "bad").exists()


SINFO = """main*|1-00:00:00|30:00|2|64|512000|gpu:a100:8(S:0-1)|fast,new
main*|1-00:00:00|30:00|3|32|256000|(null)|(null)
long|infinite|n/a|1|8|1000+|gpu:2,shard:4|(null)
"""


@pytest.fixture
def told_cluster(monkeypatch):
    """What sinfo says of clusters larger than the tests' own."""
    monkeypatch.setattr(slurm, "ask", lambda *command, **given: SINFO)


def test_partitions_as_sinfo_tells_them(told_cluster):
    main, long = slurm.partitions().values()
    assert (main.nodes, main.cpus, main.mem, main.gpus, main.default) == (5, 64, 512, 8, True)
    assert (main.time_limit, main.default_time, main.features) == (1440, 30, {"fast", "new"})
    assert (long.time_limit, long.default_time, long.gpus, long.mem) == (None, None, 2, 1)


def test_the_cluster_s_own_defaults(told_cluster):
    found = slurm.fitted(launch.Resources(gpus=8, nodes=2))
    assert (found.partition, found.time, found.processes) == ("main", 30, 16)
    assert slurm.fitted(launch.Resources(partition="long")).time == slurm.FALLBACK_TIME
    with pytest.raises(ValueError, match="gpus: saw 3; at most 2 a node"):
        slurm.fitted(launch.Resources(partition="long", gpus=3))


@pytest.mark.parametrize(
    ("name", "said"), [("slrum", "unknown cluster 'slrum'; did you mean 'slurm'"), ("slurm", "no Slurm answers here")]
)
def test_unknown_clusters_are_refused(name, said, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm, "available", lambda: False)
    with pytest.raises(ValueError, match=said):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name="nowhere", cluster=name)
    assert clusters.chosen("auto").name == "local"


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x.ipynb"])
def test_names_that_are_no_folders_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name: saw"):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name=name, cluster="debug")


# In this process


@quiet_kernel
def test_a_sweep_in_this_process(tmp_path, runs, monkeypatch):
    monkeypatch.setenv("MINE", "kept")
    notebook = trivial(tmp_path / "t.ipynb", "import os; print(os.environ['N2N_RUNS'], os.environ['MINE'])")
    jobs = launch.submit(notebook, launch.grid(i=[0], fail=[False, True]), name="here", cluster="debug")
    table = jobs.table()
    assert table["state"].to_dict() == {"fail=false": "done", "fail=true": "failed"}
    told = read_json(runs / "here" / "fail=true" / "job.json")
    assert "as it was asked to" in told["error"]
    assert told["pid"] == os.getpid()
    assert table["error"].to_dict() == {"fail=false": "", "fail=true": "AssertionError: as it was asked to"}
    printed = nbformat.read(jobs.path / "fail=false" / "notebook.ipynb", 4).cells[-1].outputs[0].text
    assert printed.split() == [str(runs), "kept"]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    notebook.unlink()
    assert jobs.resubmit() == ["fail=true"], "it has a copy of the notebook"


@quiet_kernel
def test_a_name_that_exists_with_other_points_is_refused(tmp_path):
    notebook = trivial(tmp_path / "t.ipynb")
    launch.submit(notebook, launch.grid(i=[0, 1]), name="twice", cluster="debug")
    with pytest.raises(ValueError, match=r"exists with other points:\n  - i=1: there alone\n  - i=2: new"):
        launch.submit(notebook, launch.grid(i=[0, 2]), name="twice", cluster="debug")
    with pytest.raises(ValueError, match="cluster: saw 'local'; the sweep 'twice' exists with 'debug'"):
        launch.submit(notebook, launch.grid(i=[0, 1]), name="twice", cluster="local")
    (n2n.runs.root() / "mine").mkdir()
    (n2n.runs.root() / "mine" / "thesis.tex").write_text("the only copy")
    with pytest.raises(ValueError, match="is there and holds no sweep"):
        launch.submit(notebook, launch.grid(i=[0, 1]), name="mine", cluster="debug")
    with pytest.raises(ValueError, match=r"no sweep in .*none-such \(sweeps there: twice\)"):
        launch.load("none-such")


def test_a_job_that_gets_nowhere_does_not_come_back_for_ever(tmp_path):
    given = job.NotebookJob(tmp_path / "n.ipynb", tmp_path, {}, {})
    (tmp_path / "job.json").write_text(json.dumps({"begun_at_step": 5}))
    for step, comes_back in (
        (7, True),
        (5, True),
        (5, True),
        (7, True),
        *[(5, True)] * (job.MAX_FRUITLESS - 1),
        (5, False),
    ):
        (tmp_path / "status.json").write_text(json.dumps({"step": step}))
        (tmp_path / "job.json").write_text(json.dumps({"begun_at_step": 5}))
        again = given.checkpoint()
        assert (again is not None) == comes_back
        given = again.function if again else given
    told = read_json(tmp_path / "job.json")
    assert told["state"] == "failed"
    assert "3 jobs in a row were ended before they had saved a step beyond 5" in told["error"]


# On this machine


def test_a_sweep_on_this_machine_is_bounded_and_outlives_its_submitter(tmp_path, runs):
    notebook = trivial(tmp_path / "t.ipynb", "import time; time.sleep(0.5)")
    command = [sys.executable, "-m", "n2n.launch", str(notebook), "--name", "wide", "--cluster", "local"]
    subprocess.run([*command, "--grid", "i=0,1,2", "--max-parallel", "2"], check=True, capture_output=True, text=True)
    jobs, seen = launch.load("wide"), []

    def all_done() -> bool:
        counts = jobs.table()["state"].value_counts()
        assert set(counts.index) <= {"queued", "running", "done"}
        seen.append(counts.get("running", 0))
        return counts.get("done", 0) == 3

    waited(all_done, 120)
    assert max(seen) == min(2, n2n.utils.cpu.cores())
    assert sorted(path.name for path in runs.glob("wide/*/notebook.ipynb")) == ["notebook.ipynb"] * 3
    waited(lambda: not still_there(str(runs)))


def test_local_jobs_are_cancelled_killed_and_resubmitted(runs):
    """One run is told to save, one waits, one is killed; resubmitted, they go on."""
    given = [{**SMALL, "steps": 10**6, "eval_every": None, "seed": seed} for seed in range(3)]
    jobs = launch.submit(TRAIN, given, name="ended", cluster="local", max_parallel=1, cpus=1)
    folder = jobs.path / "seed=0"
    waited(lambda: (folder / "checkpoints" / "step_00000005").exists())
    assert jobs.table()["state"].tolist() == ["running", "queued", "queued"]
    jobs.cancel()
    waited(lambda: jobs.table()["state"].tolist() == ["preempted", "cancelled", "cancelled"])
    stopped = n2n.Run(folder).status
    assert stopped["state"] == "preempted"
    assert jobs.resubmit() == ["seed=0", "seed=1", "seed=2"]
    waited(lambda: n2n.Run(folder).status["step"] > stopped["step"])
    process = psutil.Process(read_json(folder / "job.json")["pid"])
    for one in [*process.children(recursive=True), process]:
        one.kill()
    waited(lambda: jobs.table()["state"].iloc[0] == "killed")
    jobs.cancel()
    waited(lambda: not still_there(str(runs)))
    assert f"resumed at step {stopped['step']}" in (folder / "logs" / "rank0.log").read_text()


# As a notebook has it


def test_a_sweep_as_one_value():
    config = launch.SweepConfig(notebook="train.ipynb", name="x", grid={"seed": [0, 1]}, fixed={"steps": 3}, cpus=2)
    assert config.points == [{"steps": 3, "seed": 0}, {"steps": 3, "seed": 1}]
    assert launch.Resources(**config.resources).cpus == 2
    assert Notebook(Path(config.notebook)).path == TRAIN, "a bare name is looked for among the checkout's notebooks"
    with pytest.raises(ValueError, match="grid: saw no value of 'seed'"):
        launch.SweepConfig(notebook="train.ipynb", name="x", grid={"seed": []})
    with pytest.raises(ValueError, match="unknown parameter 'cpu'; did you mean 'cpus'"):
        launch.SweepConfig(notebook="train.ipynb", name="x", grid={"seed": [0]}, cpu=2)


def test_waiting_shows_what_changes(capsys, monkeypatch):
    from n2n.launch import submission

    tables = [["queued"] * 2, ["queued"] * 2, ["running", "queued"], ["done", "failed"]]
    told = iter([pd.DataFrame({"state": states, "excess_loss": [0.1, np.nan]}) for states in tables])
    monkeypatch.setattr(launch.Jobs, "table", lambda self: next(told))
    monkeypatch.setattr(submission, "PERIOD", 0)
    assert launch.Jobs(None).wait(watch=True)["state"].tolist() == ["done", "failed"]
    assert capsys.readouterr().out.splitlines() == ["2 queued", "1 running, 1 queued", "1 done, 1 failed"]


def test_waiting_has_an_end(monkeypatch, tmp_path):
    from n2n.launch import submission

    monkeypatch.setattr(launch.Jobs, "table", lambda self: pd.DataFrame({"state": ["running"]}))
    monkeypatch.setattr(launch.Jobs, "path", tmp_path / "endless")
    monkeypatch.setattr(submission, "PERIOD", 0.01)
    with pytest.raises(TimeoutError, match=r"endless is not finished after 0.1 s: 1 running"):
        launch.Jobs(None).wait(0.1)


def test_a_local_job_whose_time_is_up_is_queued_again(runs):
    """submitit's own controller ends it after so many seconds and starts it anew."""
    given = {**SMALL, "steps": 10**6, "eval_every": None}
    jobs = launch.submit(TRAIN, [given], name="timed", cluster="local", cpus=1, time=0.8, grace=8)
    (point,) = jobs.sweep.points
    log = jobs.path / point / "logs" / "rank0.log"
    waited(lambda: log.exists() and "resumed at step" in log.read_text(), 180)
    assert jobs.table()["state"].tolist() == ["running"]
    jobs.cancel()
    waited(lambda: jobs.table()["state"].tolist() == ["preempted"])


def test_a_notebook_that_does_not_train_is_cancelled_too(tmp_path):
    notebook = trivial(tmp_path / "t.ipynb", "open('begun', 'w'); import time; time.sleep(600)")
    jobs = launch.submit(notebook, [{}], name="asleep", cluster="local")
    waited(lambda: (jobs.path / "code" / "begun").exists())
    jobs.cancel()
    waited(lambda: jobs.table()["state"].tolist() == ["preempted"])


# What jobs and clusters leave behind


@pytest.mark.parametrize(
    ("error", "run", "heard", "state"),
    [
        (None, None, "", "done"),
        (None, "done", "requeue", "done"),
        (None, "preempted", "", "preempted"),
        ("Traceback", "preempted", "", "preempted"),
        ("Traceback", None, "requeue", "preempted"),
        ("Traceback", None, "", "failed"),
        ("Traceback", "failed", "leave", "failed"),
        ("Traceback", "done", "", "failed"),
    ],
)
def test_how_a_job_ended(error, run, heard, state):
    told = SimpleNamespace(any=bool(heard))
    assert job._state(error, run, told) == state


@quiet_kernel
def test_what_a_run_said_to_an_earlier_job_is_not_believed(tmp_path):
    """It was preempted; the next job fails before its run has begun."""
    (tmp_path / "status.json").write_text('{"state": "preempted", "step": 7}')
    failing = job.NotebookJob(trivial(tmp_path / "t.ipynb"), tmp_path, {"fail": True}, {})
    with pytest.raises(job.JobFailed, match="as it was asked to"):
        failing()
    assert read_json(tmp_path / "job.json")["state"] == "failed"
    with locked(tmp_path / ".job.lock"), pytest.raises(job.JobFailed, match="another job is at work"):
        failing()


@pytest.mark.parametrize(
    ("heard", "given", "live", "log", "state"),
    [
        (None, None, None, False, "missing"),
        (None, "waiting", None, False, "missing"),
        (None, "7", slurm.Live(False), False, "queued"),
        ("requeued", "7", slurm.Live(False), True, "queued"),
        ("running", "7", slurm.Live(True), True, "running"),
        ("running", "7", None, True, "killed"),
        (None, "7", None, True, "killed"),
        (None, "7", None, False, "cancelled"),
        ("requeued", "7", None, True, "preempted"),
        ("failed", "7", None, True, "failed"),
        ("done", "8", None, True, "done"),
    ],
)
def test_how_a_point_stands(heard, given, live, log, state):
    assert point_states._state(heard, given, live, log) == state


def test_a_job_that_could_not_even_begin_says_why(tmp_path, runs):
    """Its interpreter is gone, as on a node without the virtual environment."""
    notebook = trivial(tmp_path / "t.ipynb")
    jobs = launch.submit(notebook, [{}], name="broken", cluster="debug")
    logs = jobs.path / "jobs"
    logs.mkdir(exist_ok=True)
    (logs / "12_0_log.out").write_text("")
    (logs / "12_0_log.err").write_text("first\nModuleNotFoundError: No module named 'n2n'\n")
    (jobs.path / "defaults" / "job.json").unlink()
    jobs.sweep.note_jobs({"defaults": "12"})
    (row,) = jobs.table().to_dict("records")
    assert (row["state"], row["error"]) == ("killed", "ModuleNotFoundError: No module named 'n2n'")


def test_a_copy_that_was_cut_off_is_made_anew(tmp_path, runs, monkeypatch):
    from n2n.launch import sweep

    notebook = trivial(tmp_path / "t.ipynb")
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "write_json", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            launch.submit(notebook, [{}], name="cut", cluster="debug")
    (runs / "cut" / ".code.killed.part").mkdir()
    launch.submit(notebook, [{}], name="cut", cluster="debug")
    assert {path.name for path in (runs / "cut").iterdir() if "code" in path.name} == {"code"}


def test_gpus_are_those_that_this_process_may_use(monkeypatch):
    from n2n.launch.dispatcher import _gpus

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _gpus(1, 2) == [2, 3]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert [_gpus(slot, 1) for slot in range(3)] == [[4], [5], [7]]


# From a shell


def test_a_dry_run_shows_what_would_be_and_does_nothing(capsys, runs, monkeypatch):
    monkeypatch.setattr(slurm, "available", lambda: True)
    monkeypatch.setattr(slurm, "ask", lambda *command, **given: SINFO)
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


# The table of many runs


def test_a_table_of_runs(small, runs):
    for seed in (0, 1):
        n2n.train(small(seed=seed, run_dir=runs / "many" / f"seed={seed}"))
    (runs / "many" / "broken").mkdir()
    found = n2n.runs.table("many")
    assert found.index.tolist() == ["seed=0", "seed=1"]
    assert found["seed"].tolist() == [0, 1]
    assert found["state"].tolist() == ["done", "done"]
    assert found["excess_loss"].iloc[1] == n2n.Run(runs / "many" / "seed=1").evaluation["excess_loss"]
    assert found.equals(n2n.runs.table(runs / "many"))
    with pytest.raises(ValueError, match="no sweep 'few'"):
        n2n.runs.table("few")
    with pytest.raises(ValueError, match="holds no runs"):
        n2n.runs.table(runs / "many" / "broken")
