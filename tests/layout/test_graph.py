import numpy as np
import pytest

import topomap as tm
from topomap.layout.perplexity import calibrate
from topomap.layout.spread import graph


def test_neighbours_are_joined_both_ways():
    values = np.random.default_rng(0).normal(size=(30, 50))
    index, _ = tm.correlate(values).neighbors(12)
    directed = np.zeros((50, 50))
    np.put_along_axis(directed, index, 1, axis=1)
    found = graph.both_ways(index)
    np.testing.assert_array_equal(found.toarray(), directed + directed.T)
    assert found.has_sorted_indices and found.indices.dtype == np.int32


def test_affinities_are_the_mean_of_both_ways():
    values = np.random.default_rng(0).normal(size=(30, 50))
    index, away = tm.correlate(values).neighbors(12)
    directed = np.zeros((50, 50))
    np.put_along_axis(directed, index, calibrate(away, 4), axis=1)
    found = graph.affinities(index, away, 4)
    np.testing.assert_allclose(found.toarray(), (directed + directed.T) / 2)
    assert found.has_sorted_indices and found.indices.dtype == np.int32


def test_numbers_by_block_lie_together():
    points = np.random.default_rng(0).uniform(-20, 20, size=(1600, 2))
    order = graph.by_block(points)
    assert sorted(order.tolist()) == list(range(1600))
    apart = np.linalg.norm(np.diff(points[order], axis=0), axis=1)
    assert (apart < graph._BLOCK * np.sqrt(2)).mean() > 0.9


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
