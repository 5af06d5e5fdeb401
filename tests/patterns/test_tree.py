"""The spanning tree by products against one from all distances."""

import numpy as np
import pytest
from hdbscan._hdbscan_linkage import mst_linkage_core_vector
from hdbscan.dist_metrics import DistanceMetric
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.neighbors import KDTree

from topomap.patterns import tree
from topomap.patterns.tree import Distances, spanning_tree


def reachability(features, k):
    distances = cdist(features, features)
    core = np.sort(distances, axis=1)[:, k]
    return np.maximum(np.maximum(distances, core), core[:, None])


@pytest.mark.parametrize(("n", "k"), [(2, 1), (7, 5), (130, 1), (300, 5)])
@pytest.mark.parametrize("held", [1, 10**6])  # rows of distances: few are forgotten and computed anew
def test_tree_is_the_minimum_spanning_tree(n, k, held, monkeypatch):
    monkeypatch.setattr(tree._compute, "BLOCK_ENTRIES", held)
    features = np.random.default_rng(n).normal(size=(n, 70)) + 100
    edges = spanning_tree(features, k)
    full = reachability(features, min(k, n - 1))
    np.testing.assert_allclose(edges[:, 2], full[edges[:, 0].astype(int), edges[:, 1].astype(int)], rtol=1e-12)
    oracle = minimum_spanning_tree(csr_array(np.triu(full, 1)))
    np.testing.assert_allclose(np.sort(edges[:, 2]), np.sort(oracle.data), rtol=1e-12)
    assert sorted(edges[:, 1].astype(int)) == list(range(1, n))  # every row joins once


@pytest.mark.parametrize("kind", ["any", "levels", "copies", "far from 0"])
@pytest.mark.parametrize("k", [1, 5])
def test_tree_is_that_of_hdbscan_also_where_distances_are_equal(kind, k):
    rng = np.random.default_rng(3)
    features = np.maximum(rng.normal(size=(260, 70)), 0)
    if kind == "levels":
        features = rng.integers(0, 3, size=(260, 70)) / 3
    elif kind == "copies":
        features[130:] = features[:130]
    elif kind == "far from 0":
        features += 1e4
    core = np.ascontiguousarray(KDTree(features).query(features, k + 1)[0][:, -1])
    expected = mst_linkage_core_vector(features, core, DistanceMetric.get_metric("euclidean"), 1.0)
    edges = spanning_tree(features, k)
    np.testing.assert_array_equal(edges[:, :2], np.asarray(expected)[:, :2])
    np.testing.assert_allclose(edges[:, 2], np.asarray(expected)[:, 2], rtol=1e-14)


def test_equal_rows_are_at_distance_zero_and_near_ones_are_not():
    features = np.random.default_rng(0).normal(size=(60, 80)) * 1e3
    features[20:40] = features[:20]
    features[40:50] = features[:10] * (1 + 1e-9)
    edges = spanning_tree(features, 1)
    assert np.count_nonzero(edges[:, 2] == 0) == 20
    near = np.sort(edges[:, 2])[20:30]
    np.testing.assert_allclose(near, np.sort(np.linalg.norm(features[:10], axis=1) * 1e-9), rtol=1e-4)


def test_query_is_that_of_a_tree():
    rng = np.random.default_rng(1)
    features, points = rng.normal(size=(200, 65)), rng.normal(size=(140, 65))
    points[:5] = features[:5]
    gaps, index = Distances(features).query(points, k=10)
    expected, which = KDTree(features).query(points, k=10)
    np.testing.assert_allclose(gaps, expected, atol=1e-12)
    np.testing.assert_array_equal(index, which)
