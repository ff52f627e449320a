"""Torch's number of threads: how it is chosen, restored, and kept by a resumed run."""

import itertools
import json
import threading

import numpy as np
import pytest
import torch
from support.run_folders import config

import n2n
from n2n.utils import cpu, threads


@pytest.fixture(autouse=True)
def _four_threads(monkeypatch):
    """A machine with four cores and no OMP_NUM_THREADS."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: range(4), raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def work_and_clock(seconds):
    """Work that takes a given time for each number of threads, and a clock that measures it."""
    now = [0.0]

    def work():
        now[0] += seconds[torch.get_num_threads()]

    return work, lambda: now[0]


@pytest.mark.parametrize(
    ("seconds", "number"),
    [
        ({1: 0.1, 2: 0.06, 4: 0.04}, 4),  # an idle machine
        ({1: 0.1, 2: 0.06, 4: 2.0}, 2),  # two of four cores are busy
        ({1: 0.1, 2: 3.0, 4: 9.0}, 1),  # three cores are busy
        ({1: 0.1, 2: 0.1, 4: 0.095}, 1),  # more threads save too little
        ({1: 0.1, 2: 0.095, 4: 0.088}, 4),  # four are worth it, although two are not
    ],
)
def test_the_fastest_number_is_chosen(seconds, number):
    work, clock = work_and_clock(seconds)
    measured = threads.mean_seconds(work, threads.candidates(4), 10_000, clock)
    assert measured == pytest.approx(seconds)
    assert threads.fastest(measured) == number
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(
    ("each", "calls", "rounds"), [(0.1, 10, 2), (0.1, 10**6, 4), (1e-3, 1000, 10), (30.0, 10**6, 2)]
)
def test_timing_is_short_compared_with_the_work(each, calls, rounds):
    work, clock = work_and_clock(dict.fromkeys((1, 2, 4), each))
    threads.mean_seconds(work, [1, 2, 4], calls, clock)
    assert clock() == pytest.approx(each * (1 + 3 * rounds))


def test_a_clear_case_is_timed_once():
    work, clock = work_and_clock({1: 0.1, 4: 5.0})
    threads.mean_seconds(work, [1, 4], 10**6, clock)
    assert clock() == pytest.approx(0.1 + 0.1 + 5.0)


def test_the_number_is_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), threads.torch_threads(2):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 4


def test_another_thread_keeps_its_number():
    numbers = []
    ready, inside, done = threading.Event(), threading.Event(), threading.Event()

    def other():
        torch.get_num_threads()  # gives the thread a number of its own
        torch.set_num_threads(3)
        ready.set()
        inside.wait(10)
        numbers.append(torch.get_num_threads())
        done.set()

    side = threading.Thread(target=other)
    side.start()
    ready.wait(10)
    with threads.torch_threads(1):
        inside.set()
        done.wait(10)
    side.join()
    assert (numbers, torch.get_num_threads()) == ([3], 4)


@pytest.mark.parametrize("name", ["filter", "smooth", "decode", "mean_field", "token_influence", "in_context_nll"])
def test_the_oracle_uses_one_thread_of_torch(name, monkeypatch):
    """Torch's other threads spin for a while after their work, on the cores that the compiled oracle needs."""
    process, numbers = n2n.Process(n2n.Graph.preset("four_chains"), 0), []
    tokens = process.sample(2, length=6).tokens
    real = torch.Tensor.aminmax
    monkeypatch.setattr(torch.Tensor, "aminmax", lambda *args: numbers.append(torch.get_num_threads()) or real(*args))
    getattr(n2n, name)(process, tokens)
    assert set(numbers) == {1}
    assert torch.get_num_threads() == 4


def test_omp_num_threads_is_respected(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    choice = threads.choose_threads(lambda: pytest.fail("timed"), 100, 4, before=2)
    assert str(choice) == "torch threads: 4, set by OMP_NUM_THREADS"


@pytest.mark.parametrize(("before", "number"), [(1, 1), (3, 3), (64, 4)])
def test_a_resumed_run_keeps_its_number_up_to_the_number_of_cores(before, number):
    choice = threads.choose_threads(lambda: pytest.fail("timed"), 100, 4, before=before)
    assert choice.number == number
    assert ("it began with 64" in choice.reason) == (before == 64)


@pytest.mark.parametrize(("limit", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("max 100000", 4), ("", 4)])
def test_the_limit_of_a_container_counts(limit, cores, tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(cpu, "CONTROL_GROUP", tmp_path / "cpu.max")
    assert cpu.cores() == cores


def test_preparing_the_work_happens_once_and_is_not_timed(monkeypatch):
    now, prepared = [0.0], []

    def prepare():
        prepared.append(torch.get_num_threads())
        now[0] += 100.0
        return work

    def work():
        now[0] += 1.0

    monkeypatch.setattr(threads.mean_seconds, "__defaults__", (lambda: now[0],))
    assert "a test step took 1e+03 ms on 1, " in threads.choose_threads(prepare, 100, 4).reason
    assert prepared == [1]


def log_lines(run: n2n.Run) -> list[str]:
    """Lines of the log about the number of threads."""
    return [line for line in (run.path / "logs" / "rank0.log").read_text().splitlines() if "torch threads" in line]


def test_a_run_chooses_the_fastest_number_and_keeps_it(tmp_path, monkeypatch):
    """The log and environment.json record the choice, and the earlier number is restored afterwards."""
    numbers, ticks = [], itertools.count()
    clock = lambda: next(ticks) * 1.0  # noqa: E731
    monkeypatch.setattr(threads.mean_seconds, "__defaults__", (clock,))  # all equally fast: one is chosen
    from n2n.training import learner

    real = learner.Learner.update
    monkeypatch.setattr(learner.Learner, "update", lambda *args: numbers.append(torch.get_num_threads()) or real(*args))
    run = n2n.train(config(steps=10, run_dir=tmp_path / "run"))
    assert set(numbers) == {1}
    assert json.loads((run.path / "environment.json").read_text())["torch_threads"] == 1
    assert (
        "torch threads: 1, the fastest: a test step took 1e+03 ms on 1, 1e+03 ms on 2, 1e+03 ms on 4"
        in log_lines(run)[0]
    )
    assert "OMP_NUM_THREADS" in log_lines(run)[0]
    monkeypatch.setattr(threads, "mean_seconds", lambda *_: pytest.fail("timed again"))
    n2n.train(config(steps=15, run_dir=tmp_path / "run"))
    assert "torch threads: 1, as the run began" in log_lines(run)[1]
    assert set(numbers) == {1}
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("arch", ["transformer", "mamba"])
def test_a_rehearsal_does_not_change_the_run(arch, tmp_path, monkeypatch):
    """Metrics and weights are equal bit for bit with and without a rehearsal, although dropout draws random numbers."""
    fields = {"steps": 6, "arch": arch, "model_options": {"dropout": 0.1}, "eval_every": None}
    torch.set_num_threads(1)
    plain = n2n.train(config(**fields, run_dir=tmp_path / "plain"))
    calls = []

    def timed(work, *_):
        state = torch.random.get_rng_state()
        calls.append([work() for _ in range(3)])
        assert torch.equal(state, torch.random.get_rng_state())
        return {1: 1.0}

    torch.set_num_threads(4)
    monkeypatch.setattr(threads, "mean_seconds", timed)
    rehearsed = n2n.train(config(**fields, run_dir=tmp_path / "rehearsed"))
    assert len(calls) == 1
    assert plain.metrics["loss"].equals(rehearsed.metrics["loss"])
    weights = rehearsed.model().state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in plain.model().state_dict().items())


def denormals_count() -> bool:
    return bool(np.float32(2.0**-126) * np.float32(0.5) != 0)


def test_denormals_are_flushed_within_the_context_only():
    assert denormals_count()
    with threads.flushed_denormals():
        assert not denormals_count()
        with threads.flushed_denormals():
            assert not denormals_count()
        assert not denormals_count()
        elsewhere = []
        other = threading.Thread(target=lambda: elsewhere.append(denormals_count()))
        other.start()
        other.join()
    assert denormals_count()
    with pytest.raises(ZeroDivisionError), threads.flushed_denormals():
        raise ZeroDivisionError
    assert denormals_count()


def test_the_oracle_leaves_the_caller_s_denormals():
    process = n2n.Process(n2n.Graph.preset("single"))
    n2n.filter(process, process.sample(2, length=8).tokens, dtype=torch.float32)
    assert denormals_count()
