import numpy as np
import pytest
import torch

import n2n
from n2n.analysis.evaluation import evaluate_model
from n2n.analysis.held_out import HeldOut
from n2n.difficulty.ngrams import fit_ngram
from n2n.models.lm import ModelConfig


class Oracle(torch.nn.Module):
    """A learner that predicts as the oracle does, but for a constant loss on top."""

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
    found = evaluate_model(Oracle(process, 0.0), HeldOut(process, sequences=70, length=20, train_sequences=100))
    assert found.excess_loss == pytest.approx(0.0, abs=1e-9)
    assert found.excess_standard_error == pytest.approx(0.0, abs=1e-9)
    assert found.cross_entropy == pytest.approx(found.oracle_nll)


def test_excess_loss_is_what_comes_on_top(process):
    found = evaluate_model(Oracle(process, 0.25), HeldOut(process, sequences=70, length=20, train_sequences=100))
    assert found.excess_loss == pytest.approx(0.25, abs=1e-6)
    assert found.excess_by_position == pytest.approx([0.25] * 19, abs=1e-6)


def test_figures_by_hand(process):
    """Every number again, from the held-out sequences and the training sequences alone."""
    model = n2n.models.build("transformer", vocab_size=32, dim=16, layers=1, heads=2).train()
    found = evaluate_model(model, HeldOut(process, sequences=100, length=20, train_sequences=300))
    assert model.training
    tokens = process.sample(100, length=20, split="test").tokens.astype(int)
    with torch.no_grad():
        nll = model.nll(torch.from_numpy(tokens)).double()
    excess = (nll - n2n.filter(process, tokens).nll).numpy()
    assert found.cross_entropy == pytest.approx(nll.mean().item(), abs=1e-5)
    assert found.excess_loss == pytest.approx(excess.mean(), abs=1e-5)
    assert found.excess_standard_error == pytest.approx(excess.mean(1).std(ddof=1) / 10, abs=1e-5)
    assert found.excess_by_position == pytest.approx(excess.mean(0), abs=1e-5)
    assert found.excess_standard_error_by_position == pytest.approx(excess.std(0, ddof=1) / 10, abs=1e-5)
    train = process.sample(300, length=20).tokens
    for order, value in ((1, found.unigram), (2, found.bigram)):
        assert value == pytest.approx(fit_ngram(train, 32, order).nll(tokens).mean())
    assert found.oracle_nll < found.bigram < found.unigram


def test_the_standard_error_is_honest(process):
    """Over disjoint halves of a large test set, means differ by about what their errors say."""
    model = n2n.models.build("mamba", vocab_size=32, dim=16, layers=1, heads=2)
    tokens = process.sample(4096, length=16, split="test").tokens.astype(int)
    with torch.no_grad():
        excess = (model.nll(torch.from_numpy(tokens)).double() - n2n.filter(process, tokens).nll).mean(1).numpy()
    of_blocks = excess.reshape(64, 64).mean(1)
    found = evaluate_model(model, HeldOut(process, sequences=64, length=16, train_sequences=10))
    assert found.excess_loss == pytest.approx(of_blocks[0], abs=1e-5)
    assert np.std(of_blocks, ddof=1) == pytest.approx(found.excess_standard_error, rel=0.4)


def test_a_model_of_another_vocabulary_is_refused(process):
    model = Oracle(process, 0.0)
    other = n2n.Process(n2n.Graph.preset("slow_switch"))
    with pytest.raises(ValueError, match="a model of 32 symbols, a process of 128"):
        evaluate_model(model, HeldOut(other, sequences=4, length=20, train_sequences=10))
