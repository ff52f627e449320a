"""Distances from rivals: by hand, their intervals, the nearest rival, and the rivals of a process."""

import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.analysis import rivals
from n2n.analysis.rivals import Rivals
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


def chain(initial: str = "uniform", **fields) -> Process:
    """An observed Markov chain of three states with new rows in every sequence."""
    node = Node(**{"name": "X", "num_states": 3, "observed": True, "recurrent": True, "mode": "context", **fields})
    return Process(Graph(nodes=(node,), initial=initial))


def losses(seed: int, count: int = 6, positions: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=(count, positions))


def test_distances_equal_their_definition():
    learner, one, two = losses(0), losses(1), losses(2)
    compared = Rivals({"one": one, "two": two})
    table = compared.distances(learner)
    assert table["rival"].tolist() == ["one", "two"]
    expected = [
        np.sqrt(np.mean([(a - b) ** 2 for a, b in zip(learner.flat, rival.flat, strict=True)])) for rival in (one, two)
    ]
    np.testing.assert_allclose(table["distance"], expected)
    by_position = compared.distances_by_position(learner).set_index(["rival", "position"])["distance"]
    for t in range(4):
        assert by_position["two", t + 1] == pytest.approx(np.sqrt(np.mean((learner[:, t] - two[:, t]) ** 2)))


def test_a_rival_s_own_losses_are_at_distance_zero():
    one, two = losses(1, 200), losses(2, 200)
    compared = Rivals({"one": one, "two": two})
    row = compared.distances(one).iloc[0]
    assert row[["distance", "low", "high"]].tolist() == [0.0, 0.0, 0.0]
    nearest = compared.nearest(one).iloc[0]
    assert nearest[["nearest", "runner_up", "ratio", "clear"]].tolist() == ["one", "two", np.inf, True]
    (row,) = Rivals({"one": one, "the same": one}).nearest(one).to_dict("records")
    assert (row["ratio"], row["clear"]) == (1.0, False)


def test_the_nearest_rival_may_change_along_the_sequence():
    one, two = losses(1, 200), losses(2, 200)
    learner = np.hstack([one[:, :2], two[:, 2:]]) + 0.01 * losses(3, 200)
    table = Rivals({"one": one, "two": two, "far": one + 5}).nearest_by_position(learner)
    assert table["position"].tolist() == [1, 2, 3, 4]
    assert table["nearest"].tolist() == ["one", "one", "two", "two"]
    assert table["clear"].all()
    constant = Rivals({"one": np.full((40, 1), 1.0), "two": np.full((40, 1), 3.0)}).nearest(np.full((40, 1), 1.5))
    assert constant.iloc[0][["nearest", "ratio", "clear"]].tolist() == ["one", 3.0, True]


@pytest.fixture(scope="module")
def many() -> dict[str, np.ndarray]:
    """Losses of n-grams on 60,000 sequences."""
    tokens = chain().sample(60_000, length=30, latents=False).tokens
    return {str(order): n2n.context_ngram_nll(tokens, 3, order) for order in (1, 2, 3)}


@pytest.mark.parametrize(("count", "coverage"), [(16, 0.925), (64, 0.935), (256, 0.94)])
def test_intervals_of_distances_have_their_coverage(many, count, coverage):
    truth = np.sqrt(((many["1"] - many["2"]) ** 2).mean())
    parts = [slice(start, start + count) for start in range(0, min(60_000, 2_000 * count), count)]
    rows = [Rivals({"1": many["1"][part]}).distances(many["2"][part]).iloc[0] for part in parts]
    covered = np.mean([row["low"] <= truth <= row["high"] for row in rows])
    assert coverage <= covered + 2 * np.sqrt(0.05 / len(rows))


def test_verdicts_are_seldom_wrong_if_two_rivals_are_equally_far():
    """Each of two equally near rivals is called the nearest in at most 2.5% of samples, and a farther one never."""
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(1500):
        learner, noise = losses(0, 64, 5), rng.lognormal(size=(3, 64, 5))
        compared = Rivals({"one": learner + noise[0], "two": learner - noise[1], "far": learner + 4 * noise[2]})
        verdicts.append(compared.nearest(learner).iloc[0])
    assert "far" not in [row["nearest"] for row in verdicts]
    assert 0.02 < np.mean([row["clear"] for row in verdicts]) < 0.05 + 2 * np.sqrt(0.05 / 1500)


@pytest.mark.parametrize("initial", ["uniform", "zero"])
def test_rivals_of_an_observed_chain(initial):
    process = chain(initial)
    tokens = process.sample(12, length=20, split="test").tokens
    found = n2n.rivals.rival_losses(process, tokens, range(12), split="test")
    assert list(found) == [rivals.TOLD, rivals.IN_CONTEXT, rivals.UNIGRAM, rivals.BIGRAM, rivals.UNIFORM]
    assert {nll.shape for nll in found.values()} == {(12, 19)}
    np.testing.assert_allclose(found[rivals.IN_CONTEXT], found[rivals.BIGRAM], atol=1e-12)
    np.testing.assert_allclose(found[rivals.UNIFORM], np.log(3))
    own = [process.of_sequence(i, split="test") for i in range(12)]
    told = np.vstack([n2n.filter(one, row[None]).nll for one, row in zip(own, tokens, strict=True)])
    np.testing.assert_allclose(found[rivals.TOLD], told)
    skipped = 1 if initial == "zero" else 0
    unigram = n2n.context_ngram_nll(tokens[:, skipped:], 3, 1)
    np.testing.assert_allclose(found[rivals.UNIGRAM][:, skipped:], unigram)


def test_a_process_with_fixed_kernels_has_one_oracle():
    process = Process(Graph.preset("two_chains"))
    found = rivals.rival_losses(process, process.sample(3, length=9).tokens, range(3))
    assert rivals.IN_CONTEXT not in found
    np.testing.assert_allclose(found[rivals.TOLD], n2n.filter(process, process.sample(3, length=9).tokens).nll)


def test_oracles_are_the_better_the_more_they_know():
    process = chain(alpha=0.3)
    tokens = process.sample(400, length=40).tokens
    table = rivals.loss_by_position(rivals.rival_losses(process, tokens, range(400)))
    mean = table.groupby("predictor")["loss"].mean()
    order = [rivals.TOLD, rivals.IN_CONTEXT, rivals.BIGRAM, rivals.UNIGRAM, rivals.UNIFORM]
    assert mean[order].is_monotonic_increasing
    row = table[(table["predictor"] == rivals.UNIGRAM) & (table["position"] == 5)].iloc[0]
    nll = n2n.context_ngram_nll(tokens, 3, 1)[:, 4]
    half = 1.966 * nll.std(ddof=1) / 20
    assert row[["loss", "low", "high"]].tolist() == pytest.approx(
        [nll.mean(), nll.mean() - half, nll.mean() + half], rel=1e-4
    )


def test_groups_of_positions_are_means_and_grow_with_the_position():
    one, two = losses(1, 6, 40), losses(2, 6, 40)
    table = rivals.loss_by_position({"one": one, "two": two}, 8)
    rows = table[table["predictor"] == "two"]
    sizes, first = [], 0
    for position in rows["position"]:
        last = round(2 * (position - 1)) - first  # groups are adjacent, and a position is the mean of a group
        sizes.append(last - first + 1)
        first = last + 1
    assert len(sizes) <= 8
    assert sum(sizes) == 40
    assert sizes == sorted(sizes)
    assert rows["loss"] @ np.array(sizes) == pytest.approx(two.mean(0).sum())
    last = two[:, -sizes[-1] :].mean(1)
    half = 2.5706 * last.std(ddof=1) / np.sqrt(6)  # Student's t with 5 degrees of freedom
    expected = [last.mean(), last.mean() - half, last.mean() + half]
    assert rows.iloc[-1][["loss", "low", "high"]].tolist() == pytest.approx(expected, rel=1e-4)
    pd.testing.assert_frame_equal(rivals.loss_by_position({"one": one}, 40), rivals.loss_by_position({"one": one}))
    with pytest.raises(ValueError, match="max_positions: saw 0"):
        rivals.loss_by_position({"one": one}, 0)


def test_of_rivals_that_are_equal_up_to_rounding_the_first_is_the_nearest():
    one, learner = losses(1, 200), losses(2, 200)
    for sign in (-1, 1):
        (row,) = Rivals({"one": one, "other": one + sign * 1e-13}).nearest(learner).to_dict("records")
        assert (row["nearest"], row["runner_up"], row["clear"]) == ("one", "other", False)


@pytest.mark.parametrize(
    ("given", "learner", "message"),
    [
        ({}, losses(0), "losses: saw no rival"),
        ({"one": losses(0)}, losses(0, 5), r"nll: saw losses of shape \(5, 4\); \(6, 4\), as the others have"),
        ({"one": losses(0), "two": losses(0, 5)}, losses(0), r"two: saw losses of shape \(5, 4\)"),
        ({"one": losses(0, 1)}, losses(0), r"one: saw losses of shape \(1, 4\)"),
        ({"one": losses(0) * np.inf}, losses(0), "one: saw a loss that is not finite"),
        ({"one": losses(0)}, losses(0), "saw the only rival one"),
    ],
)
def test_bad_input_is_refused(given, learner, message):
    with pytest.raises(ValueError, match=message):
        Rivals(given).nearest(learner)
