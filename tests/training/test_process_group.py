"""Several processes train one model under torchrun: same curve as one, a common end, no process left behind."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import torch
from support import forked_torchrun
from support.forked_torchrun import LAUNCHED, assert_all_gone, exit_code, launcher_program, program, tree
from support.run_folders import COMPUTED, assert_same_run, config, logged, wait_until

import n2n
from n2n.monitor import checkpoint

STEPS = 30
MODELS = {
    "ddp": {"arch": "transformer", "accumulate": 2},
    "fsdp": {"arch": "mamba", "layers": 2, "parallel": "fsdp", "accumulate": 2},
}


def write_config(folder: Path, **fields) -> Path:
    folder.mkdir(parents=True)
    path = folder / "config.json"
    path.write_text(json.dumps(config(**fields).model_dump(mode="json")))
    return path


def torchrun(path: Path, log: Path, before: str = "") -> subprocess.Popen:
    """Start torchrun by its command. Each process runs the Python code ``before`` first; all write to ``log``."""
    worker = ["-m", "n2n.training"]
    if before:
        script = path.with_name(".worker.py")
        script.write_text(f"{before}\nimport sys\nfrom n2n.training.cli import main\nsys.exit(main())\n")
        worker = [str(script)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return program([*launcher, *worker, str(path)], log)


def train_forked(log: Path, **fields) -> n2n.Run:
    """Train like ``n2n.train`` with several forked processes."""
    assert exit_code(forked_torchrun.launched(fields, log)) == 0, log.read_text()
    return n2n.Run(fields["run_dir"])


def assert_same_curve(one: n2n.Run, other: n2n.Run) -> None:
    """Check equality up to the rounding of float32 sums in another order."""
    a, b = one.metrics[COMPUTED], other.metrics[COMPUTED]
    assert a["step"].tolist() == b["step"].tolist()
    assert (a["oracle_nll"] - b["oracle_nll"]).abs().max() < 1e-12, "the same sequences"
    for name in ("loss", "grad_norm"):
        assert (a[name] - b[name]).abs().max() < 1e-4
    weights = other.model().state_dict()
    for name, value in one.model().state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=1e-4)
    for mine, theirs in zip(one.evaluations, other.evaluations, strict=True):
        assert mine["excess_loss"] == pytest.approx(theirs["excess_loss"], abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_have_the_curve_of_one(name, tmp_path, log):
    """Both runs are started from Python. Each trains partly with one process and partly with two."""
    fields = {**MODELS[name], "steps": STEPS, "batch_size": 8}
    one = n2n.train(config(**fields, run_dir=tmp_path / "one"))
    shared = {**fields, "processes": 2, "run_dir": tmp_path / "two"}
    two = n2n.train(config(**shared)) if name == "ddp" else train_forked(log, **shared)
    assert_same_curve(one, two)
    assert two.config.processes == 2
    assert {path.name for path in (two.path / "logs").iterdir()} >= {"rank0.log", "rank1.log", "torchrun.log"}
    longer = {**fields, "steps": STEPS + 10}
    n2n.train(config(**longer, run_dir=tmp_path / "two"))
    train_forked(log, **longer, processes=2, run_dir=tmp_path / "one")
    assert_same_curve(n2n.Run(tmp_path / "one"), n2n.Run(tmp_path / "two"))
    assert_all_gone([], tmp_path)


def test_two_processes_resume_to_the_bit(tmp_path, log):
    """The second run resumes from a copy of the folder after 15 steps."""
    fields = {"steps": STEPS, "batch_size": 8, "processes": 2}
    whole = train_forked(log, **fields, run_dir=tmp_path / "whole")
    shutil.copytree(whole.path, tmp_path / "resumed")
    for step in checkpoint.steps(whole.path / "checkpoints"):
        if step > 15:
            shutil.rmtree(tmp_path / "resumed" / "checkpoints" / f"step_{step:08d}")
    resumed = train_forked(log, **fields, run_dir=tmp_path / "resumed")
    assert "resumed at step 15 of 30" in (resumed.path / "logs" / "rank0.log").read_text()
    assert_same_run(whole, resumed)


@pytest.mark.parametrize("way", ["SIGTERM to torchrun", "Ctrl-C", "SIGUSR1 to the second process", "STOP"])
def test_all_processes_leave_at_the_same_step(way, tmp_path, log):
    """One process then continues the run as if it had not been interrupted. Ctrl-C interrupts the real command."""
    fields = {"steps": STEPS, "batch_size": 8, "schedule": "constant"}
    folder = tmp_path / "run"
    path = write_config(folder, **fields)
    if way == "Ctrl-C":
        process = torchrun(path, log, "from support.forked_torchrun import slow_down\nslow_down()")
    else:
        process = forked_torchrun.torchrun(path, log, before=forked_torchrun.slow_down)
    wait_until(lambda: logged(folder) >= 6)
    processes = tree(process.pid)
    if way == "SIGTERM to torchrun":
        process.terminate()
    elif way == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    elif way == "STOP":
        (folder / "STOP").touch()
    else:
        second_process(process.pid, folder).send_signal(signal.SIGUSR1)
    exit_code(process)
    status = n2n.Run(folder).status
    assert status["state"] == "preempted", log.read_text()
    assert 6 < status["step"] < STEPS
    assert checkpoint.steps(folder / "checkpoints")[-1] == status["step"]
    assert f"left at step {status['step']}" in (folder / "logs" / "rank0.log").read_text()
    assert f"left at step {status['step']}" in (folder / "logs" / "rank1.log").read_text()
    assert_all_gone(processes, folder)
    whole = n2n.train(config(**fields, run_dir=tmp_path / "whole"))
    assert_same_curve(whole, n2n.train(config(**fields, run_dir=folder)))


def second_process(torchrun: int, folder: Path) -> psutil.Process:
    """The process of torchrun that does not write the run's status."""
    first = n2n.Run(folder).status["pid"]
    (second,) = (child for child in psutil.Process(torchrun).children() if child.pid != first)
    return second


def test_a_process_that_fails_ends_the_others_and_is_reported(tmp_path, log):
    folder = tmp_path / "run"
    path = write_config(folder, steps=10**6, batch_size=8)
    process = forked_torchrun.torchrun(path, log, before=forked_torchrun.fail_in_second_process)
    wait_until(lambda: logged(folder) >= 0)
    processes = tree(process.pid)
    assert exit_code(process) != 0
    status = n2n.Run(folder).status
    assert (status["state"], status["step"]) == ("failed", 5)
    assert "ArithmeticError: of the second process" in status["error"]
    assert "rank 1 of 2" in status["error"]
    assert_all_gone(processes, folder)


def test_a_process_that_is_killed_ends_the_others(tmp_path, log):
    """This test uses torchrun's real command."""
    folder = tmp_path / "run"
    process = torchrun(write_config(folder, steps=10**6, batch_size=8), log)
    wait_until(lambda: logged(folder) >= 6)
    processes = tree(process.pid)
    second_process(process.pid, folder).kill()
    exit_code(process)
    assert n2n.Run(folder).status["state"] == "failed"
    assert_all_gone(processes, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_signal_to_the_launcher(number, tmp_path, log):
    """The run then continues as if it had not been interrupted. Slurm sends SIGUSR2 to every process.

    SIGUSR2 goes to the real commands, because each of them handles it in its own way.
    """
    folder = tmp_path / "run"
    if number == signal.SIGUSR2:
        process = launcher_program(folder, log)
    else:
        process = forked_torchrun.launched({**LAUNCHED, "run_dir": folder}, log)
    wait_until(lambda: logged(folder) >= 6)
    processes = tree(process.pid)
    for one in processes if number == signal.SIGUSR2 else processes[:1]:
        one.send_signal(number)
    exit_code(process)
    status = n2n.Run(folder).status
    assert (status["state"], status["error"]) == ("preempted", None)
    assert f"{number.name}: saved at step {status['step']}" in log.read_text()
    assert "not reached" not in log.read_text()
    assert not (folder / "STOP").exists()
    assert_all_gone(processes, folder)
    fields = {**LAUNCHED, "steps": status["step"] + 6, "processes": 1}
    whole = n2n.train(config(**fields, run_dir=tmp_path / "whole"))
    assert_same_curve(whole, n2n.train(config(**fields, run_dir=folder)))


def test_the_number_of_processes_of_torchrun_must_divide_the_batch(tmp_path, log):
    path = write_config(tmp_path / "run", steps=4, batch_size=8, accumulate=4)
    assert exit_code(forked_torchrun.torchrun(path, log, processes=4)) != 0
    assert "batch_size: saw 8; a multiple of processes (4) times accumulate (4) is needed" in log.read_text()
    assert [entry.name for entry in path.parent.iterdir()] == ["config.json"]
