"""Sweeps on a real Slurm cluster, with time limits, requeues, kills and cancellations."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
import torch
from support.notebooks import TRAIN
from support.run_folders import COMPUTED, SMALL, still_there
from support.slurm_cluster import Cluster, missing, search_path
from support.small_notebook import slow_training, trivial

import n2n
from n2n import launch
from n2n.launch import slurm
from n2n.monitor import checkpoint
from n2n.utils.files import read_json

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there is a Slurm")
MAX_SECONDS = 420  # of any wait
TINY = {**SMALL, "eval_every": None, "log_every": 10}
LONG = {**TINY, "steps": 600, "checkpoint_every": 20}
ENDLESS = {**TINY, "steps": 10**6, "checkpoint_every": 20, "schedule": "constant", "warmup": 0.0}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", search_path())
        cluster = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
        patch.setenv("SLURM_CONF", str(cluster.config))
        try:
            yield cluster
        finally:
            cluster.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Folder of all sweeps in this file, some of which run during other tests."""
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(autouse=True)
def _runs_here(runs, monkeypatch, timed_out):
    """The job that repeatedly reaches its time limit runs during all tests."""
    monkeypatch.setenv("N2N_RUNS", str(runs))


@pytest.fixture(scope="module")
def slow(tmp_path_factory) -> Path:
    """A notebook that trains slowly."""
    return slow_training(tmp_path_factory.mktemp("notebooks") / "slow.ipynb", 0.03)


@pytest.fixture(scope="module")
def timed_out(cluster, runs, slow) -> launch.Jobs:
    """A sweep of one endless run in jobs of one minute, which runs during the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("N2N_RUNS", str(runs))
        return launch.submit(slow, [ENDLESS], name="timed-out", cluster="slurm", time=1, grace=5, cpus=1)


def train_uninterrupted(**fields) -> n2n.Run:
    """Train in this process, with one thread like a job with one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return n2n.train(n2n.TrainConfig(**fields))
    finally:
        torch.set_num_threads(threads)


def state(jobs: launch.Jobs, point: str) -> str:
    return jobs.table().loc[point, "state"]


def saved(jobs: launch.Jobs, point: str) -> int:
    return max(checkpoint.steps(jobs.path / point / "checkpoints"), default=0)


def test_a_sweep_to_completion_and_its_table(cluster, timed_out):
    points = launch.grid(arch=["transformer", "mamba"], seed=range(2))
    points = [{**TINY, "steps": 20, **point} for point in points]
    jobs = launch.submit(TRAIN, points, name="two-by-two", cluster="auto")
    assert jobs.sweep.record["cluster"] == "slurm"
    assert jobs.sweep.record["resources"]["partition"] == "main"
    table = jobs.wait(MAX_SECONDS)
    assert table["state"].tolist() == ["done"] * 4
    assert table["step"].tolist() == [20] * 4
    runs = n2n.runs.table("two-by-two")
    assert runs.index.tolist() == [f"arch={a},seed={s}" for a in ("transformer", "mamba") for s in (0, 1)]
    assert runs["arch"].tolist() == ["transformer"] * 2 + ["mamba"] * 2
    assert runs["excess_loss"].tolist() == pytest.approx(table["excess_loss"].tolist())
    for point in table.index:
        assert "papermill" in nbformat.read(jobs.path / point / "notebook.ipynb", 4).metadata
        assert Path(table.loc[point, "log"]).is_file()
        environment = read_json(jobs.path / point / "environment.json")
        assert environment["git_commit"] == read_json(jobs.path / "code" / "snapshot.json")["git_commit"]
    reopened = launch.submit(TRAIN, points, name="two-by-two")
    assert reopened.resubmit() == []


def test_a_failing_task_does_not_affect_the_others(cluster, tmp_path):
    notebook = trivial(tmp_path / "trivial.ipynb")
    jobs = launch.submit(notebook, launch.grid(fail=[False, True]), name="failing", cluster="slurm")
    table = jobs.wait(MAX_SECONDS)
    assert table["state"].tolist() == ["done", "failed"]
    error = read_json(jobs.path / "fail=true" / "job.json")["error"]
    assert "AssertionError: fail is set" in error
    assert "\x1b" not in error


def test_requeued_cancelled_and_killed_runs_continue(cluster, slow):
    """Three runs that differ only in the size of their evaluation. Each equals an uninterrupted run in the end."""
    points = [{**LONG, "eval_sequences": n} for n in (9, 10, 11)]
    jobs = launch.submit(slow, points, name="ended", cluster="slurm", cpus=1, time=30)
    requeued, cancelled, killed = jobs.table().index
    for point in (requeued, cancelled, killed):
        cluster.wait(lambda point=point: saved(jobs, point) >= 20, MAX_SECONDS)

    first = jobs.sweep.jobs[requeued]
    cluster.ask("scontrol", "requeue", first)
    cluster.ask("scancel", jobs.sweep.jobs[cancelled])
    job = read_json(jobs.path / killed / "job.json")
    cluster.wait(lambda: state(jobs, cancelled) == "preempted", MAX_SECONDS)
    before = {point: saved(jobs, point) for point in (cancelled, killed)}
    assert n2n.Run(jobs.path / cancelled).status["step"] == before[cancelled], "the run was saved at its last step"
    for one in [*psutil.Process(job["pid"]).children(recursive=True), psutil.Process(job["pid"])]:
        one.kill()
    cluster.wait(lambda: state(jobs, killed) == "killed", MAX_SECONDS)

    assert jobs.resubmit() == [cancelled, killed]
    whole, table = train_uninterrupted(**LONG), jobs.wait(MAX_SECONDS)
    assert table["state"].tolist() == ["done"] * 3
    assert jobs.sweep.jobs[requeued] == first, "Slurm requeued the same job"
    for point in (requeued, cancelled, killed):
        run = n2n.Run(jobs.path / point)
        assert "resumed at step" in "".join(path.read_text() for path in (run.path / "logs").glob("*.log"))
        assert run.metrics["loss"].equals(whole.metrics["loss"])
        ours, theirs = run.model().state_dict(), whole.model().state_dict()
        assert all((value == theirs[name]).all() for name, value in ours.items())


def test_two_nodes_have_the_curve_of_one_process(cluster, slow):
    fields = {**TINY, "steps": 30, "batch_size": 8}
    one = n2n.train(n2n.TrainConfig(**fields))
    jobs = launch.submit(slow, [fields], name="two-nodes", cluster="slurm", nodes=2, cpus=1)
    (point,) = jobs.wait(MAX_SECONDS).index
    assert state(jobs, point) == "done", read_json(jobs.path / point / "job.json")["error"]
    two = n2n.Run(jobs.path / point)
    assert two.config.processes == 2
    assert {"rank0.log", "rank1.log"} <= {path.name for path in (two.path / "logs").iterdir()}
    assert (one.metrics["oracle_nll"] - two.metrics["oracle_nll"]).abs().max() < 1e-12
    assert (one.metrics["loss"] - two.metrics["loss"]).abs().max() < 1e-4


def test_edits_after_submitting_have_no_effect(cluster, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(Path(n2n.__file__).parent, tree / "n2n", ignore=shutil.ignore_patterns("__pycache__"))
    notebook = trivial(
        tree / "trivial.ipynb", "import n2n; from n2n.utils import strict; print(n2n.__file__, strict.MAX_INTEGER)"
    )
    strict = tree / "n2n" / "utils" / "strict.py"
    strict.write_text(strict.read_text() + "\nMAX_INTEGER = 12345\n")
    cluster.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
    command = [sys.executable, "-m", "n2n.launch", str(notebook), "--name", "edited", "--cluster", "slurm"]
    done = subprocess.run([*command, "--grid", "i=0,1"], cwd=tree, capture_output=True, text=True, check=True)
    assert "2 queued" in done.stdout
    strict.write_text("raise RuntimeError('edited')\n")
    notebook.write_text("{}")
    cluster.ask("scontrol", "update", "PartitionName=main", "State=UP")
    jobs = launch.load("edited")
    assert jobs.wait(MAX_SECONDS)["state"].tolist() == ["done", "done"]
    for point in jobs.sweep.points:
        printed = nbformat.read(jobs.path / point / "notebook.ipynb", 4).cells[-1].outputs[0].text
        assert printed.split() == [str(jobs.path / "code" / "n2n" / "__init__.py"), "12345"]


def test_max_parallel_limits_the_jobs_that_run_at_once(cluster, tmp_path):
    notebook = trivial(tmp_path / "trivial.ipynb", "import time; time.sleep(0.5)")
    jobs = launch.submit(notebook, launch.grid(i=range(5)), name="narrow", cluster="slurm", max_parallel=2, cpus=1)
    running = []

    def all_done() -> bool:
        states = jobs.table()["state"]
        running.append((states == "running").sum())
        return (states == "done").all()

    cluster.wait(all_done, MAX_SECONDS)
    assert max(running) == 2


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"partition": "mian"}, "unknown partition 'mian'; did you mean 'main'"),
        ({"cpus": 3, "mem": 4}, "cpus: saw 3; at most 2 a node\n  - mem: saw 4; at most 2 GB a node"),
        ({"gpus": 1}, "gpus: saw 1; at most 0 a node"),
        ({"partition": "short", "time": 6}, "time: saw 6; at most 5 minutes"),
        ({"partition": "short", "nodes": 2}, "nodes: saw 2; at most 1"),
        ({"constraint": "erly"}, "unknown feature 'erly'; did you mean 'early'"),
        ({"tmie": 5}, "unknown parameter 'tmie'; did you mean 'time'"),
    ],
)
def test_resources_that_the_cluster_does_not_have_are_refused(cluster, tmp_path, runs, resources, message):
    before = sorted(runs.iterdir())
    with pytest.raises(ValueError, match="(?s)" + message.replace("(", r"\(")):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name="refused", cluster="slurm", **resources)
    assert sorted(runs.iterdir()) == before
    assert "refused" not in cluster.ask("squeue", "-h", "-o", "%j")


def test_jobs_queued_before_sbatch_failed_are_listed_and_can_be_cancelled(cluster, tmp_path, monkeypatch):
    """Arrays have two jobs, and sbatch refuses the second array."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real, once = shutil.which("sbatch"), folder / "once"
    script = [f'case "$*" in *--test-only*) exec {real} "$@";; esac', f"[ -e {once} ] && exec false", f"touch {once}"]
    (folder / "sbatch").write_text("\n".join(["#!/bin/sh", *script, f'exec {real} --hold "$@"', ""]))
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "max_array_size", lambda: 2)
    with pytest.raises(
        OSError, match=r"sbatch refused 3 of 5 points; queued before: (\d+), which cancel takes"
    ) as error:
        launch.submit(trivial(tmp_path / "t.ipynb"), launch.grid(i=range(5)), name="midway", cluster="slurm")
    jobs = launch.load("midway")
    assert str(error.value).split("queued before: ")[1].split(",")[0] == jobs.sweep.jobs["i=0"].split("_")[0]
    assert jobs.table()["state"].tolist() == ["queued"] * 2 + ["missing"] * 3
    jobs.cancel()
    cluster.wait(lambda: jobs.table()["state"].tolist() == ["cancelled"] * 2 + ["missing"] * 3, 30)


def test_a_job_at_its_time_limit_is_requeued_and_loses_nothing(cluster, timed_out):
    """Slurm ends the job at its time limit at least twice."""
    (point,) = timed_out.sweep.points
    folder = timed_out.path / point

    def resumed() -> list[int]:
        log = folder / "logs" / "rank0.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [int(line.split()[-3]) for line in lines if "resumed at step" in line]

    def resumed_twice() -> bool:
        return len(resumed()) >= 2 and saved(timed_out, point) >= resumed()[1] + 20

    cluster.wait(resumed_twice, MAX_SECONDS)
    timed_out.cancel()
    cluster.wait(lambda: state(timed_out, point) == "preempted", 60)
    run = n2n.Run(folder)
    after = next(step for step in checkpoint.steps(folder / "checkpoints") if step > resumed()[0])
    whole = train_uninterrupted(**{**ENDLESS, "steps": after})
    weights = run.model(after).state_dict()
    assert all((value == weights[name]).all() for name, value in whole.model().state_dict().items())
    rows = run.metrics.set_index("step")[COMPUTED[1:]]
    ours = whole.metrics.set_index("step")[COMPUTED[1:]]
    assert rows.index.is_unique
    assert rows.loc[ours.index[:-1]].equals(ours.iloc[:-1]), "both log all steps except the last of the shorter run"


def test_the_jobs_leave_no_process(cluster):
    cluster.wait(lambda: not cluster.ask("squeue", "-h"), 60)
    cluster.wait(lambda: not cluster.steps(), 30)
    assert not still_there(str(n2n.runs.root()))
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
