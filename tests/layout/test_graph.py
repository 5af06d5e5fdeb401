import numpy as np
import pytest

import topomap as tm
from topomap import _compute
from topomap.layout.spread import graph


def distances(n=80, k=40, seed=0):
    return np.sort(np.random.default_rng(seed).gamma(2, size=(n, k)), axis=1).astype(np.float32)


@pytest.mark.parametrize("perplexity", [2, 10, 30])
def test_weights_have_the_perplexity_and_are_gaussian(perplexity):
    given = distances()
    weights = graph.calibrate(given, perplexity)
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
    weights = graph.calibrate(given, 5)
    np.testing.assert_allclose(weights[:, :20], 1 / 20)
    np.testing.assert_array_equal(weights[:, 20:], 0)
    np.testing.assert_allclose(graph.calibrate(given[:, :20], 5), 1 / 20)


def test_affinities_are_the_mean_of_both_ways():
    values = np.random.default_rng(0).normal(size=(30, 50))
    index, away = tm.correlate(values).neighbors(12)
    directed = np.zeros((50, 50))
    np.put_along_axis(directed, index, graph.calibrate(away, 4), axis=1)
    found = graph.affinities(index, away, 4)
    np.testing.assert_allclose(found.toarray(), (directed + directed.T) / 2)
    assert found.has_sorted_indices and found.indices.dtype == np.int32


def test_the_number_of_threads_changes_no_weight(monkeypatch):
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(_compute, "n_threads", lambda threads=threads: threads)
        found.append(graph.calibrate(distances(), 10))
    np.testing.assert_array_equal(*found)


def test_components_take_no_second_copy_of_a_large_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 200)).astype(np.float32) + 30 * rng.normal(size=(40, 1)).astype(np.float32)
    similarity = tm.correlate(values, metric="euclidean")
    features = similarity.features.astype(float)
    expected = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)[:4]
    np.testing.assert_allclose(np.linalg.norm(graph.components(similarity, 4), axis=0), expected, rtol=1e-2)


@pytest.mark.parametrize("keep_rows", [True, False])
def test_components_of_many_absolute_similarities_come_from_a_sample(keep_rows, monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 300)) + 0.1 * rng.normal(size=(60, 300))
    similarity = tm.correlate(values, absolute=True)
    if not keep_rows:
        given = np.clip(similarity.features @ similarity.features.T, -1, 1)
        similarity = tm.similarity.Similarity(None, "pearson", similarity.dead, absolute=True, given=given)
    whole = graph.components(similarity, 2)
    monkeypatch.setattr(graph, "_LANDMARKS", 120)
    sampled = graph.components(similarity, 2)
    assert sampled.shape == (300, 2)
    shared = np.linalg.svd(np.linalg.qr(whole)[0].T @ np.linalg.qr(sampled)[0], compute_uv=False)
    assert shared.min() > 0.95
