"""Comparisons of planted losses, and the verdicts that they allow."""

import numpy as np
import pandas as pd
import pytest
from support.small_designs import planted_table

from n2n.effects import Interval, effects, verdict


def losses(ratio: float, *, levels: int = 2, archs: int = 1, processes: int = 5, seeds: int = 2) -> np.ndarray:
    """``(levels, archs, processes, seeds)``: each level has ``ratio`` times less excess loss than the one before."""
    rng = np.random.default_rng(0)
    shared = np.exp(rng.normal(size=processes))[:, None]
    size = 0.1 / ratio ** np.arange(levels)[:, None, None, None]
    return size * shared * np.exp(0.1 * rng.normal(size=(levels, archs, processes, seeds)))


def test_a_planted_ratio_is_found_although_processes_differ_more():
    table = effects(planted_table(losses(3.0, levels=3, archs=2), archs=("a", "b")), subject="nodes={} is learned")
    assert table[["value", "reference", "arch"]].to_numpy().tolist() == [
        [value, "0", arch] for arch in "ab" for value in "12"
    ]
    assert (table["low"] < [3, 9, 3, 9]).all()
    assert (table["high"] > [3, 9, 3, 9]).all()
    assert (table["high"] / table["low"] < 1.5).all()
    assert (table["processes"] == 5).all()
    assert (table["runs"] == 20).all()
    first = table.iloc[0]
    assert first["verdict"].startswith("nodes=1 is learned with ")
    assert first["verdict"].endswith(" times less excess loss than 0")
    assert first["difference_high"] < 0


def test_more_loss_is_said_as_more_and_the_reference_can_be_chosen():
    table = effects(planted_table(losses(3.0)), reference="1")
    assert table["ratio"][0] == pytest.approx(1 / 3, rel=0.2)
    assert "times more excess loss than 1" in table["verdict"][0]


def test_architectures_are_compared_at_each_level():
    table = effects(planted_table(losses(3.0, archs=2), archs=("a", "b")), along="arch")
    assert table[["level", "value", "reference"]].to_numpy().tolist() == [["0", "b", "a"], ["1", "b", "a"]]
    assert table["verdict"].str.startswith("undecided: b is learned with ").all()


def test_only_processes_that_have_both_count():
    table = planted_table(losses(3.0))
    table = table[~((table["level"] == "1") & (table["process"] == 0))]
    found = effects(table)
    assert (found["processes"][0], found["runs"][0]) == (4, 16)
    few = effects(table[(table["process"] < 3)])
    assert few["verdict"][0].startswith("undecided")
    assert "2 processes have both, and an interval needs 3" in few["verdict"][0]


def test_losses_that_are_not_resolved_are_compared_by_their_means():
    excess = losses(3.0)
    excess[1, 0, 2, 0] = -0.001
    table = effects(planted_table(excess, standard_error=1e-4))
    assert table["method"][0] == "means"
    assert table["ratio"][0] == pytest.approx(excess[0].mean() / excess[1].mean())
    excess[1] = np.random.default_rng(0).normal(0, 1e-3, excess[1].shape)
    table = effects(planted_table(excess, standard_error=1e-3))
    assert table["verdict"][0].startswith("undecided")
    assert "is not distinguishable from 0" in table["verdict"][0]
    assert table["difference_high"][0] < 0 or np.isfinite(table["difference"][0])


def test_pooled_targets_are_averaged_within_a_process_and_paired():
    excess = losses(3.0, seeds=1)
    harder = planted_table(2 * excess**1.1).assign(target=2.0)
    harder = harder[(harder["process"] != 0) | (harder["level"] != "1")]  # process 0 has no pair at this target
    table = pd.concat([planted_table(excess), harder])
    found = effects(table, pool=["target"]).iloc[0]
    assert (found["processes"], found["runs"]) == (5, 18)
    logs = np.log(excess[0, 0, :, 0] / excess[1, 0, :, 0])
    logs[1:] *= (1 + 1.1) / 2
    assert np.log(found["ratio"]) == pytest.approx(logs.mean())
    assert len(effects(table)) == 2
    with pytest.raises(ValueError, match="pool: unknown column 'targets'; did you mean 'target'"):
        effects(table, pool=["targets"])


def test_the_relative_excess_can_turn_a_comparison_around():
    """Less excess loss, but a larger part of what a unigram leaves."""
    table = planted_table(losses(3.0)).assign(unigram=lambda rows: 1.4 + np.where(rows["level"] == "0", 1.0, 0.1))
    assert effects(table)["ratio"][0] == pytest.approx(3, rel=0.3)
    found = effects(table, measure="relative_excess")
    assert found["ratio"][0] == pytest.approx(effects(table)["ratio"][0] / 10)
    assert found["verdict"][0].endswith(" times more excess loss relative to the unigram's than 0")


def test_a_diverged_run_leaves_the_comparison_undecided():
    excess = losses(3.0)
    excess[0, 0, 0, 0] = np.nan
    assert effects(planted_table(excess))["verdict"][0].endswith("a run diverged")


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        (Interval(3.1, 2.2, 4.4), "a is learned with 3.1 (2.2 to 4.4) times less excess loss than b"),
        (Interval(0.25, 0.125, 0.5), "a is learned with 4.0 (2.0 to 8.0) times more excess loss than b"),
        (Interval(1.5, 0.5, 3), "undecided: a is learned with 1.5 (0.50 to 3.0) times less excess loss than b"),
        (Interval(0.8, -0.1, 3), "undecided: a is learned with 1.2 (0.33 to inf) times more excess loss than b"),
        (Interval(250, 120, 400), "a is learned with 250 (120 to 400) times less excess loss than b"),
        (Interval(12, 1.0, 20), "undecided: a is learned with 12 (1.0 to 20) times less excess loss than b"),
    ],
)
def test_the_verdict_follows_from_the_interval(interval, sentence):
    assert verdict("a is learned", interval, "b") == sentence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"along": "levels"}, "along: unknown column 'levels'; did you mean 'level'"),
        ({"reference": "7"}, "reference: unknown level '7'"),
        ({"along": "target"}, r"target: saw only .*1\.5.* in the table; a comparison needs at least two values"),
    ],
)
def test_a_wrong_comparison_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        effects(planted_table(losses(3.0)), **options)


def test_a_table_without_runs_or_with_a_run_twice_is_refused():
    table = planted_table(losses(3.0))
    with pytest.raises(ValueError, match="saw no runs"):
        effects(table[:0])
    with pytest.raises(ValueError, match="two rows of one run"):
        effects(table.iloc[[0, 0, -1]])
