"""Held-out sequences and the oracle on them, against the process and the filter themselves."""

import numpy as np
import pytest
from support.context_graphs import latent, observed

import n2n
from n2n.analysis import held_out
from n2n.analysis.held_out import HeldOut
from n2n.difficulty.ngrams import fit_ngram


@pytest.fixture
def process() -> n2n.Process:
    return n2n.Process(n2n.Graph.preset("four_chains"))


def test_a_held_out_set_is_the_start_of_its_split(process):
    for split in ("test", "valid"):
        data = HeldOut(process, sequences=6, length=10, split=split)
        sample = process.sample(6, length=10, split=split)
        np.testing.assert_array_equal(data.tokens, sample.tokens)
        assert data.tokens.dtype == np.int64
        assert data.tokens is data.tokens, "computed once"
        for name, path in sample.latents.items():
            np.testing.assert_array_equal(data.states[name], path)


def test_losses_predictions_and_beliefs_are_those_of_the_filter(process):
    data = HeldOut(process, sequences=6, length=10)
    oracle = n2n.filter(process, data.tokens, predictive=True, beliefs=True)
    np.testing.assert_array_equal(data.oracle_nll, oracle.nll.numpy())
    np.testing.assert_array_equal(data.oracle_log_probabilities, oracle.predictive.log().numpy())
    assert set(data.beliefs) == {"Z1", "Z2", "Z3", "Z4"}
    for name, belief in data.beliefs.items():
        np.testing.assert_array_equal(belief, oracle.beliefs[name].numpy())


@pytest.mark.parametrize("name", ["mess3", "even", "rrxor"])
def test_a_classic_process_has_its_own_states(name):
    process = n2n.Process.classic(name)
    data, own = HeldOut(process, sequences=5, length=9), process.own_states["Z"]
    np.testing.assert_array_equal(data.states["Z"], own[data.sample.latents["Z"]])
    exact = n2n.filter(process, data.tokens, beliefs=True).beliefs["Z"].numpy()
    for state in range(max(own) + 1):
        np.testing.assert_allclose(data.beliefs["Z"][..., state], exact[..., own == state].sum(-1))


def test_baselines_are_fitted_on_the_first_training_sequences(process):
    data = HeldOut(process, sequences=6, length=10, train_sequences=30)
    fitted_on = process.sample(30, length=10).tokens
    for name, order in (("unigram", 1), ("bigram", 2)):
        assert data.baselines[name] == fit_ngram(fitted_on, 32, order).nll(data.tokens).mean()


def test_baselines_are_fitted_on_at_most_two_million_tokens(process, monkeypatch):
    sizes, real = [], held_out.fit_ngram
    monkeypatch.setattr(held_out, "fit_ngram", lambda tokens, *rest: sizes.append(tokens.size) or real(tokens, *rest))
    assert set(HeldOut(process, sequences=2, length=20, train_sequences=10**9).baselines) == {"unigram", "bigram"}
    assert set(sizes) == {2**21 // 20 * 20}


@pytest.mark.parametrize("pool", [None, 2])
def test_in_context_the_oracle_knows_the_kernels_and_baselines_count_within_a_sequence(pool):
    nodes = [latent("Z"), observed("Z", num_states=4)]
    process = n2n.Process(n2n.Graph(nodes=nodes, pool=pool), 3)
    data = HeldOut(process, sequences=6, length=10, split="valid")
    for i in range(6):
        told = n2n.filter(process.of_sequence(i, split="valid"), data.tokens[i : i + 1], predictive=True)
        np.testing.assert_allclose(np.exp(data.oracle_log_probabilities[i]), told.predictive[0].numpy(), atol=1e-12)
        np.testing.assert_allclose(data.oracle_nll[i], told.nll[0].numpy(), atol=1e-12)
    bigram, unigram = n2n.context_ngram_nll(data.tokens, 4, 2), n2n.context_ngram_nll(data.tokens[:, 1:], 4, 1)
    later = (unigram.sum() + 6 * np.log(4)) / bigram.size  # x_0 is always 0, so it is not counted
    assert data.baselines == pytest.approx({"unigram": later, "bigram": bigram.mean()})


def test_invalid_arguments_are_refused(process):
    with pytest.raises(ValueError, match=r"unknown held-out split 'train' \(allowed: test, valid\)"):
        HeldOut(process, sequences=4, length=20, split="train")
    with pytest.raises(ValueError, match="sequences: saw 1"):
        HeldOut(process, sequences=1, length=20)
    with pytest.raises(ValueError, match="length: saw 1"):
        HeldOut(process, sequences=4, length=1)
