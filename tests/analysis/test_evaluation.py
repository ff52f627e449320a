"""Evaluation of models: excess losses, standard errors and baselines."""

import numpy as np
import pytest
import torch

import n2n
from n2n.analysis.evaluation import evaluate_model
from n2n.analysis.held_out import HeldOut
from n2n.difficulty.ngrams import fit_ngram
from n2n.models.lm import ModelConfig


class Oracle(torch.nn.Module):
    """A learner whose loss is that of the oracle plus a constant."""

    num_parameters = 0
    config = ModelConfig(vocab_size=32)

    def __init__(self, process: n2n.Process, extra: float) -> None:
        super().__init__()
        self.process, self.extra = process, torch.nn.Parameter(torch.tensor(extra))

    def nll(self, tokens: torch.Tensor) -> torch.Tensor:
        return n2n.filter(self.process, tokens).nll + self.extra


@pytest.fixture
def process() -> n2n.Process:
    return n2n.Process(n2n.Graph.preset("four_chains"))


def test_the_oracle_has_no_excess_loss(process):
    result = evaluate_model(Oracle(process, 0.0), HeldOut(process, sequences=70, length=20, train_sequences=100))
    assert result.excess_loss == pytest.approx(0.0, abs=1e-9)
    assert result.excess_standard_error == pytest.approx(0.0, abs=1e-9)
    assert result.cross_entropy == pytest.approx(result.oracle_nll)


def test_excess_loss_is_the_difference_from_the_oracle(process):
    result = evaluate_model(Oracle(process, 0.25), HeldOut(process, sequences=70, length=20, train_sequences=100))
    assert result.excess_loss == pytest.approx(0.25, abs=1e-6)
    assert result.excess_by_position == pytest.approx([0.25] * 19, abs=1e-6)


def test_all_values_by_hand(process):
    """Every value is computed again from the held-out and the training sequences."""
    model = n2n.models.build("transformer", vocab_size=32, dim=16, layers=1, heads=2).train()
    result = evaluate_model(model, HeldOut(process, sequences=100, length=20, train_sequences=300))
    assert model.training
    tokens = process.sample(100, length=20, split="test").tokens.astype(int)
    with torch.no_grad():
        nll = model.nll(torch.from_numpy(tokens)).double()
    excess = (nll - n2n.filter(process, tokens).nll).numpy()
    assert result.cross_entropy == pytest.approx(nll.mean().item(), abs=1e-5)
    assert result.excess_loss == pytest.approx(excess.mean(), abs=1e-5)
    assert result.excess_standard_error == pytest.approx(excess.mean(1).std(ddof=1) / 10, abs=1e-5)
    assert result.excess_by_position == pytest.approx(excess.mean(0), abs=1e-5)
    assert result.excess_standard_error_by_position == pytest.approx(excess.std(0, ddof=1) / 10, abs=1e-5)
    train = process.sample(300, length=20).tokens
    for order, value in ((1, result.unigram), (2, result.bigram)):
        assert value == pytest.approx(fit_ngram(train, 32, order).nll(tokens).mean())
    assert result.oracle_nll < result.bigram < result.unigram


def test_the_standard_error_equals_the_spread_block_means(process):
    """The means over 64 disjoint blocks of a large test set vary by the standard error."""
    model = n2n.models.build("mamba", vocab_size=32, dim=16, layers=1, heads=2)
    tokens = process.sample(4096, length=16, split="test").tokens.astype(int)
    with torch.no_grad():
        excess = (model.nll(torch.from_numpy(tokens)).double() - n2n.filter(process, tokens).nll).mean(1).numpy()
    block_means = excess.reshape(64, 64).mean(1)
    result = evaluate_model(model, HeldOut(process, sequences=64, length=16, train_sequences=10))
    assert result.excess_loss == pytest.approx(block_means[0], abs=1e-5)
    assert np.std(block_means, ddof=1) == pytest.approx(result.excess_standard_error, rel=0.4)


def test_a_model_of_another_vocabulary_is_refused(process):
    model = Oracle(process, 0.0)
    other = n2n.Process(n2n.Graph.preset("slow_switch"))
    with pytest.raises(ValueError, match="a model of 32 symbols, a process of 128"):
        evaluate_model(model, HeldOut(other, sequences=4, length=20, train_sequences=10))
