"""Times of a step's sections, traces, and TensorBoard's files."""

import gzip
import json

import pytest
import torch
from support.killed_trainers import train_and_die, train_quietly, trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import n2n
from n2n.models.sizes import BACKWARD, forward_flops
from n2n.monitor import metrics, profiler
from n2n.monitor.profiler import Clock, matrix_rate, peak_memory

CPU = torch.device("cpu")


def test_the_clock_adds_up_and_starts_again(monkeypatch):
    now = iter([0.0, 1.0, 1.5, 2.0, 4.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(profiler.time, "perf_counter", lambda: next(now))
    clock = Clock(CPU)
    with clock("data"):
        pass
    with clock("data"):
        pass
    assert clock.take() == ({"data": 2.5}, 5.0)
    assert clock.take() == ({}, 1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_clock_times_the_gpu_s_own_work():
    clock, values = Clock(torch.device("cuda")), torch.ones(4096, 4096, device="cuda")
    with clock("forward", on_device=True):
        for _ in range(20):
            values @ values
    spent, total = clock.take()
    assert 20 * 2 * 4096**3 / 1e15 < spent["forward"] < total


def test_a_row_accounts_for_the_time_of_its_steps(small):
    """Sections add up to less than the whole; tokens a second and the matrix share refer to the same time."""
    run = n2n.train(small(steps=40, log_every=10, checkpoint_every=5, eval_every=10, run_dir=""))
    rows, known = run.metrics.iloc[1:], json.loads((run.path / "environment.json").read_text())
    sections = [name for name in rows if name.startswith("ms_")]
    assert sections == [
        f"ms_{n}" for n in ["data", "forward", "backward", "optimizer", "oracle", "monitor", "checkpoint", "evaluation"]
    ]
    per_step = 1e3 * run.config.tokens_per_step / rows["tokens_per_second"]
    assert (rows[sections].sum(axis=1) < per_step).all()
    assert (rows[["ms_forward", "ms_backward", "ms_optimizer", "ms_oracle", "ms_data"]] > 0).all(axis=None)
    assert (rows["ms_checkpoint"] > 0).all()
    flops = forward_flops(run.config.build_model(), 11)["Global"] * (1 + BACKWARD) * 4
    assert known["flops_per_token"] == flops / run.config.tokens_per_step
    share = 1e3 * flops / per_step / known["matrix_flops_per_second"]
    assert rows["of_matrix_rate"].tolist() == pytest.approx(share.tolist())
    assert (rows["memory_mib"] > 50).all()


def test_rates_are_rates():
    assert 1e8 < matrix_rate("cpu") < 1e16
    assert peak_memory(CPU) > 50


def test_a_trace_of_some_steps(small):
    """Perfetto's format: events with names, times and durations, of exactly the traced steps."""
    run = n2n.train(small(steps=12, profile_steps=(3, 5)))
    with gzip.open(run.path / "profile" / "rank0.json.gz") as file:
        events = json.load(file)["traceEvents"]
    steps = [e for e in events if "Optimizer.step" in e.get("name", "") and e.get("ph") == "X"]
    assert len(steps) == 2
    assert all({"ts", "dur", "pid", "tid"} <= event.keys() for event in steps)
    assert any(event.get("name") == "aten::mm" for event in events)


def test_a_trace_that_reaches_the_end_is_written(small):
    run = n2n.train(small(steps=6, profile_steps=(4, 100)))
    assert (run.path / "profile" / "rank0.json.gz").exists()
    assert not (n2n.train(small(steps=3, profile_steps=(4, 100))).path / "profile").exists()


@pytest.mark.parametrize(
    ("steps", "message"),
    [((5, 5), "a first step from 0 and a later one"), ((7, 3), "a later one"), ((-1, 4), "than or equal to 0")],
)
def test_steps_that_cannot_be_traced_are_refused(small, steps, message):
    with pytest.raises(ValueError, match=rf"profile_steps.*: saw .* {message}"):
        small(profile_steps=steps)


@pytest.mark.parametrize("call", [9, 13])
def test_tensorboard_has_every_row_once_after_a_kill(call, tmp_path):
    """The run is killed before the first evaluation, or after it, and resumes from the evaluated step."""
    fields = {"steps": 20, "tensorboard": True, "run_dir": tmp_path / "run"}
    process = trainer(train_and_die, fields, "step", call)
    process.join(60)
    process = trainer(train_quietly, fields)
    process.join(60)
    assert process.exitcode == 0
    run = n2n.Run(tmp_path / "run")
    shown = EventAccumulator(str(run.path / "tensorboard")).Reload()
    for name in ("loss", "oracle_nll", "excess_loss", "lr"):
        events = shown.Scalars(f"train/{name}")
        assert [event.step for event in events] == run.metrics["step"].tolist()
        assert [event.value for event in events] == pytest.approx(run.metrics[name].tolist(), rel=1e-6)
    assert [event.step for event in shown.Scalars("valid/excess_loss")] == [10, 20]
    assert [event.step for event in shown.Scalars("test/excess_loss")] == [20]


def test_a_missing_tensorboard_is_refused_before_any_work(small, monkeypatch, tmp_path):
    def missing():
        raise ImportError

    monkeypatch.setattr(metrics, "_writer", missing)
    with pytest.raises(ValueError, match="tensorboard: saw True, but it is not installed: pip install tensorboard"):
        n2n.train(small(tensorboard=True, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_imported_only_when_used():
    import subprocess
    import sys

    code = "import n2n, sys; n2n.train; print('tensorboard' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_evaluations_during_training(small, monkeypatch):
    """The valid split is evaluated at intervals with one oracle pass, and can be evaluated separately later."""
    from n2n.analysis import held_out

    calls, real = [], held_out.told_nll
    monkeypatch.setattr(held_out, "told_nll", lambda *given, **options: calls.append(1) or real(*given, **options))
    run = n2n.train(small(steps=8, eval_every=2, checkpoint_every=4))
    assert len(calls) == 2, "the oracle runs once for each split"
    assert [(row["step"], row["split"]) for row in run.evaluations] == [(k, "valid") for k in (2, 4, 6, 8)] + [
        (8, "test")
    ]
    later = n2n.evaluate(run.path, step=4, split="valid")
    row = run.evaluations[1]
    assert later.excess_loss == row["excess_loss"]
    assert later.excess_by_position == row["excess_by_position"]
    assert n2n.evaluate(run, sequences=16).sequences == 16
    with pytest.raises(ValueError, match=r"no checkpoint of step 3 in .*; there are \[4, 8\]"):
        n2n.evaluate(run, step=3)
    assert run.evaluation["split"] == "test"
