"""Excess loss by position, by state and after switches, against loops over tokens; coverage of intervals."""

import numpy as np
import pandas as pd
import pytest
import torch
from support.context_graphs import latent, observed

import n2n
from n2n.analysis import comparison
from n2n.analysis.comparison import Comparison
from n2n.analysis.held_out import HeldOut


@pytest.fixture(scope="module")
def pair() -> Comparison:
    process = n2n.Process(n2n.examples.REGIMES, seed=1)
    sized = {"vocab_size": 16, "dim": 16, "layers": 1, "heads": 2}
    models = {"one": n2n.models.build("mingru", **sized), "two": n2n.models.build("transformer", **sized)}
    return Comparison(HeldOut(process, sequences=12, length=20), models)


def excess_of_tokens(pair: Comparison, model: str):
    """Yield (sequence, position, excess loss) of each predicted token."""
    oracle = n2n.filter(pair.data.process, pair.data.tokens).nll.numpy()
    with torch.no_grad():
        losses = pair.models[model].nll(torch.from_numpy(pair.data.tokens)).numpy()
    for i in range(pair.data.sequences):
        for t in range(1, pair.data.length):
            yield i, t, losses[i, t - 1] - oracle[i, t - 1]


def test_losses_are_those_of_the_models_and_the_oracle(pair):
    for name in pair.models:
        expected = [excess for _, _, excess in excess_of_tokens(pair, name)]
        np.testing.assert_allclose(pair.excess[name].ravel(), expected, atol=1e-5)
    assert np.exp(pair.log_probabilities["one"]).sum(-1) == pytest.approx(1)


def test_by_position(pair):
    table = comparison.by_position(pair).set_index(["model", "position"])
    for name in pair.models:
        for t in (1, 7, 19):
            values = [excess for _, position, excess in excess_of_tokens(pair, name) if position == t]
            row = table.loc[(name, t)]
            assert row["excess_loss"] == pytest.approx(np.mean(values), abs=1e-5)
            half = 2.200985 * np.std(values, ddof=1) / np.sqrt(12)  # t of 11 degrees of freedom, from tables
            assert row["high"] - row["excess_loss"] == pytest.approx(half, rel=1e-4)
            assert row["tokens"] == pair.data.sequences


def test_by_state(pair):
    table = comparison.by_state(pair, "Z2").set_index(["model", "state"])
    path = pair.data.sample.latents["Z2"]
    for state in np.unique(path[:, 1:]):
        values = [excess for i, t, excess in excess_of_tokens(pair, "two") if path[i, t] == state]
        assert table.loc[("two", state), "excess_loss"] == pytest.approx(np.mean(values), abs=1e-5)
        assert table.loc[("two", state), "tokens"] == len(values)


def test_a_classic_process_is_split_by_its_own_states():
    process = n2n.Process.classic("mess3")
    model = n2n.models.build("mingru", vocab_size=3, dim=16, layers=1, heads=2)
    single = Comparison(HeldOut(process, 20, 16), {"m": model})
    own = single.data.sample.latents["Z"] % 3  # pairs are ordered by symbol, then by state
    table = comparison.by_state(single, "Z").set_index("state")
    assert table["tokens"].to_dict() == {state: (own[:, 1:] == state).sum() for state in range(3)}
    assert comparison.after_switch(single, "Z").set_index("since")["tokens"][0] == (own[:, 1:] != own[:, :-1]).sum()


def test_after_a_switch(pair):
    path, max_since = pair.data.sample.latents["Z3"], 5
    since = {}
    for i, t, excess in excess_of_tokens(pair, "one"):
        changes = [u for u in range(1, t + 1) if path[i, u] != path[i, u - 1]]
        if changes and t - changes[-1] <= max_since:
            since.setdefault(t - changes[-1], []).append(excess)
    table = comparison.after_switch(pair, "Z3", max_since).query("model == 'one'").set_index("since")
    assert list(table.index) == sorted(since)
    for lag, values in since.items():
        assert table.loc[lag, "excess_loss"] == pytest.approx(np.mean(values), abs=1e-5)
        assert table.loc[lag, "tokens"] == len(values)


def test_a_constant_or_unknown_latent_is_refused(pair):
    constant = n2n.Graph(
        nodes=[
            n2n.Node(name="Z", num_states=1),
            n2n.Node(name="X", num_states=16, parents=["Z"], observed=True),
        ]
    )
    other = Comparison(HeldOut(n2n.Process(constant), 2, 5), pair.models)
    with pytest.raises(ValueError, match="Z never changes in these 2 sequences"):
        comparison.after_switch(other, "Z")
    with pytest.raises(ValueError, match=r"unknown latent 'Z4' \(allowed: Z1, Z2, Z3\)"):
        comparison.by_state(pair, "Z4")


@pytest.mark.parametrize("holders", [10, 60])
def test_intervals_have_their_coverage(holders):
    """Ratios of sums over sequences that differ in size and level; few or all sequences have such tokens."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        level, size = rng.normal(size=(60, 1)), rng.integers(1, 20, size=60)
        size[holders:] = 0
        row = comparison._mean_of(1.0 + level + rng.normal(size=(60, 20)), np.arange(20) < size[:, None])
        covered += row["low"] <= 1.0 <= row["high"]
    assert 0.91 < covered / 1000 < 0.97


def test_too_few_sequences_have_no_interval():
    among = np.arange(30)[:, None] < [4]
    row = comparison._mean_of(np.ones((30, 1)), among)
    assert (row["excess_loss"], row["tokens"]) == (1.0, 4)
    assert np.isnan([row["low"], row["high"]]).all()


def test_losses_of_ngrams(pair):
    table = comparison.against_ngrams(pair, [1, 2], train_sequences=50)
    process, tokens = pair.data.process, pair.data.tokens
    fitted_on, oracle = process.sample(50, length=20).tokens, pair.data.oracle_nll.mean()
    for order in (1, 2):
        nll = n2n.fit_ngram(fitted_on, 16, order).nll(tokens).mean()
        row = table[table["order"] == order].iloc[0]
        assert row["excess_loss"] == pytest.approx(nll - oracle)
        exact = table[(table["order"] == order) & (table["predictor"] == "exact")].iloc[0]
        nll = n2n.markov_nll(process, tokens, order - 1).mean()
        assert exact["excess_loss"] == pytest.approx(nll - oracle)
    assert table["predictor"].tolist() == ["n-gram", "n-gram", "exact", "exact", "one", "two"]
    assert table["fitted_on"].dropna().tolist() == [50, 50]
    other = Comparison(
        HeldOut(n2n.Process(n2n.Graph.preset("two_chains")), 4, 8), {"m": n2n.models.build("mingru", vocab_size=32)}
    )
    assert "exact" not in comparison.against_ngrams(other, [1], 50)["predictor"].tolist(), "no stationary start"


def test_reliability_counts_every_prediction_once(pair):
    table = comparison.reliability(pair, bins=4)
    for name, law in pair.log_probabilities.items():
        rows = table[table["model"] == name]
        assert rows["predictions"].sum() == law.size
        assert (rows["predicted"] * rows["predictions"]).sum() == pytest.approx(np.exp(law).sum())
        assert (rows["observed"] * rows["predictions"]).sum() == pytest.approx(law.shape[0] * law.shape[1])
    law, edges = np.exp(pair.log_probabilities["two"]), [0, *np.geomspace(1e-3, 1, 5)]
    fullest = table[table["model"] == "two"].sort_values("predictions").iloc[-1]
    among = [
        pair.data.tokens[i, t + 1] == v
        for i, t, v in np.ndindex(law.shape)
        if edges[fullest["bin"]] < law[i, t, v] <= edges[fullest["bin"] + 1]
    ]
    assert fullest["predictions"] == len(among) > 100
    assert fullest["observed"] == pytest.approx(np.mean(among))


def test_symbols_that_never_occur_have_an_upper_bound():
    process = n2n.Process(n2n.examples.REGIMES, seed=1)
    model = n2n.models.build("mingru", vocab_size=16, dim=16, layers=1, heads=2)
    single = Comparison(HeldOut(process, 8, 8), {"m": model})
    row = comparison.reliability(single).query("model == 'oracle' and observed == 0").iloc[0]
    assert (row["low"], row["high"]) == (0.0, 3 / row["predictions"])


def test_the_oracle_is_calibrated_and_an_overconfident_model_is_not():
    process = n2n.Process(n2n.examples.REGIMES, seed=1)
    model = n2n.models.build("mingru", vocab_size=16, dim=16, layers=1, heads=2)
    single = Comparison(HeldOut(process, 400, 32), {"model": model})
    overconfident = Comparison(single.data, {"model": model})
    oracle = single.data.oracle_log_probabilities
    sharpened = 3 * oracle
    sharpened -= np.log(np.exp(sharpened).sum(-1, keepdims=True))
    vars(overconfident)["log_probabilities"] = {"model": sharpened, "oracle": oracle}
    table = comparison.reliability(overconfident)
    inside = table.eval("low <= predicted <= high")
    assert inside[table["model"] == "oracle"].mean() > 0.85
    assert inside[table["model"] == "model"].mean() < 0.4
    errors = comparison.calibration_error(table)
    assert errors["model"] > 5 * errors["oracle"]


def test_calibration_error_by_hand():
    table = pd.DataFrame({"model": "a", "predicted": [0.1, 0.6], "observed": [0.2, 0.5], "predictions": [3, 1]})
    assert comparison.calibration_error(table)["a"] == pytest.approx(0.1)


def test_comparisons_share_held_out_data(pair):
    model = n2n.models.build("hawk", vocab_size=16, dim=16, layers=1, heads=2)
    other = Comparison(pair.data, {"three": model})
    assert other.log_probabilities["oracle"] is pair.log_probabilities["oracle"], "computed once"
    separate = Comparison(HeldOut(pair.data.process, 12, 20), {"three": model})
    np.testing.assert_array_equal(other.excess["three"], separate.excess["three"])


def test_invalid_models_are_refused(pair):
    with pytest.raises(ValueError, match="at least one is needed"):
        Comparison(pair.data, {})
    with pytest.raises(ValueError, match="oracle, n-gram, exact are reserved names"):
        Comparison(pair.data, {"oracle": pair.models["one"]})
    with pytest.raises(ValueError, match="saw a model of 5 symbols, a process of 16"):
        Comparison(pair.data, {"m": n2n.models.build("mingru", vocab_size=5, dim=16)})


def test_in_context_the_oracle_that_learns_the_kernels_is_compared_like_a_model():
    process = n2n.Process(n2n.Graph([latent("Z", stickiness=0.8), observed("Z", num_states=4)]), 0)
    model = n2n.models.build("mingru", vocab_size=4, dim=8, layers=1, heads=2)
    single = Comparison(HeldOut(process, 12, 8), {"m": model})
    told = n2n.told_nll(process, single.data.tokens, range(12), split="test").numpy()
    learned = n2n.in_context_nll(process, single.data.tokens).nll.numpy()
    np.testing.assert_allclose(single.nll["oracle"], told, atol=1e-12)
    np.testing.assert_allclose(single.excess["in-context oracle"], learned - told, atol=1e-12)
    names = {"m", "in-context oracle"}
    for table in (
        comparison.by_position(single),
        comparison.by_state(single, "Z"),
        comparison.after_switch(single, "Z"),
    ):
        assert set(table["model"]) == names
    row = comparison.summary(single).set_index("model").loc["m"]
    found = n2n.analysis.evaluation.evaluate_model(model, single.data)
    assert row["in_context_excess_loss"] == pytest.approx(found.in_context_excess_loss, abs=1e-6)
    assert row["in_context_nll"] == pytest.approx(learned.mean())
    half = 2.200985 * found.in_context_excess_standard_error  # t of 11 degrees of freedom, from tables
    assert row["in_context_high"] - row["in_context_low"] == pytest.approx(2 * half, rel=1e-4)
    ngrams = comparison.against_ngrams(single, [1, 3], 100)
    assert set(ngrams["predictor"]) == {"n-gram", *names}
    assert ngrams["fitted_on"].isna().all()
    trigram = n2n.context_ngram_nll(single.data.tokens, 4, 3)
    assert ngrams.loc[1, "excess_loss"] == pytest.approx((trigram - told).mean())
    assert set(comparison.reliability(single)["model"]) == {"m", "oracle"}
    with pytest.raises(ValueError, match="reserved names"):
        Comparison(single.data, {"in-context oracle": model})
