import numpy as np
import pytest

from topomap import _compute
from topomap.layout.perplexity import calibrate


def distances(n=80, k=40, seed=0):
    return np.sort(np.random.default_rng(seed).gamma(2, size=(n, k)), axis=1).astype(np.float32)


@pytest.mark.parametrize("perplexity", [2, 10, 30])
def test_weights_have_the_perplexity_and_are_gaussian(perplexity):
    given = distances()
    weights = calibrate(given, perplexity)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    entropy = -np.where(weights > 0, weights * np.log(np.maximum(weights, 1e-300)), 0).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=1e-6)
    squares = given.astype(float) ** 2
    precision = np.log(weights[:, :1] / weights[:, 1:4]) / (squares[:, 1:4] - squares[:, :1])
    np.testing.assert_allclose(precision, precision[:, :1] * np.ones(3), rtol=1e-6)


@pytest.mark.parametrize("tie", [0.0, 0.1, 1 / 3, 1e-8])
def test_more_ties_than_the_perplexity_share_alike(tie):
    given = np.full((3, 40), 2.0, dtype=np.float32)
    given[:, :20] = tie
    weights = calibrate(given, 5)
    np.testing.assert_allclose(weights[:, :20], 1 / 20)
    np.testing.assert_array_equal(weights[:, 20:], 0)
    np.testing.assert_allclose(calibrate(given[:, :20], 5), 1 / 20)


def test_the_number_of_threads_changes_no_weight(monkeypatch):
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(_compute, "n_threads", lambda threads=threads: threads)
        found.append(calibrate(distances(), 10))
    np.testing.assert_array_equal(*found)
