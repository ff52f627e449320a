"""Token mixing of models, next to the exact influence of the process."""

import numpy as np
import pytest
import torch

import n2n
from n2n import models
from n2n.analysis.mixing import measure_mixing, token_mixing
from n2n.graph.graph import Graph
from n2n.process.process import Process


def test_mixing_of_the_model_and_influence_of_the_process():
    process, model = Process(Graph.preset("four_chains")), models.build("transformer", vocab_size=32, dim=16)
    result = measure_mixing(process, model, 20, 12)
    sample = process.sample(20, length=12, split="test")
    assert (result.tokens == sample.tokens).all()
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    assert result.mixing == pytest.approx(model.inspect(tokens[:, :-1]).mixing.numpy(), abs=1e-6)
    assert result.influence == pytest.approx(n2n.token_influence(process, sample.tokens).numpy())
    assert result.mixing.shape == (20, 2, 4, 11, 11)
    assert token_mixing(model, sample.tokens[:3]) == pytest.approx(result.mixing[:3], abs=1e-6)


def test_tokens_that_are_not_integer_sequences_are_refused():
    model = models.build("transformer", vocab_size=5, dim=16).train()
    with pytest.raises(ValueError, match=r"float64; integers are needed"):
        token_mixing(model, np.full((2, 4), 1.9))
    with pytest.raises(ValueError, match=r"tokens: saw shape \(4,\)"):
        token_mixing(model, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="tokens"):
        token_mixing(model, [[0], [1]])
    assert token_mixing(model, [[0, 1, 2]]).shape == (1, 2, 4, 2, 2)
    assert model.training
