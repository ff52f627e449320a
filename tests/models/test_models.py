"""Every architecture with its options: initial weights and learning."""

import numpy as np
import pytest
import torch
from support.architectures import RECURRENT, VOCAB, build, build_variant, every_arch, every_variant, tokens_of
from torch.testing import assert_close

import n2n


@every_arch
def test_nll_is_the_cross_entropy_of_the_next_token(arch):
    model, tokens = build(arch), tokens_of(3, 9)
    nll = model.nll(tokens)
    probability = model(tokens)[:, :-1].softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    assert_close(nll, -probability.log(), rtol=1e-5, atol=1e-6)


@every_variant
def test_initial_weights_depend_only_on_the_seed(variant):
    torch.manual_seed(123)
    expected_next = torch.rand(1)
    torch.manual_seed(123)
    first = build_variant(variant)
    assert torch.equal(torch.rand(1), expected_next)  # torch's global generator is unchanged
    torch.manual_seed(7)
    again, other = build_variant(variant), build_variant(variant, seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())


@every_variant
def test_a_new_model_predicts_nearly_uniformly(variant):
    loss = build_variant(variant, dim=64).nll(tokens_of(8, 64)).mean().item()
    assert loss == pytest.approx(np.log(VOCAB), abs=0.2 if "tied" in variant else 0.1)


@every_variant
def test_state_dict_round_trip(variant):
    model, other, tokens = build_variant(variant), build_variant(variant, seed=1), tokens_of(2, 8)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(tokens), other(tokens))


@every_variant
def test_overfits_one_batch_within_150_steps(variant):
    model, tokens = build_variant(variant, dim=32), tokens_of(4, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        nll = model.nll(tokens)
        if nll[:, 4:].mean() < 0.05:  # random tokens, identified by their prefix
            return
        optimizer.zero_grad()
        nll.mean().backward()
        optimizer.step()
    pytest.fail(f"the loss is {model.nll(tokens)[:, 4:].mean().item():.3f}")


@every_arch
def test_learns_an_in_context_markov_chain_better_than_the_unigram(arch):
    """Each sequence has its own transition matrix, so only the counts in its context help to predict."""
    rng = np.random.default_rng(0)
    model = build(arch, dim=32)
    held_out = chains(rng, 256, 48)
    unigram = n2n.fit_ngram(chains(rng, 256, 48), VOCAB, 1).nll(held_out)[:, 16:].mean()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(10):
        for _ in range(20):
            optimizer.zero_grad()
            model.nll(torch.from_numpy(chains(rng, 32, 48))).mean().backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(model.nll(torch.from_numpy(held_out))[:, 16:].mean().item())
        if losses[-1] < unigram - 0.1:
            return
    pytest.fail(f"after every 20 steps the losses are {losses}, that of the unigram is {unigram}")


def chains(rng: np.random.Generator, count: int, length: int, states: int = 3) -> np.ndarray:
    """Draw Markov chains; each sequence has its own rows from Dirichlet(1/2)."""
    cumulative = rng.dirichlet(np.full(states, 0.5), size=(count, states)).cumsum(-1)
    tokens = np.zeros((count, length), np.int64)
    for t in range(1, length):
        rows = cumulative[np.arange(count), tokens[:, t - 1]]
        tokens[:, t] = np.minimum((rng.random((count, 1)) > rows).sum(-1), states - 1)
    return tokens


@every_arch
def test_gradients_are_finite_over_a_long_sequence(arch):
    model = build(arch)
    model.nll(tokens_of(1, 4097)).mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("arch", [*RECURRENT, "mamba"])
def test_saturated_gates_give_finite_gradients(arch):
    model = build(arch)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("mixer.project.weight", "mixer.gate_weight", "mixer.step.weight")):
                parameter.mul_(1000.0)
    model.nll(tokens_of(2, 30)).mean().backward()
    for parameter in model.parameters():
        assert torch.isfinite(parameter.grad).all()


@every_arch
def test_dropout_acts_only_in_training(arch):
    model, without_dropout, tokens = build(arch, dropout=0.5), build(arch), tokens_of(2, 12)
    assert not torch.allclose(model(tokens), model(tokens))
    assert torch.equal(model.eval()(tokens), without_dropout(tokens))
