"""Several processes that train one model under torchrun: same curve as one, common end, none left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from support.run_folders import COMPUTED, assert_same_run, config, contents, logged, still_there, waited

import n2n
from n2n.monitor import checkpoint

STEPS = 30
MODELS = {
    "ddp": {"arch": "transformer", "accumulate": 2},
    "fsdp": {"arch": "mamba", "layers": 2, "parallel": "fsdp", "accumulate": 2},
}


def written(folder: Path, **fields) -> Path:
    folder.mkdir(parents=True)
    path = folder / "config.json"
    path.write_text(json.dumps(config(**fields).model_dump(mode="json")))
    return path


def torchrun(path: Path, ranks: int = 2, before: str = "") -> subprocess.Popen:
    """Start torchrun with the worker; each process runs the Python code ``before`` first."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    worker = ["-m", "n2n.training"]
    if before:
        script = path.with_name(".worker.py")
        script.write_text(f"{before}\nimport sys\nfrom n2n.training.cli import main\nsys.exit(main())\n")
        worker = [str(script)]
    command = [*launcher, *worker, str(path)]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **streams)


SLOWLY = (
    "import time; from n2n.training import learner as l; u = l.update; l.update = lambda *a: time.sleep(0.05) or u(*a)"
)


def assert_all_gone(folder: Path) -> None:
    waited(lambda: not still_there(str(folder)))


def assert_same_curve(one: n2n.Run, other: n2n.Run) -> None:
    """Equal up to the rounding of float32 sums in another order."""
    a, b = one.metrics[COMPUTED], other.metrics[COMPUTED]
    assert a["step"].tolist() == b["step"].tolist()
    assert (a["oracle_nll"] - b["oracle_nll"]).abs().max() < 1e-12, "the same sequences"
    for name in ("loss", "grad_norm"):
        assert (a[name] - b[name]).abs().max() < 1e-4
    weights = other.model().state_dict()
    for name, value in one.model().state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=1e-4)
    for here, there in zip(one.evaluations, other.evaluations, strict=True):
        assert here["excess_loss"] == pytest.approx(there["excess_loss"], abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_have_the_curve_of_one(name, tmp_path):
    """Started from Python; part of the run on two processes and the rest on one."""
    fields = {**MODELS[name], "steps": STEPS, "batch_size": 8}
    one = n2n.train(config(**fields, run_dir=tmp_path / "one"))
    two = n2n.train(config(**fields, processes=2, run_dir=tmp_path / "two"))
    assert_same_curve(one, two)
    assert two.config.processes == 2
    assert {path.name for path in (two.path / "logs").iterdir()} >= {"rank0.log", "rank1.log", "torchrun.log"}
    longer = {**fields, "steps": STEPS + 10}
    n2n.train(config(**longer, run_dir=tmp_path / "two"))
    n2n.train(config(**longer, processes=2, run_dir=tmp_path / "one"))
    assert_same_curve(n2n.Run(tmp_path / "one"), n2n.Run(tmp_path / "two"))
    assert_all_gone(tmp_path)


def test_two_processes_resume_to_the_bit(tmp_path):
    """Resumed from a copy of the folder after 15 steps."""
    fields = {"steps": STEPS, "batch_size": 8, "processes": 2}
    whole = n2n.train(config(**fields, run_dir=tmp_path / "whole"))
    shutil.copytree(whole.path, tmp_path / "resumed")
    for step in checkpoint.steps(whole.path / "checkpoints"):
        if step > 15:
            shutil.rmtree(tmp_path / "resumed" / "checkpoints" / f"step_{step:08d}")
    resumed = n2n.train(config(**fields, run_dir=tmp_path / "resumed"))
    assert "resumed at step 15 of 30" in (resumed.path / "logs" / "rank0.log").read_text()
    assert_same_run(whole, resumed)


@pytest.mark.parametrize("way", ["SIGTERM to torchrun", "Ctrl-C", "SIGUSR1 to the second process", "STOP"])
def test_all_processes_leave_at_the_same_step(way, tmp_path):
    """One process then continues the run as if it had not been interrupted."""
    fields = {"steps": STEPS, "batch_size": 8, "schedule": "constant"}
    folder = tmp_path / "run"
    process = torchrun(written(folder, **fields), before=SLOWLY)
    waited(lambda: logged(folder) >= 6)
    if way == "SIGTERM to torchrun":
        process.terminate()
    elif way == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    elif way == "STOP":
        (folder / "STOP").touch()
    else:
        first = n2n.Run(folder).status["pid"]
        ranks = [child.pid for child in psutil.Process(process.pid).children() if child.pid != first]
        os.kill(ranks[0], signal.SIGUSR1)
    _, stderr = process.communicate(timeout=60)
    status = n2n.Run(folder).status
    assert status["state"] == "preempted", stderr
    assert 6 < status["step"] < STEPS
    assert checkpoint.steps(folder / "checkpoints")[-1] == status["step"]
    assert f"left at step {status['step']}" in (folder / "logs" / "rank0.log").read_text()
    assert f"left at step {status['step']}" in (folder / "logs" / "rank1.log").read_text()
    assert_all_gone(folder)
    whole = n2n.train(config(**fields, run_dir=tmp_path / "whole"))
    assert_same_curve(whole, n2n.train(config(**fields, run_dir=folder)))


FAILING = """
import os
from n2n.training import learner
real, made = learner.update, []
def update(*given):
    made.append(1)
    if os.environ["RANK"] == "1" and len(made) == 8:
        raise ArithmeticError("of the second process")
    return real(*given)
learner.update = update
"""


def test_a_process_that_fails_ends_the_others_and_is_reported(tmp_path):
    folder = tmp_path / "run"
    process = torchrun(written(folder, steps=10**6, batch_size=8), before=FAILING)
    process.communicate(timeout=60)
    assert process.returncode != 0
    status = n2n.Run(folder).status
    assert (status["state"], status["step"]) == ("failed", 5)
    assert "ArithmeticError: of the second process" in status["error"]
    assert "rank 1 of 2" in status["error"]
    assert_all_gone(folder)


def test_a_process_that_is_killed_ends_the_others(tmp_path):
    folder = tmp_path / "run"
    process = torchrun(written(folder, steps=10**6, batch_size=8))
    waited(lambda: logged(folder) >= 6)
    first = n2n.Run(folder).status["pid"]
    (second,) = (child for child in psutil.Process(process.pid).children() if child.pid != first)
    second.kill()
    process.communicate(timeout=60)
    assert n2n.Run(folder).status["state"] == "failed"
    assert_all_gone(folder)


LAUNCHER = """
import sys; sys.path.insert(0, {tests!r})
import n2n
from support.run_folders import config
n2n.train(config(**{fields!r}, run_dir={folder!r}))
print("not reached")
"""
LAUNCHED = {"steps": 10**6, "batch_size": 8, "processes": 2, "schedule": "constant", "warmup": 0.0}


def launched(folder: Path) -> subprocess.Popen:
    code = LAUNCHER.format(tests=str(Path(__file__).parents[1]), folder=str(folder), fields=LAUNCHED)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **streams)
    waited(lambda: logged(folder) >= 6)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_signal_to_the_launcher(number, tmp_path):
    """The run then continues as if it had not been interrupted. Slurm sends SIGUSR2 to every process."""
    folder = tmp_path / "run"
    process = launched(folder)
    receivers = [psutil.Process(process.pid)]
    receivers += receivers[0].children(recursive=True) if number == signal.SIGUSR2 else []
    for one in receivers:
        one.send_signal(number)
    out, stderr = process.communicate(timeout=60)
    status = n2n.Run(folder).status
    assert (status["state"], status["error"]) == ("preempted", None)
    assert f"{number.name}: saved at step {status['step']}" in stderr
    assert "not reached" not in out
    assert not (folder / "STOP").exists()
    assert_all_gone(folder)
    fields = {**LAUNCHED, "steps": status["step"] + 6, "processes": 1}
    whole = n2n.train(config(**fields, run_dir=tmp_path / "whole"))
    assert_same_curve(whole, n2n.train(config(**fields, run_dir=folder)))


def test_a_second_launcher_is_refused_from_the_start(tmp_path):
    folder = tmp_path / "run"
    code = LAUNCHER.format(tests=str(Path(__file__).parents[1]), folder=str(folder), fields=LAUNCHED)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, start_new_session=True)
    try:
        waited(lambda: (folder / "status.json").exists())
        for fields in ({**LAUNCHED, "log_every": 7}, {**LAUNCHED, "processes": 1}):
            with pytest.raises(ValueError, match=rf"is being trained by process {process.pid} on"):
                n2n.train(config(**fields, run_dir=folder))
        assert n2n.Run(folder).config.log_every != 7
        waited(lambda: logged(folder) >= 4)
        assert n2n.Run(folder).status["state"] == "running"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert_all_gone(folder)


def test_another_dataset_is_refused_before_processes_start(tmp_path):
    process = config().process
    paths = [str(n2n.data.generate(process, tmp_path / f"{n}.npy", n, 12).path) for n in (40, 41)]
    fields = {"steps": 5, "batch_size": 8, "run_dir": tmp_path / "run"}
    run = n2n.train(config(**fields, data=paths[0]))
    before = contents(run.path)
    with pytest.raises(ValueError, match="was trained on a dataset of SHA-256"):
        n2n.train(config(**{**fields, "steps": 10}, data=paths[1], processes=2))
    assert contents(run.path) == before


def test_a_second_ctrl_c_kills_the_processes(tmp_path):
    process = launched(tmp_path / "run")
    (first,) = {n2n.Run(tmp_path / "run").status["pid"]}
    os.kill(first, signal.SIGSTOP)  # the processes cannot leave by themselves
    os.kill(process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert n2n.Run(tmp_path / "run").status["state"] == "preempted"
    assert_all_gone(tmp_path / "run")


def test_no_process_outlives_a_killed_launcher(tmp_path):
    """They save first, because the system signals them."""
    process = launched(tmp_path / "run")
    process.kill()
    process.communicate(timeout=60)
    assert_all_gone(tmp_path / "run")
    status = n2n.Run(tmp_path / "run").status
    assert status["state"] == "preempted"
    assert checkpoint.steps(tmp_path / "run" / "checkpoints")[-1] == status["step"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 7}, r"batch_size: saw 7; a multiple of processes \(2\) times accumulate \(1\)"),
        (
            {"batch_size": 6, "accumulate": 2},
            r"batch_size: saw 6; .* processes \(2\) times accumulate \(2\)",
        ),
        ({"batch_size": 8, "parallel": "dpp"}, "parallel: saw 'dpp'.*did you mean 'ddp'"),
        ({"batch_size": 8, "data": "nowhere.npy"}, "no dataset at"),
    ],
)
def test_a_batch_that_cannot_be_shared_starts_no_process(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        n2n.train(config(processes=2, run_dir=tmp_path / "run", **fields))
    assert not (tmp_path / "run").exists()


def test_processes_that_the_job_s_nodes_do_not_divide_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "3")
    with pytest.raises(ValueError, match="processes: saw 2, which the job's 3 nodes do not divide"):
        n2n.train(config(processes=2, batch_size=8, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_torchrun_s_own_number_of_processes_must_divide_the_batch(tmp_path):
    path = written(tmp_path / "run", steps=4, batch_size=8, accumulate=4)
    process = torchrun(path, ranks=4)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "batch_size: saw 8; a multiple of processes (4) times accumulate (4) is needed" in stderr
    assert [entry.name for entry in path.parent.iterdir()] == ["config.json"]
