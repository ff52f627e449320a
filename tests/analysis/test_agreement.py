"""Agreement of heads with the exact influence: scores, null intervals, standard errors and means by lag."""

import numpy as np
import pytest

import n2n
from n2n.analysis.agreement import head_agreement, influence_by_lag, mixing_by_lag

SEQUENCES, QUERIES = 40, 16


def causal(values: np.ndarray) -> np.ndarray:
    return np.tril(values)


def random_influence(seed: int, count: int = SEQUENCES) -> np.ndarray:
    """Positive values that fall with the lag and differ between sequences."""
    rng = np.random.default_rng(seed)
    lag = np.arange(QUERIES)[:, None] - np.arange(QUERIES)
    return causal(rng.exponential(size=(count, QUERIES, QUERIES)) * np.exp(-0.3 * lag))


def as_heads(*matrices: np.ndarray) -> np.ndarray:
    """``(batch, 1, heads, queries, keys)``."""
    return np.stack(matrices, axis=1)[:, None]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of ranks, by counting."""
    ranks = [[_rank(value, values) for value in values] for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def _rank(value: float, values: np.ndarray) -> float:
    return float((values < value).sum() + ((values == value).sum() + 1) / 2)


def test_mixing_in_the_order_of_the_influence_scores_one():
    """The score depends only on the order of absolute weights."""
    influence = random_influence(0)
    table = head_agreement(as_heads(influence, -np.sqrt(influence), 1 / (1 + influence)), influence)
    assert table["score"].tolist() == pytest.approx([1.0, 1.0, -1.0])
    assert table["p_value"].tolist() == pytest.approx([1 / 1001, 1 / 1001, 1.0])
    assert (table["null_high"][:2] < 0.95).all()
    assert table["null_low"][2] > -0.95
    assert table[["layer", "head"]].to_numpy().tolist() == [[1, 0], [1, 1], [1, 2]]


def test_the_score_equals_its_definition_with_ties():
    """There are few different values, so most ranks are tied."""
    rng = np.random.default_rng(1)
    influence = causal(rng.integers(0, 3, (6, 10, 10)).astype(float))
    mixing = causal(rng.integers(-2, 3, (6, 10, 10)).astype(float))
    rows = [(np.abs(mixing[b, q, : q + 1]), influence[b, q, : q + 1]) for b in range(6) for q in range(4, 10)]
    expected = [0.0 if np.ptp(weights) == 0 else spearman(weights, nats) for weights, nats in rows]
    (row,) = head_agreement(as_heads(mixing), influence, min_keys=5).to_dict("records")
    assert row["score"] == pytest.approx(np.mean(expected))
    assert (row["pairs"], row["constant"]) == (36, 0)


def test_ranks_by_hand():
    """(1, 2, 2, 4) has ranks 1, 2.5, 2.5, 4; against 1, 2, 3, 4 their correlation is 4.5 / sqrt(4.5 * 5)."""
    influence, mixing = np.zeros((2, 4, 4)), np.zeros((2, 4, 4))
    influence[:, 3], mixing[:, 3] = [1, 2, 2, 4], [0.1, 0.2, 0.3, 0.4]
    (row,) = head_agreement(as_heads(mixing), influence, min_keys=4).to_dict("records")
    assert row["score"] == pytest.approx(np.sqrt(0.9))


def test_the_null_distribution_permutes_sequences():
    """Two sequences have two orders: the null scores are those of the original and of the exchanged pair."""
    influence, mixing = random_influence(2, 2), random_influence(3, 2)
    (row,) = head_agreement(as_heads(mixing), influence, permutations=400).to_dict("records")
    exchanged = head_agreement(as_heads(mixing[::-1]), influence)["score"][0]
    assert sorted([row["null_low"], row["null_high"]]) == pytest.approx(sorted([row["score"], exchanged]))
    share = 0.5 if row["score"] > exchanged else 1.0
    assert row["p_value"] == pytest.approx(share, abs=0.08)


def test_null_intervals_have_their_coverage():
    """800 heads depend only on the lag; their p-values are uniform."""
    outside, p_values = [], []
    for seed in range(16):
        heads = [random_influence(1000 + 50 * seed + i) for i in range(50)]
        table = head_agreement(as_heads(*heads), random_influence(seed), permutations=400, seed=seed)
        outside += ((table["score"] < table["null_low"]) | (table["score"] > table["null_high"])).tolist()
        p_values += table["p_value"].tolist()
    assert np.mean(outside) == pytest.approx(0.05, abs=0.025)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.03)
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.035)


def test_only_heads_that_follow_content_exceed_the_null_interval():
    influence = random_influence(5)
    lag = np.arange(QUERIES)[:, None] - np.arange(QUERIES)
    only_lag = np.broadcast_to(causal(0.7 ** np.maximum(lag, 0)), influence.shape)
    noisy = influence * np.random.default_rng(6).lognormal(sigma=3.0, size=influence.shape)
    table = head_agreement(as_heads(only_lag, noisy), influence).set_index("head")
    lag_head, content_head = table.loc[0], table.loc[1]
    assert lag_head["score"] == pytest.approx(lag_head["lag_score"])  # the mean influence falls with the lag too
    assert lag_head["null_low"] <= lag_head["score"] + 1e-12
    assert lag_head["score"] <= lag_head["null_high"] + 1e-12
    assert lag_head["p_value"] == 1.0  # every permutation gives the same score
    assert 0.3 < lag_head["score"] < 1
    assert content_head["score"] > content_head["null_high"]
    assert content_head["score"] < lag_head["score"]  # a score may be lower than that of the lag alone


def test_standard_errors_equal_the_spread_of_repetitions():
    scores, errors = [], []
    for seed in range(200):
        influence = random_influence(7000 + seed)
        mixing = influence * np.random.default_rng(seed).lognormal(size=influence.shape)
        (row,) = head_agreement(as_heads(mixing), influence, permutations=1).to_dict("records")
        scores.append(row["score"])
        errors.append(row["standard_error"])
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.15)


def test_left_out_queries_are_counted():
    influence = random_influence(8)
    influence[:10] = causal(np.ones((QUERIES, QUERIES)))
    influence[10:20] *= 1e-9  # below min_influence, so equal
    table = head_agreement(as_heads(influence), influence)
    assert table["pairs"][0] == 20 * (QUERIES - 7)
    assert table["constant"][0] == 20 * (QUERIES - 7)
    assert table["score"][0] == pytest.approx(1.0, abs=0.2)
    unbounded = head_agreement(as_heads(influence), influence, min_influence=0)
    assert unbounded["pairs"][0] == 30 * (QUERIES - 7)
    assert unbounded["score"][0] == pytest.approx(1.0)
    uniform = as_heads(np.broadcast_to(causal(np.ones((QUERIES, QUERIES))), influence.shape))
    assert head_agreement(uniform, influence)["score"][0] == 0.0


def test_means_by_lag():
    """Each entry is a factor of its sequence times 2 to the minus lag."""
    lag = np.arange(5)[:, None] - np.arange(5)
    matrix = causal(0.5 ** np.maximum(lag, 0))
    influence = np.array([1.0, 2.0, 6.0])[:, None, None] * matrix
    table = influence_by_lag(influence)
    assert table["mean"].tolist() == pytest.approx([3 * 0.5**lag for lag in range(5)])
    assert table["standard_error"].tolist() == pytest.approx([np.sqrt(7 / 3) * 0.5**lag for lag in range(5)])
    assert table["share"].tolist() == pytest.approx([0.5**lag / 1.9375 for lag in range(5)])
    assert table["share_standard_error"].tolist() == pytest.approx([0.0] * 5, abs=1e-15)  # equal in all sequences
    np.testing.assert_allclose(table["share_low"], table["share"])
    np.testing.assert_allclose(table["share_high"], table["share"])
    heads = mixing_by_lag(as_heads(-influence, matrix * np.array([1.0, 1.0, 1.0])[:, None, None]))
    assert heads.query("head == 0")["mean"].tolist() == pytest.approx(table["mean"].tolist())
    assert heads.query("head == 1")["standard_error"].tolist() == pytest.approx([0.0] * 5)
    assert len(heads) == 10


def test_standard_errors_of_shares_equal_the_spread_of_repetitions():
    tables = [influence_by_lag(random_influence(seed)) for seed in range(300)]
    shares, errors = (np.array([table[column] for table in tables]) for column in ("share", "share_standard_error"))
    assert shares.sum(1) == pytest.approx(np.ones(300))
    assert errors.mean(0)[:10] == pytest.approx(shares.std(0)[:10], rel=0.15)
    half = 2.02269 * tables[0]["share_standard_error"]  # t of 39 degrees of freedom
    np.testing.assert_allclose(tables[0]["share_high"] - tables[0]["share"], half, rtol=1e-5)


def test_invalid_arguments_are_refused():
    influence = random_influence(9)
    mixing = as_heads(influence)
    with pytest.raises(ValueError, match=r"saw mixing \(40, 16, 16\) and influence \(40, 16, 16\)"):
        head_agreement(influence, influence)
    with pytest.raises(ValueError, match=r"influence \(39, 16, 16\); \(batch, layers, heads, T, T\)"):
        head_agreement(mixing, influence[1:])
    with pytest.raises(ValueError, match=r"mixing: saw shape \(1, 1, 1, 16, 16\); at least 2 sequences"):
        head_agreement(mixing[:1], influence[:1])
    with pytest.raises(ValueError, match="influence: saw a number that is not finite"):
        head_agreement(mixing, np.where(influence > 1, np.nan, influence))
    with pytest.raises(ValueError, match="saw 16 queries, none of which has at least 17 keys"):
        head_agreement(mixing, influence, min_keys=17)
    with pytest.raises(ValueError, match="min_keys: saw 1; a whole number from 2"):
        head_agreement(mixing, influence, min_keys=1)
    with pytest.raises(ValueError, match="permutations: saw 0"):
        n2n.head_agreement(mixing, influence, permutations=0)
    for wrong in (-1.0, np.nan, "0"):
        with pytest.raises(ValueError, match="min_influence: saw"):
            head_agreement(mixing, influence, min_influence=wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ones((3, 4)), r"saw shape \(3, 4\) of type float64; real numbers \(batch, .*T, T\) are needed"),
        (np.ones((3, 4, 5)), r"saw shape \(.*4, 5\) of type float64; real numbers"),
        (np.ones((1, 4, 4)), r"saw shape \(1, .*4, 4\); at least 2 sequences of 1 query"),
        (np.ones((3, 0, 0)), r"saw shape \(3, .*0, 0\); at least 2 sequences of 1 query"),
        (np.full((3, 4, 4), np.nan), "saw a number that is not finite"),
        (np.full((3, 4, 4), "a"), "saw ndarray of type <U1; real numbers are needed"),
    ],
)
def test_means_by_lag_of_invalid_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=f"influence: {message}"):
        influence_by_lag(wrong)
    with pytest.raises(ValueError, match=f"mixing: {message}"):
        mixing_by_lag(wrong[:, None, None] if wrong.ndim == 3 else wrong)


@pytest.mark.filterwarnings("error")
def test_zero_influence_has_no_shares():
    zero = influence_by_lag(np.zeros((3, 4, 4)))
    assert zero["mean"].tolist() == zero["standard_error"].tolist() == [0.0] * 4
    assert zero[["share", "share_standard_error"]].isna().all(axis=None)
    heads = mixing_by_lag(as_heads(np.zeros((3, 4, 4)), causal(np.ones((3, 4, 4)))))
    assert heads.query("head == 0")["share"].isna().all()
    assert heads.query("head == 1")["share"].tolist() == [0.25] * 4
    figure = n2n.viz.shares_by_lag(heads, zero)
    finite = {trace.name: np.isfinite(np.array(trace.y, float)) for trace in figure.data if trace.name}
    assert {name: values.all() for name, values in finite.items()} == {
        "block 1, head 0": False, "block 1, head 1": True, "exact influence": False
    }  # fmt: skip
    assert np.isfinite(figure.layout.yaxis.range).all()
