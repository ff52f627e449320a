"""Excess loss cut by position, state and switch, against loops over tokens; intervals against how often they hold."""

import numpy as np
import pandas as pd
import pytest
import torch

import n2n
from n2n.analysis import comparison
from n2n.analysis.comparison import Comparison
from n2n.analysis.held_out import HeldOut


@pytest.fixture(scope="module")
def found() -> Comparison:
    process = n2n.Process(n2n.examples.REGIMES, seed=1)
    sized = {"vocab_size": 16, "dim": 16, "layers": 1, "heads": 2}
    models = {"one": n2n.models.build("mingru", **sized), "two": n2n.models.build("transformer", **sized)}
    return Comparison(HeldOut(process, sequences=12, length=20), models)


def tokens_one_by_one(found: Comparison, model: str):
    """(sequence, position, excess) of each predicted token."""
    oracle = n2n.filter(found.data.process, found.data.tokens).nll.numpy()
    with torch.no_grad():
        own = found.models[model].nll(torch.from_numpy(found.data.tokens)).numpy()
    for i in range(found.data.sequences):
        for t in range(1, found.data.length):
            yield i, t, own[i, t - 1] - oracle[i, t - 1]


def test_losses_are_those_of_the_models_and_the_oracle(found):
    for name in found.models:
        expected = [excess for _, _, excess in tokens_one_by_one(found, name)]
        np.testing.assert_allclose(found.excess[name].ravel(), expected, atol=1e-5)
    assert np.exp(found.log_probabilities["one"]).sum(-1) == pytest.approx(1)


def test_by_position(found):
    table = comparison.by_position(found).set_index(["model", "position"])
    for name in found.models:
        for t in (1, 7, 19):
            values = [excess for _, at, excess in tokens_one_by_one(found, name) if at == t]
            row = table.loc[(name, t)]
            assert row["excess_loss"] == pytest.approx(np.mean(values), abs=1e-5)
            half = 2.200985 * np.std(values, ddof=1) / np.sqrt(12)  # the textbook's t, 11 degrees of freedom
            assert row["high"] - row["excess_loss"] == pytest.approx(half, rel=1e-4)
            assert row["tokens"] == found.data.sequences


def test_by_state(found):
    table = comparison.by_state(found, "Z2").set_index(["model", "state"])
    path = found.data.sample.latents["Z2"]
    for state in np.unique(path[:, 1:]):
        values = [excess for i, t, excess in tokens_one_by_one(found, "two") if path[i, t] == state]
        assert table.loc[("two", state), "excess_loss"] == pytest.approx(np.mean(values), abs=1e-5)
        assert table.loc[("two", state), "tokens"] == len(values)


def test_a_classic_process_is_cut_by_its_own_states():
    process = n2n.Process.classic("mess3")
    model = n2n.models.build("mingru", vocab_size=3, dim=16, layers=1, heads=2)
    found = Comparison(HeldOut(process, 20, 16), {"m": model})
    own = found.data.sample.latents["Z"] % 3  # pairs are in the order of symbols, then of states
    table = comparison.by_state(found, "Z").set_index("state")
    assert table["tokens"].to_dict() == {state: (own[:, 1:] == state).sum() for state in range(3)}
    assert comparison.after_switch(found, "Z").set_index("since")["tokens"][0] == (own[:, 1:] != own[:, :-1]).sum()


def test_after_a_switch(found):
    path, most = found.data.sample.latents["Z3"], 5
    since = {}
    for i, t, excess in tokens_one_by_one(found, "one"):
        changes = [u for u in range(1, t + 1) if path[i, u] != path[i, u - 1]]
        if changes and t - changes[-1] <= most:
            since.setdefault(t - changes[-1], []).append(excess)
    table = comparison.after_switch(found, "Z3", most).query("model == 'one'").set_index("since")
    assert list(table.index) == sorted(since)
    for lag, values in since.items():
        assert table.loc[lag, "excess_loss"] == pytest.approx(np.mean(values), abs=1e-5)
        assert table.loc[lag, "tokens"] == len(values)


def test_a_latent_that_never_changes_or_is_not_there(found):
    still = n2n.Graph(
        nodes=[
            n2n.Node(name="Z", num_states=1),
            n2n.Node(name="X", num_states=16, parents=["Z"], observed=True),
        ]
    )
    other = Comparison(HeldOut(n2n.Process(still), 2, 5), found.models)
    with pytest.raises(ValueError, match="Z never changes in these 2 sequences"):
        comparison.after_switch(other, "Z")
    with pytest.raises(ValueError, match=r"unknown latent 'Z4' \(allowed: Z1, Z2, Z3\)"):
        comparison.by_state(found, "Z4")


@pytest.mark.parametrize("holders", [10, 60])
def test_the_intervals_hold_as_often_as_they_say(holders):
    """A ratio of sums over sequences that differ in size and level, also where few sequences hold such tokens."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        level, size = rng.normal(size=(60, 1)), rng.integers(1, 20, size=60)
        size[holders:] = 0
        row = comparison._mean_of(1.0 + level + rng.normal(size=(60, 20)), np.arange(20) < size[:, None])
        held += row["low"] <= 1.0 <= row["high"]
    assert 0.91 < held / 1000 < 0.97


def test_too_few_sequences_have_no_interval():
    among = np.arange(30)[:, None] < [4]
    row = comparison._mean_of(np.ones((30, 1)), among)
    assert (row["excess_loss"], row["tokens"]) == (1.0, 4)
    assert np.isnan([row["low"], row["high"]]).all()


def test_ngrams_are_fitted_and_lose_what_they_lose(found):
    table = comparison.against_ngrams(found, [1, 2], train_sequences=50)
    process, tokens = found.data.process, found.data.tokens
    fitted_on, oracle = process.sample(50, length=20).tokens, found.data.oracle_nll.mean()
    for order in (1, 2):
        nll = n2n.fit_ngram(fitted_on, 16, order).nll(tokens).mean()
        row = table[table["order"] == order].iloc[0]
        assert row["excess_loss"] == pytest.approx(nll - oracle)
        exact = table[(table["order"] == order) & (table["predictor"] == "exact")].iloc[0]
        nll = n2n.markov_nll(process, tokens, order - 1).mean()
        assert exact["excess_loss"] == pytest.approx(nll - oracle)
    assert table["predictor"].tolist() == ["n-gram", "n-gram", "exact", "exact", "one", "two"]
    assert table["fitted_on"].dropna().tolist() == [50, 50]
    elsewhere = Comparison(
        HeldOut(n2n.Process(n2n.Graph.preset("two_chains")), 4, 8), {"m": n2n.models.build("mingru", vocab_size=32)}
    )
    assert "exact" not in comparison.against_ngrams(elsewhere, [1], 50)["predictor"].tolist(), "not stationary"


def test_reliability_counts_every_prediction_once(found):
    table = comparison.reliability(found, bins=4)
    for name, law in found.log_probabilities.items():
        rows = table[table["model"] == name]
        assert rows["predictions"].sum() == law.size
        assert (rows["predicted"] * rows["predictions"]).sum() == pytest.approx(np.exp(law).sum())
        assert (rows["observed"] * rows["predictions"]).sum() == pytest.approx(law.shape[0] * law.shape[1])
    law, edges = np.exp(found.log_probabilities["two"]), [0, *np.geomspace(1e-3, 1, 5)]
    fullest = table[table["model"] == "two"].sort_values("predictions").iloc[-1]
    among = [
        found.data.tokens[i, t + 1] == v
        for i, t, v in np.ndindex(law.shape)
        if edges[fullest["bin"]] < law[i, t, v] <= edges[fullest["bin"] + 1]
    ]
    assert fullest["predictions"] == len(among) > 100
    assert fullest["observed"] == pytest.approx(np.mean(among))


def test_what_never_came_is_not_certain_not_to():
    process = n2n.Process(n2n.examples.REGIMES, seed=1)
    model = n2n.models.build("mingru", vocab_size=16, dim=16, layers=1, heads=2)
    found = Comparison(HeldOut(process, 8, 8), {"m": model})
    row = comparison.reliability(found).query("model == 'oracle' and observed == 0").iloc[0]
    assert (row["low"], row["high"]) == (0.0, 3 / row["predictions"])


def test_the_oracle_is_calibrated_and_a_bolder_model_is_not():
    process = n2n.Process(n2n.examples.REGIMES, seed=1)
    model = n2n.models.build("mingru", vocab_size=16, dim=16, layers=1, heads=2)
    found = Comparison(HeldOut(process, 400, 32), {"model": model})
    bold = Comparison(found.data, {"model": model})
    oracle = found.data.oracle_log_probabilities
    sharpened = 3 * oracle
    sharpened -= np.log(np.exp(sharpened).sum(-1, keepdims=True))
    vars(bold)["log_probabilities"] = {"model": sharpened, "oracle": oracle}
    table = comparison.reliability(bold)
    inside = table.eval("low <= predicted <= high")
    assert inside[table["model"] == "oracle"].mean() > 0.85
    assert inside[table["model"] == "model"].mean() < 0.4
    errors = comparison.calibration_error(table)
    assert errors["model"] > 5 * errors["oracle"]


def test_calibration_error_by_hand():
    table = pd.DataFrame({"model": "a", "predicted": [0.1, 0.6], "observed": [0.2, 0.5], "predictions": [3, 1]})
    assert comparison.calibration_error(table)["a"] == pytest.approx(0.1)


def test_other_models_on_the_same_tokens(found):
    model = n2n.models.build("hawk", vocab_size=16, dim=16, layers=1, heads=2)
    other = Comparison(found.data, {"three": model})
    assert other.log_probabilities["oracle"] is found.log_probabilities["oracle"], "computed once"
    fresh = Comparison(HeldOut(found.data.process, 12, 20), {"three": model})
    np.testing.assert_array_equal(other.excess["three"], fresh.excess["three"])


def test_a_comparison_needs_models_of_the_process_s_vocabulary(found):
    with pytest.raises(ValueError, match="at least one is needed"):
        Comparison(found.data, {})
    with pytest.raises(ValueError, match="oracle, n-gram, exact are reserved names"):
        Comparison(found.data, {"oracle": found.models["one"]})
    with pytest.raises(ValueError, match="saw a model of 5 symbols, a process of 16"):
        Comparison(found.data, {"m": n2n.models.build("mingru", vocab_size=5, dim=16)})
