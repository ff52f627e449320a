"""Data of probes against the oracle and the model, and probes with known results."""

import numpy as np
import pytest
import torch

import n2n
from n2n.analysis import probes
from n2n.analysis.probe_fits import Parts
from n2n.analysis.probes import ProbeData


@pytest.fixture(scope="module", params=["zero", "stationary"])
def data(request) -> ProbeData:
    return ProbeData(n2n.Process(n2n.examples.REGIMES, seed=1).with_initial(request.param), sequences=20, length=16)


def test_beliefs_are_those_of_the_oracle(data):
    exact = n2n.filter(data.process, data.tokens.judged, beliefs=True).beliefs
    assert set(data.beliefs) == {"Z1", "Z2", "Z3"}
    for name, part in data.beliefs.items():
        np.testing.assert_array_equal(part.judged, exact[name][:, data.first :].numpy())
    assert data.first == (data.process.graph.initial == "zero")
    assert not np.array_equal(data.tokens.fitted, data.tokens.judged)


def test_beliefs_of_a_classic_process_are_over_its_own_states():
    """The belief of Mess3 over its three states, from the recursion with labelled matrices."""
    data = ProbeData(n2n.Process.classic("mess3"), sequences=4, length=12)
    labelled = n2n.process.classic.CLASSICS["mess3"](x=0.05, a=0.85)
    for i, sequence in enumerate(data.tokens.judged):
        law = np.full(3, 1 / 3)
        for t, token in enumerate(sequence):
            law = law @ labelled[token]
            law /= law.sum()
            np.testing.assert_allclose(data.beliefs["Z"].judged[i, t], law, atol=1e-9)
    assert data.process.own_states["Z"].tolist() == [0, 1, 2] * 3


def test_the_residual_stream_is_that_of_the_model(data):
    model = n2n.models.build("mingru", vocab_size=16, dim=16, layers=2, heads=2)
    layers = data.residual(model)
    assert len(layers) == 3
    expected = model.embedding(torch.from_numpy(data.tokens.judged)).detach()
    expected[:, 0] += model.start.detach()
    np.testing.assert_allclose(layers[0].judged, expected[:, data.first :].numpy(), atol=1e-6)


def test_the_first_position_is_probed_if_its_belief_varies():
    """Mess3 has a stationary start, so the belief at position 0 depends on the token; all sources have position 0."""
    data = ProbeData(n2n.Process.classic("mess3"), sequences=30, length=5)
    model = n2n.models.build("transformer", vocab_size=3, dim=8, layers=1, heads=2)
    assert data.first == 0
    sources = {"stream": data.residual(model), "last": data.last_tokens(1), "mean field": data.mean_field()}
    for parts in (data.beliefs["Z"], *sources["stream"], sources["last"], sources["mean field"]):
        assert parts.judged.shape[:2] == parts.fitted.shape[:2] == (30, 5)
    assert data.beliefs["Z"].judged[:, 0].std(axis=0).min() > 0.1
    assert (data.last_tokens(2).judged[:, 0, :3] == 0).all()  # no token precedes the first
    assert set(probes.probe(data, sources)["source"]) == {*sources, "constant"}


def test_the_last_tokens_are_one_hot(data):
    features = data.last_tokens(3).judged
    tokens = data.tokens.judged
    assert features.shape == (20, 16 - data.first, 48)
    for t in (1, 2, 9):
        for back in range(3):
            indicator = features[5, t - data.first, 16 * (2 - back) : 16 * (3 - back)]
            expected = np.eye(16)[tokens[5, t - back]] if t >= back else np.zeros(16)
            np.testing.assert_array_equal(indicator, expected)


def test_the_belief_itself_has_r2_one_and_a_constant_zero(data):
    own = Parts(*(np.concatenate(parts, -1) for parts in zip(*data.beliefs.values(), strict=True)))
    table = probes.probe(data, {"own": own, "layered": [own, Parts(*(0 * part for part in own))]})
    r2 = table.set_index(["source", "layer", "latent"])["r2"]
    for latent in data.beliefs:
        assert r2["own", :, latent].item() == pytest.approx(1)
        assert r2["layered", 0, latent] == pytest.approx(1)
        assert r2["layered", 1, latent] == pytest.approx(0, abs=1e-9)
        assert r2["constant", :, latent].item() == pytest.approx(0, abs=1e-9)
    kl = table.set_index(["source", "latent"])["kl"]["constant"]
    law = data.beliefs["Z3"]
    mean = law.fitted.mean((0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(law.judged > 0, law.judged * np.log(law.judged / mean), 0).sum(-1).mean()
    assert kl["Z3"] == pytest.approx(expected, abs=1e-4)


def test_the_simplex_has_beliefs_and_predictions_in_pairs(data):
    own = Parts(*(np.concatenate(parts, -1) for parts in zip(*data.beliefs.values(), strict=True)))
    belief, image = probes.simplex(data, own, max_points=50)
    assert belief.shape == image.shape == (50, 3)
    np.testing.assert_allclose(belief, image, atol=1e-9)
    every, _ = probes.simplex(data, own, max_points=10**6)
    np.testing.assert_array_equal(every, data.beliefs["Z1"].judged.reshape(-1, 3))
    other = ProbeData(n2n.Process(n2n.Graph.preset("single")), 2, 4)
    with pytest.raises(ValueError, match=r"saw latents of \{'Z1': 64\} states; the belief simplex needs one of 3"):
        probes.simplex(other, Parts(np.zeros((2, 3, 1)), np.zeros((2, 3, 1))))


def test_a_process_without_latents_is_refused():
    chain = n2n.Graph(nodes=[n2n.Node(name="X", num_states=3, observed=True, recurrent=True)])
    with pytest.raises(ValueError, match="saw no latents"):
        ProbeData(n2n.Process(chain), 4, 8)
