"""Fits of linear probes against planted answers, their optimality conditions, and the coverage of intervals."""

import numpy as np
import pytest

from n2n.analysis.probe_fits import PENALTY, Parts, classify, divergence, explained, regress


def random_parts(rng: np.random.Generator, sequences: int, features: int) -> Parts:
    return Parts(*(rng.normal(size=(sequences, 10, features)) for _ in range(2)))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_a_linear_map_is_recovered():
    rng = np.random.default_rng(0)
    features, weights = random_parts(rng, 12, 5), rng.normal(size=(5, 3))
    targets = Parts(*(part @ weights + 2.0 for part in features))
    np.testing.assert_allclose(regress(features, targets), targets.judged, atol=1e-9)
    assert explained(regress(features, targets), targets).value == pytest.approx(1)


def test_dependent_features_do_not_change_predictions():
    rng = np.random.default_rng(1)
    features = random_parts(rng, 12, 4)
    targets = Parts(*(part[..., :2] + rng.normal(size=(12, 10, 2)) for part in features))
    twice = Parts(*(np.concatenate([part, part, np.ones_like(part)], -1) for part in features))
    np.testing.assert_allclose(regress(twice, targets), regress(features, targets), atol=1e-9)


def test_r2_by_hand():
    targets = Parts(np.array([[[0.0], [2.0]]]), np.array([[[0.0], [2.0]], [[1.0], [3.0]]]))
    predicted = targets.judged + np.array([[[1.0], [0.0]], [[0.0], [1.0]]])
    score = explained(predicted, targets)
    assert score.value == pytest.approx(1 - 2 / (1 + 1 + 0 + 4))  # around the mean of the fitted part, 1
    # A resample has one of the two sequences twice, or both: R^2 is 1 - 1/2, 1 - 1/4 or 1 - 2/6.
    assert (score.low, score.high) == pytest.approx((0.5, 0.75))


def test_constant_targets_have_no_r2():
    constant = Parts(*(np.full((4, 3, 2), 0.5) for _ in range(2)))
    assert np.isnan(explained(constant.judged + 1e-3, constant)).all()
    rounding = Parts(*(part + 1e-15 * np.random.default_rng(0).normal(size=part.shape) for part in constant))
    assert np.isnan(explained(constant.judged, rounding)).all()


def test_intervals_of_r2_have_their_coverage():
    """Noise around a known map, whose R^2 is 1/2, in sequences that differ in spread."""
    rng, covered = np.random.default_rng(2), 0
    for _ in range(300):
        level = rng.normal(size=(80, 1, 1)) * np.ones((80, 10, 1))
        truth = Parts(np.zeros((1, 1, 1)), level + rng.normal(size=(80, 10, 1)))
        score = explained(level, truth)
        covered += score.low <= 0.5 <= score.high
    assert 0.90 < covered / 300 < 0.98


def test_a_softmax_of_a_linear_map_is_recovered():
    rng = np.random.default_rng(3)
    features, weights = random_parts(rng, 40, 3), rng.normal(size=(3, 4))
    laws = Parts(*(softmax(part @ weights) for part in features))
    predictions = classify(features, {"a": laws, "b": Parts(*(law[..., ::-1] for law in laws))})
    np.testing.assert_allclose(predictions["a"], laws.judged, atol=5e-3)
    np.testing.assert_allclose(predictions["b"], laws.judged[..., ::-1], atol=5e-3)


def test_the_softmax_fit_is_the_minimum():
    """The gradient vanishes there: the mean of (prediction - label) times each feature is -penalty times the weight."""
    rng = np.random.default_rng(4)
    features = random_parts(rng, 60, 3)
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
    assert divergence(predicted, laws) == pytest.approx((np.log(2) / 2,) * 3)
