"""The weights that a run is judged by, and the end of its patience."""

import pytest
from support.run_folders import assert_same_run

import n2n
from n2n.training import learner

# A large constant rate on few sequences: the loss on valid falls, and rises again.
OVERFITTED = {"steps": 24, "lr": 0.1, "schedule": "constant", "sequences": 4, "eval_every": 2}


def valid_losses(run: n2n.Run) -> dict[int, float]:
    return {row["step"]: row["cross_entropy"] for row in run.evaluations if row["split"] == "valid"}


@pytest.fixture
def overfitted(small, tmp_path):
    """A function that trains such a run."""

    def make(**fields) -> n2n.Run:
        return n2n.train(small(**{**OVERFITTED, "run_dir": str(tmp_path / "run"), **fields}))

    return make


def test_the_best_weights_are_judged_on_test(overfitted):
    run = overfitted(select="best")
    losses = valid_losses(run)
    best = min(losses, key=losses.get)
    assert best < 24
    assert (run.evaluation["step"], run.evaluation["split"]) == (best, "test")
    assert run.evaluation["cross_entropy"] == n2n.evaluate(run, step=best).cross_entropy
    assert run.status["step"] == 24


def test_the_last_weights_are_judged_unless_said_otherwise(overfitted, tmp_path):
    run = overfitted()
    assert (run.evaluation["step"], run.evaluation["split"]) == (24, "test")
    best = overfitted(select="best", run_dir=str(tmp_path / "best"))
    assert valid_losses(best) == valid_losses(run)


def test_the_best_checkpoint_stays_although_only_the_last_is_kept(overfitted):
    run = overfitted(select="best", keep_last=1, checkpoint_every=3)
    losses = valid_losses(run)
    assert run.steps == sorted({min(losses, key=losses.get), 24})


def test_a_run_stops_when_its_patience_ends(overfitted, tmp_path):
    losses = valid_losses(overfitted(run_dir=str(tmp_path / "all")))
    run = overfitted(patience=2)
    seen, best = [], None
    for step, loss in losses.items():  # the rule, spelled out
        seen.append(step)
        best = step if best is None or loss < losses[best] else best
        if len([later for later in seen if later > best]) == 2:
            break
    assert seen[-1] < 24
    assert (run.status["state"], run.status["step"]) == ("done", seen[-1])
    assert valid_losses(run) == {step: losses[step] for step in seen}
    assert run.evaluation["step"] == run.steps[-1] == seen[-1]


def test_a_run_without_patience_left_is_done_again_at_once(overfitted, monkeypatch):
    before = overfitted(patience=2, select="best").evaluations
    monkeypatch.setattr(learner, "update", lambda *_: pytest.fail("trained"))
    assert overfitted(patience=2, select="best").evaluations == before


def test_a_run_that_was_killed_selects_as_if_it_had_not_been(overfitted, monkeypatch, tmp_path):
    fields = {"select": "best", "keep_last": 1, "checkpoint_every": 5}
    whole = overfitted(**fields, run_dir=str(tmp_path / "whole"))
    real, left = learner.update, iter(range(13))

    def dies(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(learner, "update", dies)
    with pytest.raises(KeyboardInterrupt):
        overfitted(**fields)
    monkeypatch.setattr(learner, "update", real)
    resumed = overfitted(**fields)
    assert_same_run(resumed, whole)
    assert resumed.evaluation["step"] == whole.evaluation["step"]


@pytest.mark.parametrize("fields", [{"select": "best"}, {"patience": 3}])
def test_evaluations_on_valid_are_needed(small, fields):
    with pytest.raises(ValueError, match=f"{next(iter(fields))}: saw .*; set eval_every too"):
        small(**fields)
