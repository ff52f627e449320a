"""Torch's threads: which number is taken, that it is put back, and that a resumed run keeps its own."""

import itertools
import json
import threading

import pytest
import torch
from support.run_folders import config

import n2n
from n2n.utils import cpu, threads


@pytest.fixture(autouse=True)
def _four_threads(monkeypatch):
    """As on a machine of four cores whose user has set nothing."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: range(4), raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def machine(seconds):
    """A clock, and work that takes on it what it takes on so many threads."""
    now = [0.0]

    def work():
        now[0] += seconds[torch.get_num_threads()]

    return work, lambda: now[0]


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ({1: 0.1, 2: 0.06, 4: 0.04}, 4),  # an idle machine
        ({1: 0.1, 2: 0.06, 4: 2.0}, 2),  # two cores are busy
        ({1: 0.1, 2: 3.0, 4: 9.0}, 1),  # all are
        ({1: 0.1, 2: 0.1, 4: 0.095}, 1),  # not worth it
        ({1: 0.1, 2: 0.095, 4: 0.088}, 4),  # worth it beside one, though two are not
    ],
)
def test_the_fastest_is_taken(seconds, taken):
    work, clock = machine(seconds)
    found = threads.mean_seconds(work, threads.candidates(4), 10_000, clock)
    assert found == pytest.approx(seconds)
    assert threads.fastest(found) == taken
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(
    ("each", "calls", "rounds"), [(0.1, 10, 2), (0.1, 10**6, 4), (1e-3, 1000, 10), (30.0, 10**6, 2)]
)
def test_timings_are_short_beside_the_work_to_come(each, calls, rounds):
    work, clock = machine(dict.fromkeys((1, 2, 4), each))
    threads.mean_seconds(work, [1, 2, 4], calls, clock)
    assert clock() == pytest.approx(each * (1 + 3 * rounds))


def test_a_clear_case_is_timed_once():
    work, clock = machine({1: 0.1, 4: 5.0})
    threads.mean_seconds(work, [1, 4], 10**6, clock)
    assert clock() == pytest.approx(0.1 + 0.1 + 5.0)


def test_one_of_a_failing_work_is_put_back():
    with pytest.raises(ZeroDivisionError), threads.torch_threads(2):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 4


def test_another_thread_keeps_its_own():
    seen = []
    ready, inside, done = threading.Event(), threading.Event(), threading.Event()

    def other():
        torch.get_num_threads()  # from here on the thread has a number of its own
        torch.set_num_threads(3)
        ready.set()
        inside.wait(10)
        seen.append(torch.get_num_threads())
        done.set()

    side = threading.Thread(target=other)
    side.start()
    ready.wait(10)
    with threads.torch_threads(1):
        inside.set()
        done.wait(10)
    side.join()
    assert (seen, torch.get_num_threads()) == ([3], 4)


@pytest.mark.parametrize(
    ("name", "oracle"),
    {
        "filter": n2n.filter,
        "smooth": n2n.smooth,
        "decode": n2n.decode,
        "mean field": n2n.mean_field,
        "influence": n2n.token_influence,
    }.items(),
)
def test_the_oracle_works_on_one(name, oracle, monkeypatch):
    process, seen = n2n.Process(n2n.Graph.preset("four_chains"), 0), []
    tokens = process.sample(2, length=6).tokens
    real = torch.Tensor.unbind
    monkeypatch.setattr(torch.Tensor, "unbind", lambda *given: seen.append(torch.get_num_threads()) or real(*given))
    monkeypatch.setattr(
        torch, "stack", lambda *g, s=torch.stack, **k: seen.append(torch.get_num_threads()) or s(*g, **k)
    )
    oracle(process, tokens)
    assert set(seen) == {1}
    assert torch.get_num_threads() == 4


def test_the_user_s_number_is_respected(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    found = threads.choose_threads(lambda: pytest.fail("timed"), 100, 4, before=2)
    assert str(found) == "torch threads: 4, set by OMP_NUM_THREADS"


@pytest.mark.parametrize(("before", "taken"), [(1, 1), (3, 3), (64, 4)])
def test_a_resumed_run_keeps_its_number_as_far_as_there_are_cores(before, taken):
    found = threads.choose_threads(lambda: pytest.fail("timed"), 100, 4, before=before)
    assert found.number == taken
    assert ("it began with 64" in found.reason) == (before == 64)


@pytest.mark.parametrize(("said", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("max 100000", 4), ("", 4)])
def test_a_container_s_limit_counts(said, cores, tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text(said)
    monkeypatch.setattr(cpu, "CONTROL_GROUP", tmp_path / "cpu.max")
    assert cpu.cores() == cores


def test_the_work_is_prepared_once_and_untimed(monkeypatch):
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


def told(run: n2n.Run) -> list[str]:
    return [line for line in (run.path / "logs" / "rank0.log").read_text().splitlines() if "torch threads" in line]


def test_a_run_takes_the_fastest_and_goes_on_with_it(tmp_path, monkeypatch):
    """Its log and environment.json say so, and the number before is put back."""
    seen, number = [], itertools.count()
    clock = lambda: next(number) * 1.0  # noqa: E731
    monkeypatch.setattr(threads.mean_seconds, "__defaults__", (clock,))  # all take as long: one thread is taken
    from n2n.training import learner

    real = learner.Learner.update
    monkeypatch.setattr(learner.Learner, "update", lambda *given: seen.append(torch.get_num_threads()) or real(*given))
    run = n2n.train(config(steps=10, run_dir=tmp_path / "run"))
    assert set(seen) == {1}
    assert json.loads((run.path / "environment.json").read_text())["torch_threads"] == 1
    assert "torch threads: 1, the fastest: a test step took 1e+03 ms on 1, 1e+03 ms on 2, 1e+03 ms on 4" in told(run)[0]
    assert "OMP_NUM_THREADS" in told(run)[0]
    monkeypatch.setattr(threads, "mean_seconds", lambda *_: pytest.fail("timed again"))
    n2n.train(config(steps=15, run_dir=tmp_path / "run"))
    assert "torch threads: 1, as the run began" in told(run)[1]
    assert set(seen) == {1}
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("arch", ["transformer", "mamba"])
def test_a_rehearsal_changes_nothing(arch, tmp_path, monkeypatch):
    """A run after one has the same numbers to the bit; dropout draws random numbers in both."""
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
