"""Predictions from counts, where the tokens reveal the latent path."""

import numpy as np
import pytest
from support.context_graphs import latent, observed

import n2n
from n2n.graph.graph import Graph
from n2n.process.process import Process


@pytest.mark.parametrize(
    ("nodes", "recurrent"),
    [
        ([observed(recurrent=True, alpha=0.3)], True),
        ([latent("Z", num_states=1), observed("Z", alpha=0.3)], False),
        ([latent("Z", "X", num_states=1), observed("Z", recurrent=True, alpha=0.3)], True),
    ],
)
@pytest.mark.parametrize("initial", ["zero", "uniform"])
def test_losses_without_a_hidden_path_follow_from_counts(nodes, recurrent, initial):
    process = Process(Graph(nodes=nodes, initial=initial))
    tokens = process.sample(7, length=12).tokens
    result = n2n.in_context_nll(process, tokens)
    for row, sequence in zip(result.nll.numpy(), tokens.tolist(), strict=True):
        counts = np.full((3, 3), 0.3)
        if initial == "uniform" and not recurrent:
            counts[0, sequence[0]] += 1  # x_0 is the first draw from the row
        for t in range(1, 12):
            row_counts = counts[sequence[t - 1] if recurrent else 0]
            assert row[t - 1] == pytest.approx(-np.log(row_counts[sequence[t]] / row_counts.sum()), abs=1e-12)
            row_counts[sequence[t]] += 1
    first = 0.0 if initial == "zero" else np.log(3)
    assert result.log_likelihood.numpy() == pytest.approx(-first - result.nll.sum(1).numpy(), abs=1e-12)
    assert result.exact
    assert result.effective_sample_size is None
    assert not result.standard_error.any()
    assert not result.log_likelihood_standard_error.any()


@pytest.mark.parametrize(("states", "published"), [(3, 0.8866), (2, 0.5112)])
def test_the_published_loss_of_an_in_context_markov_chain(states, published):
    process = Process(Graph(nodes=[observed(recurrent=True, num_states=states)], initial="uniform"), seed=1)
    loss = n2n.in_context_nll(process, process.sample(40_000, length=100, latents=False).tokens).nll.mean(1)
    error = loss.std().item() / 200
    assert error < 0.001
    assert loss.mean().item() == pytest.approx(published, abs=0.0003 + 4 * error)
