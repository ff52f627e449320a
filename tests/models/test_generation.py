"""Generated tokens follow the model's predictions, modified by temperature, top-k and top-p."""

import numpy as np
import pytest
import torch
from support.architectures import tokens_of

import n2n
from n2n import models
from n2n.models.generation import Sampling

VOCAB = 5
LOGITS = torch.tensor([2.0, -1.0, 1.0, 0.0, 1.5])
LAW = LOGITS.double().softmax(-1)
DRAWS = 40_000


def model(arch: str = "mamba", seed: int = 0) -> torch.nn.Module:
    learner = models.build(arch, vocab_size=VOCAB, dim=16, heads=2, seed=seed)
    with torch.no_grad():
        learner.head.weight.mul_(20.0)  # predictions far from uniform
    return learner


def frequencies(**options) -> np.ndarray:
    uniform = (torch.arange(DRAWS, dtype=torch.float64) + 0.5) / DRAWS  # every quantile once
    tokens = Sampling(**options).choose(LOGITS.expand(DRAWS, -1), uniform)
    return np.bincount(tokens.numpy(), minlength=VOCAB) / DRAWS


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_tokens_follow_the_law_at_a_temperature(temperature):
    assert frequencies(temperature=temperature) == pytest.approx((LOGITS / temperature).softmax(-1).numpy(), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 1}, [0]),
        ({"top_k": 2}, [0, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.3}, [0]),
        ({"top_p": 0.5}, [0, 4]),
        ({"top_p": 0.9}, [0, 2, 4]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 2, "top_p": 0.3}, [0]),
        ({"temperature": 0.0}, [0]),
        ({"temperature": 1e-9}, [0]),
    ],
)
def test_top_k_and_top_p_keep_the_most_probable(options, kept):
    """For the law (0.46, 0.02, 0.17, 0.06, 0.28), keep the fewest tokens with total probability p, and at most k."""
    expected = np.zeros(VOCAB)
    expected[kept] = LAW[kept] / LAW[kept].sum()
    assert frequencies(**options) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2**-53])
def test_extreme_uniform_numbers_give_tokens_of_positive_probability(uniform):
    logits = torch.tensor([[0.0, -torch.inf, 1.0]])
    assert Sampling().choose(logits, torch.tensor([uniform], dtype=torch.float64)).item() in (0, 2)


@pytest.mark.parametrize("arch", [*models.names()])
def test_generated_tokens_are_drawn_from_the_model_s_own_predictions(arch):
    """Each token is the inversion of the parallel pass's prediction from the earlier tokens."""
    learner, prompt = model(arch), tokens_of(3, 4, vocab_size=VOCAB)
    tokens = learner.generate(prompt, 12, temperature=0.7, seed=5)
    assert torch.equal(tokens[:, :4], prompt)
    sampling = Sampling(temperature=0.7, seed=5)
    uniforms = sampling.uniforms(3, 12)
    with torch.no_grad():
        logits = learner(tokens)
    for t in range(12):
        assert torch.equal(sampling.choose(logits[:, 3 + t], uniforms[:, t]), tokens[:, 4 + t])


def test_greedy_tokens_are_the_most_probable():
    learner, prompt = model("transformer"), tokens_of(3, 4, vocab_size=VOCAB)
    tokens = learner.generate(prompt, 12, temperature=0)
    assert torch.equal(learner(tokens)[:, 3:-1].argmax(-1), tokens[:, 4:])


def test_a_row_does_not_depend_on_the_batch_or_the_length():
    learner, prompt = model(), tokens_of(4, 4, vocab_size=VOCAB)
    whole = learner.generate(prompt, 20, seed=3)
    assert torch.equal(learner.generate(prompt[:2], 9, seed=3), whole[:2, :13])
    assert not torch.equal(learner.generate(prompt, 20, seed=4), whole)


def test_generation_leaves_the_model_unchanged():
    learner = models.build("mamba", vocab_size=VOCAB, dim=16, heads=2, dropout=0.5)
    first = learner.generate(tokens_of(2, 4, vocab_size=VOCAB), 9)
    assert learner.training
    assert torch.equal(learner.generate(tokens_of(2, 4, vocab_size=VOCAB), 9), first)  # dropout is off
    assert all(parameter.grad is None for parameter in learner.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature: saw -1"),
        ({"top_k": 0}, "top_k: saw 0"),
        ({"top_p": 0}, "top_p: saw 0"),
        ({"top_p": 1.5}, "top_p: saw 1.5"),
        ({"seed": -1}, "seed: saw -1"),
        ({"length": 0}, "length: saw 0"),
        ({"length": 10_000}, "tokens: saw 10003 of them; max_length is 8192"),
        ({"prompt": torch.ones(2, 0, dtype=torch.int64)}, r"tokens: saw shape \(2, 0\)"),
        ({"prompt": torch.full((2, 1), 9)}, "tokens: saw 9; the vocabulary is 0 to 4"),
    ],
)
def test_bad_requests_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model().generate(**{"prompt": tokens_of(2, 4, vocab_size=VOCAB), "length": 3, **options})


def test_prompts_have_a_batch_axis():
    model = n2n.models.build("mingru", vocab_size=4, dim=8, layers=1, heads=2)
    with pytest.raises(ValueError, match=r"saw shape \(2,\); \(batch, T\)"):
        model.generate([1, 2], 5)
    assert model.generate([[1, 2]], 5).shape == (1, 7)
