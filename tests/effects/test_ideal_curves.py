"""Sample efficiency of planted learners beside ideal learners whose curves have a closed form."""

import numpy as np
import pandas as pd
import pytest
from support.small_designs import planted_table

from n2n.effects import equivalent_sequences, sample_efficiency
from n2n.experiments.ideal import IDEAL_COLUMNS

READ = 16_000  # sequences that a planted learner reads
NUMBERS = np.array([30, 100, 300, 1_000, 3_000, 10_000])
SCALES = 5.0 * 3.0 ** np.arange(5)  # of the ideal learner's excess loss in each process


def ideal_table(excess: np.ndarray, *, standard_error: float = 1e-6, **changes) -> pd.DataFrame:
    """Ideal learners with these excess losses ``(processes, numbers of sequences)``."""
    shared = {"level": "0", "target": 1.5, "predictor": "aware", "start": "truth", "standard_error": standard_error}
    rows = [
        {**shared, "process": process, "sequences": number, "excess": loss, **changes}
        for process, losses in enumerate(excess)
        for number, loss in zip(NUMBERS, losses, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(IDEAL_COLUMNS))


def inverse(scales=SCALES, **changes) -> pd.DataFrame:
    """Ideal learners whose excess loss is scale / sequences."""
    return ideal_table(np.asarray(scales)[:, None] / NUMBERS, **changes)


def learners(equivalent, scales=SCALES) -> pd.DataFrame:
    """Results with the loss of an ideal learner of ``equivalent (processes, seeds)`` sequences."""
    return planted_table((np.asarray(scales)[:, None] / equivalent)[None, None])


def test_each_run_has_the_number_of_sequences_of_its_loss():
    planted = np.array([[31, 100], [250, 999], [3_000, 9_999], [40, 50], [60, 70.0]])
    found = equivalent_sequences(learners(planted), inverse())
    assert found["equivalent"].to_numpy() == pytest.approx(planted.ravel(), rel=1e-9)
    assert (found["censored"] == "").all()
    assert found["efficiency"].to_numpy() == pytest.approx(planted.ravel() / READ, rel=1e-9)
    assert found[["process", "seed"]].to_numpy().tolist() == [[p, s] for p in range(5) for s in range(2)]


def test_between_two_points_the_curve_is_a_power_law():
    excess = np.array([[0.9, 0.5, 0.2, 0.19, 0.02, 0.01]])
    table = planted_table(np.full((1, 1, 1, 1), 0.1))
    slope = np.log(0.19 / 0.02) / np.log(3)
    (equivalent,) = equivalent_sequences(table, ideal_table(excess))["equivalent"]
    assert equivalent == pytest.approx(1_000 * (0.19 / 0.1) ** (1 / slope))


def test_a_curve_that_rises_counts_where_it_first_reaches_the_loss():
    excess = np.array([[0.9, 0.1, 0.4, 0.2, 0.05, 0.01]])
    (equivalent,) = equivalent_sequences(planted_table(np.full((1, 1, 1, 1), 0.3)), ideal_table(excess))["equivalent"]
    assert 30 < equivalent < 100


def test_the_interval_is_that_of_the_logarithms_over_processes():
    planted = np.array([[100, 400], [200, 200], [300, 300], [400, 100], [800, 800.0]])
    row = sample_efficiency(learners(planted), inverse()).iloc[0]
    logs = np.log(np.array([200, 200, 300, 200, 800]) / READ)
    half = 2.776445105 * logs.std(ddof=1) / np.sqrt(5)  # Student's t with 4 degrees of freedom
    expected = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    assert row[["efficiency", "low", "high"]].to_numpy(float) == pytest.approx(expected)
    assert (row["processes"], row["fewer"], row["more"], row["unresolved"]) == (5, 0, 0, 0)
    assert np.isnan(row["bound"])
    assert row["verdict"].startswith("a on 0 is as good as the aware learner (start: truth) that reads 0.018 (")
    assert row["verdict"].endswith(f"({row['low']:.2g} to {row['high']:.2g}) times as many sequences")


@pytest.mark.parametrize(
    ("equivalent", "end", "limit", "phrase"),
    [(1.0, "fewer", 30, "at most"), (1e6, "more", 10_000, "at least")],
)
def test_beyond_the_ends_there_is_a_bound_and_no_interval(equivalent, end, limit, phrase):
    planted = np.array([[100.0], [200], [300], [400], [equivalent]])
    runs = equivalent_sequences(learners(planted), inverse())
    assert runs["censored"].tolist() == ["", "", "", "", end]
    assert runs["equivalent"].iloc[-1] == limit
    row = sample_efficiency(learners(planted), inverse()).iloc[0]
    assert row[["efficiency", "low", "high"]].isna().all()
    assert row["bound"] == pytest.approx(np.prod([100.0, 200, 300, 400, limit]) ** 0.2 / READ)
    assert row[end] == 1
    assert row["verdict"].startswith("undecided: ")
    assert phrase in row["verdict"]
    assert "1 of 5 runs are beyond the curve's end" in row["verdict"]


def test_runs_beyond_both_ends_and_unresolved_ones_have_no_bound():
    both = sample_efficiency(learners(np.array([[1.0], [100], [1e6]]), SCALES[:3]), inverse()).iloc[0]
    assert np.isnan(both["bound"])
    assert "1 of 3 runs are beyond one end of the curve, 1 beyond the other" in both["verdict"]
    table = learners(np.array([[50.0], [100], [150]]), SCALES[:3])
    table.loc[2, "excess"] = -1e-5
    row = sample_efficiency(table, inverse()).iloc[0]
    assert (row["unresolved"], np.isnan(row["bound"]), np.isnan(row["low"])) == (1, True, True)
    assert "1 of 3 runs have an excess loss that is not distinguishable from 0" in row["verdict"]


def test_a_curve_ends_where_its_loss_is_not_distinguishable_from_0():
    ideals = inverse([5.0], standard_error=1e-3)  # 0.005 at 1,000 is resolved, 0.00167 at 3,000 is not
    found = equivalent_sequences(learners(np.array([[2_000.0]]), [5.0]), ideals)
    assert found[["equivalent", "censored"]].to_numpy().tolist() == [[1_000, "more"]]


def test_two_processes_are_too_few():
    row = sample_efficiency(learners(np.array([[50.0], [100]]), SCALES[:2]), inverse()).iloc[0]
    assert "2 processes are compared, and an interval needs 3" in row["verdict"]


def test_each_ideal_learner_and_architecture_has_a_row():
    excess = np.array([[[0.1], [0.2], [0.3]], [[0.01], [0.02], [0.03]]])[None]
    ideals = pd.concat([inverse(), inverse(predictor="blind"), inverse(start="random")])
    found = sample_efficiency(planted_table(excess, archs=("a", "b")), ideals)
    assert found[["arch", "predictor", "start"]].drop_duplicates().shape == (6, 3)
    ones, others = (found[found["arch"] == arch]["efficiency"].to_numpy() for arch in "ab")
    assert others / ones == pytest.approx(10)


def test_the_interval_covers_the_true_efficiency():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        scales = np.exp(rng.normal(size=6))
        own = 600 * np.exp(0.5 * rng.normal(size=(6, 1)) + 0.2 * rng.normal(size=(6, 2)))
        ideals = inverse(scales, standard_error=1e-9)
        table = planted_table((scales[:, None] / own)[None, None], standard_error=1e-9)
        row = sample_efficiency(table, ideals).iloc[0]
        covered += row["low"] <= 600 / READ <= row["high"]
    assert 0.91 <= covered / 200 <= 0.99


def test_wrong_tables_are_refused():
    table = learners(np.array([[50.0]]), [5.0])
    with pytest.raises(ValueError, match="saw two rows of one ideal learner"):
        sample_efficiency(table, pd.concat([inverse(), inverse()]))
    with pytest.raises(ValueError, match="saw no curve of a process of the table"):
        sample_efficiency(table, inverse().assign(level="other"))
