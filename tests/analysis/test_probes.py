"""Linear probes against planted answers, their own optimality conditions, and how often their intervals hold."""

import numpy as np
import pytest
import torch

import n2n
from n2n.analysis import probes
from n2n.analysis.probe_fits import PENALTY, Parts, classify, divergence, explained, regress
from n2n.analysis.probes import ProbeData


@pytest.fixture(scope="module", params=["zero", "stationary"])
def data(request) -> ProbeData:
    return ProbeData(n2n.Process(n2n.examples.REGIMES, seed=1).with_initial(request.param), sequences=20, length=16)


def drawn(rng: np.random.Generator, sequences: int, features: int) -> Parts:
    return Parts(*(rng.normal(size=(sequences, 10, features)) for _ in range(2)))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_a_linear_map_is_found():
    rng = np.random.default_rng(0)
    features, weights = drawn(rng, 12, 5), rng.normal(size=(5, 3))
    targets = Parts(*(part @ weights + 2.0 for part in features))
    np.testing.assert_allclose(regress(features, targets), targets.judged, atol=1e-9)
    assert explained(regress(features, targets), targets).value == pytest.approx(1)


def test_dependent_features_change_nothing():
    rng = np.random.default_rng(1)
    features = drawn(rng, 12, 4)
    targets = Parts(*(part[..., :2] + rng.normal(size=(12, 10, 2)) for part in features))
    twice = Parts(*(np.concatenate([part, part, np.ones_like(part)], -1) for part in features))
    np.testing.assert_allclose(regress(twice, targets), regress(features, targets), atol=1e-9)


def test_r2_by_hand():
    targets = Parts(np.array([[[0.0], [2.0]]]), np.array([[[0.0], [2.0]], [[1.0], [3.0]]]))
    predicted = targets.judged + np.array([[[1.0], [0.0]], [[0.0], [1.0]]])
    found = explained(predicted, targets)
    assert found.value == pytest.approx(1 - 2 / (1 + 1 + 0 + 4))  # from the mean of what was fitted on, 1
    # Resampled sequences are one of the two twice, or both: R^2 is 1 - 1/2, 1 - 1/4 or 1 - 2/6.
    assert (found.low, found.high) == pytest.approx((0.5, 0.75))


def test_targets_that_do_not_vary_have_no_r2():
    constant = Parts(*(np.full((4, 3, 2), 0.5) for _ in range(2)))
    assert np.isnan(explained(constant.judged + 1e-3, constant)).all()
    rounding = Parts(*(part + 1e-15 * np.random.default_rng(0).normal(size=part.shape) for part in constant))
    assert np.isnan(explained(constant.judged, rounding)).all()


def test_its_interval_holds_as_often_as_it_says():
    """Pure noise about a known map: R^2 of the truth is known, sequences differ in spread."""
    rng, held = np.random.default_rng(2), 0
    for _ in range(300):
        level = rng.normal(size=(80, 1, 1)) * np.ones((80, 10, 1))
        truth = Parts(np.zeros((1, 1, 1)), level + rng.normal(size=(80, 10, 1)))
        found = explained(level, truth)
        held += found.low <= 0.5 <= found.high  # half of the variance is noise
    assert 0.90 < held / 300 < 0.98


def test_a_softmax_of_a_linear_map_is_found():
    rng = np.random.default_rng(3)
    features, weights = drawn(rng, 40, 3), rng.normal(size=(3, 4))
    laws = Parts(*(softmax(part @ weights) for part in features))
    found = classify(features, {"a": laws, "b": Parts(*(law[..., ::-1] for law in laws))})
    np.testing.assert_allclose(found["a"], laws.judged, atol=5e-3)
    np.testing.assert_allclose(found["b"], laws.judged[..., ::-1], atol=5e-3)


def test_the_softmax_fit_is_the_minimum():
    """At it the gradient vanishes: the mean of (prediction - label) times each feature is -penalty times the weight."""
    rng = np.random.default_rng(4)
    features = drawn(rng, 60, 3)
    laws = Parts(*(softmax(2 * rng.normal(size=(60, 10, 3))) for _ in range(2)))
    same = Parts(features.fitted, features.fitted)
    predicted = classify(same, {"a": Parts(laws.fitted, laws.fitted)})["a"]
    x = features.fitted.reshape(-1, 3)
    x = (x - x.mean(0)) / x.std(0)
    gap = (predicted - laws.fitted).reshape(-1, 3)
    assert np.abs(gap.mean(0)).max() < 1e-5
    assert np.abs(x.T @ gap / len(x)).max() < 1e-5 + PENALTY


def test_divergence_by_hand():
    laws = np.array([[[1.0, 0.0], [0.5, 0.5]]] * 2)
    predicted = np.array([[[0.5, 0.5], [0.5, 0.5]]] * 2)
    found = divergence(predicted, laws)
    assert found == pytest.approx((np.log(2) / 2,) * 3)


def test_beliefs_are_the_oracle_s(data):
    exact = n2n.filter(data.process, data.tokens.judged, beliefs=True).beliefs
    assert set(data.beliefs) == {"Z1", "Z2", "Z3"}
    for name, part in data.beliefs.items():
        np.testing.assert_array_equal(part.judged, exact[name][:, data.first :].numpy())
    assert data.first == (data.process.graph.initial == "zero")
    assert not np.array_equal(data.tokens.fitted, data.tokens.judged)


def test_a_classic_process_has_its_own_states():
    """Mess3: the belief follows its own recursion, over three states, from the labelled matrices."""
    data = ProbeData(n2n.Process.classic("mess3"), sequences=4, length=12)
    labelled = n2n.process.classic.CLASSICS["mess3"](x=0.05, a=0.85)
    for i, sequence in enumerate(data.tokens.judged):
        law = np.full(3, 1 / 3)
        for t, token in enumerate(sequence):
            law = law @ labelled[token]
            law /= law.sum()
            np.testing.assert_allclose(data.beliefs["Z"].judged[i, t], law, atol=1e-9)
    assert data.process.own_states["Z"].tolist() == [0, 1, 2] * 3


def test_the_residual_stream_is_the_model_s(data):
    model = n2n.models.build("mingru", vocab_size=16, dim=16, layers=2, heads=2)
    layers = data.residual(model)
    assert len(layers) == 3
    expected = model.embedding(torch.from_numpy(data.tokens.judged)).detach()
    expected[:, 0] += model.start.detach()
    np.testing.assert_allclose(layers[0].judged, expected[:, data.first :].numpy(), atol=1e-6)


def test_the_first_position_counts_where_its_belief_varies():
    """Mess3 starts in its stationary law: at position 0 the belief depends on the token, and all sources have it."""
    data = ProbeData(n2n.Process.classic("mess3"), sequences=30, length=5)
    model = n2n.models.build("transformer", vocab_size=3, dim=8, layers=1, heads=2)
    assert data.first == 0
    sources = {"stream": data.residual(model), "last": data.last_tokens(1), "mean field": data.mean_field()}
    for parts in (data.beliefs["Z"], *sources["stream"], sources["last"], sources["mean field"]):
        assert parts.judged.shape[:2] == parts.fitted.shape[:2] == (30, 5)
    assert data.beliefs["Z"].judged[:, 0].std(axis=0).min() > 0.1
    assert (data.last_tokens(2).judged[:, 0, :3] == 0).all()  # nothing comes before the start
    assert set(probes.probe(data, sources)["source"]) == {*sources, "constant"}


def test_the_last_tokens_are_told_apart(data):
    found = data.last_tokens(3).judged
    tokens = data.tokens.judged
    assert found.shape == (20, 16 - data.first, 48)
    for t in (1, 2, 9):
        for back in range(3):
            indicator = found[5, t - data.first, 16 * (2 - back) : 16 * (3 - back)]
            expected = np.eye(16)[tokens[5, t - back]] if t >= back else np.zeros(16)
            np.testing.assert_array_equal(indicator, expected)


def test_the_belief_itself_is_found_and_a_constant_is_not(data):
    own = Parts(*(np.concatenate(parts, -1) for parts in zip(*data.beliefs.values(), strict=True)))
    table = probes.probe(data, {"own": own, "layered": [own, Parts(*(0 * part for part in own))]})
    found = table.set_index(["source", "layer", "latent"])["r2"]
    for latent in data.beliefs:
        assert found["own", :, latent].item() == pytest.approx(1)
        assert found["layered", 0, latent] == pytest.approx(1)
        assert found["layered", 1, latent] == pytest.approx(0, abs=1e-9)
        assert found["constant", :, latent].item() == pytest.approx(0, abs=1e-9)
    kl = table.set_index(["source", "latent"])["kl"]["constant"]
    law = data.beliefs["Z3"]
    mean = law.fitted.mean((0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(law.judged > 0, law.judged * np.log(law.judged / mean), 0).sum(-1).mean()
    assert kl["Z3"] == pytest.approx(expected, abs=1e-4)


def test_the_simplex_pairs_beliefs_with_their_images(data):
    own = Parts(*(np.concatenate(parts, -1) for parts in zip(*data.beliefs.values(), strict=True)))
    belief, image = probes.simplex(data, own, max_points=50)
    assert belief.shape == image.shape == (50, 3)
    np.testing.assert_allclose(belief, image, atol=1e-9)
    every, _ = probes.simplex(data, own, max_points=10**6)
    np.testing.assert_array_equal(every, data.beliefs["Z1"].judged.reshape(-1, 3))
    other = ProbeData(n2n.Process(n2n.Graph.preset("single")), 2, 4)
    with pytest.raises(ValueError, match=r"saw latents of \{'Z1': 64\} states; the belief simplex needs one of 3"):
        probes.simplex(other, Parts(np.zeros((2, 3, 1)), np.zeros((2, 3, 1))))


def test_a_process_without_latents_has_no_beliefs():
    chain = n2n.Graph(nodes=[n2n.Node(name="X", num_states=3, observed=True, recurrent=True)])
    with pytest.raises(ValueError, match="saw no latents"):
        ProbeData(n2n.Process(chain), 4, 8)
