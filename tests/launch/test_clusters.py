"""The choice of a cluster, and jobs on this machine that are cancelled, killed and resubmitted."""

import signal
import subprocess
import sys
from unittest import mock

import psutil
import pytest
from support.run_folders import SMALL, still_there, wait_until
from support.small_notebook import slow_training, trivial

import n2n
from n2n import launch
from n2n.launch import clusters, slurm
from n2n.launch.sweep import LOGS, Sweep
from n2n.runs.paths import SWEEP
from n2n.utils.files import read_json, write_json


@pytest.mark.parametrize(
    ("name", "message"),
    [("slrum", "unknown cluster 'slrum'; did you mean 'slurm'"), ("slurm", "no Slurm answers here")],
)
def test_unknown_clusters_are_refused(name, message, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm, "available", lambda: False)
    with pytest.raises(ValueError, match=message):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name="nowhere", cluster=name)
    assert clusters.cluster_by_name("auto").name == "local"


def test_a_local_sweep_respects_max_parallel_and_outlives_its_submitter(tmp_path, runs):
    notebook = trivial(tmp_path / "t.ipynb", "import time; time.sleep(0.5)")
    command = [sys.executable, "-m", "n2n.launch", str(notebook), "--name", "wide", "--cluster", "local"]
    subprocess.run([*command, "--grid", "i=0,1,2", "--max-parallel", "2"], check=True, capture_output=True, text=True)
    jobs, num_running = launch.load("wide"), []

    def all_done() -> bool:
        counts = jobs.table()["state"].value_counts()
        assert set(counts.index) <= {"queued", "running", "done"}
        num_running.append(counts.get("running", 0))
        return counts.get("done", 0) == 3

    wait_until(all_done, 120)
    assert max(num_running) == min(2, n2n.utils.cpu.cores())
    assert sorted(path.name for path in runs.glob("wide/*/notebook.ipynb")) == ["notebook.ipynb"] * 3
    wait_until(lambda: not still_there(str(runs)))


def test_local_jobs_are_cancelled_killed_and_resubmitted(tmp_path, runs):
    """The first run saves, the others are still queued; after ``resubmit`` the first continues, and is then killed."""
    points = [{**SMALL, "steps": 10**6, "eval_every": None, "seed": seed} for seed in range(3)]
    jobs = launch.submit(
        slow_training(tmp_path / "t.ipynb", 0.05), points, name="ended", cluster="local", max_parallel=1, cpus=1
    )
    folder = jobs.path / "seed=0"
    wait_until(lambda: (folder / "checkpoints" / "step_00000005").exists())
    assert jobs.table()["state"].tolist() == ["running", "queued", "queued"]
    jobs.cancel()
    wait_until(lambda: jobs.table()["state"].tolist() == ["preempted", "cancelled", "cancelled"])
    stopped = n2n.Run(folder).status
    assert stopped["state"] == "preempted"
    assert jobs.resubmit() == ["seed=0", "seed=1", "seed=2"]
    wait_until(lambda: n2n.Run(folder).status["step"] > stopped["step"])
    job = psutil.Process(read_json(folder / "job.json")["pid"])
    for process in [*job.children(recursive=True), job]:
        process.kill()
    wait_until(lambda: jobs.table()["state"].iloc[0] == "killed")
    jobs.cancel()
    wait_until(lambda: not still_there(str(runs)))
    assert f"resumed at step {stopped['step']}" in (folder / "logs" / "rank0.log").read_text()


def test_a_job_that_starts_while_its_sweep_is_cancelled_is_stopped(tmp_path, monkeypatch):
    """Until the dispatcher has ended, it may start a job between a look at the jobs and a change of their record."""
    write_json(tmp_path / SWEEP, {})
    sweep, record_jobs, jobs = Sweep(tmp_path), Sweep.record_jobs, []
    sweep.record_jobs({"a": clusters.WAITING, "b": clusters.WAITING})

    def start() -> None:
        if not jobs:
            command = [sys.executable, "-c", "import time; time.sleep(600)", str(sweep.path / LOGS)]
            jobs.append(subprocess.Popen(command))
            record_jobs(sweep, {"a": str(jobs[0].pid)})

    dispatcher = mock.Mock(terminate=start)
    monkeypatch.setattr(clusters, "_dispatchers", lambda sweep: [dispatcher])
    monkeypatch.setattr(psutil, "wait_procs", lambda processes, seconds: None)
    monkeypatch.setattr(Sweep, "record_jobs", lambda self, changes: start() or record_jobs(self, changes))
    clusters.Local().cancel(sweep)
    try:
        assert jobs[0].wait(10) == -signal.SIGTERM
    finally:
        jobs[0].kill()
    assert sweep.jobs == {"a": str(jobs[0].pid), "b": "cancelled"}


def test_a_local_job_at_its_time_limit_is_queued_again(tmp_path):
    """submitit's own controller ends the job at the limit and starts it again."""
    point = {**SMALL, "steps": 10**6, "eval_every": None}
    notebook = slow_training(tmp_path / "t.ipynb", 0.05)
    jobs = launch.submit(notebook, [point], name="timed", cluster="local", cpus=1, time=0.8, grace=8)
    (name,) = jobs.sweep.points
    log = jobs.path / name / "logs" / "rank0.log"
    wait_until(lambda: log.exists() and "resumed at step" in log.read_text(), 240)
    assert jobs.table()["state"].tolist() == ["running"]
    jobs.cancel()
    wait_until(lambda: jobs.table()["state"].tolist() == ["preempted"])


def test_a_notebook_that_does_not_train_can_be_cancelled(tmp_path):
    notebook = trivial(tmp_path / "t.ipynb", "open('begun', 'w'); import time; time.sleep(600)")
    jobs = launch.submit(notebook, [{}], name="asleep", cluster="local")
    wait_until(lambda: (jobs.path / "code" / "begun").exists())
    jobs.cancel()
    wait_until(lambda: jobs.table()["state"].tolist() == ["preempted"])
