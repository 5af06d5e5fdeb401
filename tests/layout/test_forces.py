"""The engine of all pairs and the force layouts, against dense transcriptions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

import topomap as tm
from topomap.layout import Force, Graph, Swarm, forces, pairs
from topomap.layout.pairs import AllPairs, PairValues, part_coincident


def values_of(n, seed=0, n_inputs=60):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_inputs, 4)) @ rng.normal(size=(4, n)) + 0.5 * rng.normal(size=(n_inputs, n))


def dense_swarm(positions, distance, n_steps, with_global):
    """The paper's equations, every pair at once, in double precision."""
    positions = positions.copy()
    for c in np.linspace(-3, 6, n_steps):
        s = (np.tanh(c) + 1) / 2
        gap = positions[None, :, :] - positions[:, None, :]
        r = np.maximum(np.sqrt((gap**2).sum(axis=-1)), 0.01)
        force = s * (1.5 / (r + 1) ** 3 - 15 * np.exp(-r / 2))
        if with_global:
            force += (1 - s) * (1.5 * (1 - (distance / distance.max()) ** 3) - 0.5 * np.exp(-distance / 2))
        positions += (force[:, :, None] / 2 * gap).mean(axis=1)
    return positions - positions.mean(axis=0)


@pytest.mark.parametrize("n_steps", [1, 10, 100])
def test_swarm_from_scratch_follows_the_papers_equations(n_steps):
    similarity = tm.correlate(values_of(50))
    found = Swarm(n_steps=n_steps, max_step=np.inf)(similarity, None, np.random.default_rng(7))
    start = np.random.default_rng(7).random((50, 2))
    expected = dense_swarm(start, similarity.distance().astype(float), n_steps, with_global=True)
    np.testing.assert_allclose(found - found.mean(axis=0), expected, atol=1e-3)


def test_swarm_from_a_layout_scales_it_to_the_unit_square_and_has_no_global_force():
    similarity = tm.correlate(values_of(50))
    init = np.random.default_rng(1).normal(size=(50, 2)) * [3, 70] + 5
    found = Swarm(n_steps=200)(similarity, init, np.random.default_rng(0))
    start = (init - init.min(axis=0)) / np.ptp(init, axis=0)
    expected = dense_swarm(start, similarity.distance().astype(float), 200, with_global=False)
    np.testing.assert_allclose(found - found.mean(axis=0), expected, atol=1e-6)


def test_single_precision_of_large_layers_stays_on_the_trajectory(monkeypatch):
    similarity = tm.correlate(values_of(80))
    init = np.random.default_rng(1).random((80, 2))
    exact = Swarm(n_steps=100)(similarity, init, np.random.default_rng(0))
    monkeypatch.setattr(forces, "_EXACT", 0)
    single = Swarm(n_steps=100)(similarity, init, np.random.default_rng(0))
    assert 0 < np.abs(exact - single).max() < 1e-3


def test_no_neuron_flies_off():
    """One neuron that nothing resembles: the published forces throw it out exponentially."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=50)
    rows = np.vstack([common + 0.05 * rng.normal(size=(19, 50)), -common + 0.05 * rng.normal(size=50)])
    similarity = tm.correlate(rows.T, metric="cosine")
    free = Swarm(max_step=np.inf, reach=np.inf)(similarity, None, np.random.default_rng(0))
    bounded = Swarm()(similarity, None, np.random.default_rng(0))
    assert np.linalg.norm(free, axis=1).max() > 200
    assert np.linalg.norm(bounded, axis=1).max() <= 60
    assert bounded[:19].std() > 5


def test_bounds_leave_ordinary_trajectories_alone():
    similarity = tm.correlate(values_of(100))
    free = Swarm(max_step=np.inf, reach=np.inf)(similarity, None, np.random.default_rng(0))
    bounded = Swarm()(similarity, None, np.random.default_rng(0))
    assert np.array_equal(free, bounded)


def test_a_collapsed_swarm_keeps_its_shape():
    """Neurons that all attract each other fall together by many orders of magnitude before they part again."""
    similarity = tm.correlate(np.random.default_rng(0).normal(size=(500, 300)))
    found = Swarm()(similarity, None, np.random.default_rng(0))
    assert len(np.unique(found.round(2), axis=0)) == 300
    assert found.std(axis=0) == pytest.approx([18, 18], abs=4)


@pytest.mark.parametrize("n", [1, 5, 130, 1100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_engine_sums_over_all_pairs(n, dtype):
    points = np.random.default_rng(0).normal(size=(n, 2)) * 5

    def kernel(squares, scratch, other):
        return np.reciprocal(np.add(squares, 1, out=squares), out=squares)

    with AllPairs(n, dtype) as engine:
        found = engine.sum(points, kernel)
    gap = points[None] - points[:, None]
    expected = (gap / (1 + (gap**2).sum(axis=-1, keepdims=True))).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=(1e-12 if dtype is np.float64 else 3e-6) * n)


def test_engine_does_not_depend_on_the_number_of_threads(monkeypatch):
    points = np.random.default_rng(0).normal(size=(1100, 2))
    found = []
    for count in (1, 8):
        monkeypatch.setattr("topomap._compute.n_threads", lambda count=count: count)
        with AllPairs(1100) as engine:
            found.append(engine.sum(points, forces._local_force))
    assert found[0].tobytes() == found[1].tobytes()


def test_values_of_pairs_kept_packed_or_recomputed_are_the_same():
    similarity = tm.correlate(values_of(300))
    points = np.random.default_rng(0).normal(size=(300, 2))
    found = {}
    with AllPairs(300) as engine:
        n_pairs = sum((stop - start) * (300 - start) for start, stop in engine.blocks)
        for name, size in {"kept": 4 * n_pairs, "packed": 2 * n_pairs, "recomputed": 0}.items():
            values = PairValues(similarity, forces._global_force("pearson"), max_bytes=size)
            assert sum(block.nbytes for block in values._kept.values()) == size
            found[name] = engine.sum(points, None, values)
    distance = similarity.distance().astype(float)
    force = 1.5 * (1 - (distance / distance.max()) ** 3) - 0.5 * np.exp(-distance / 2)
    expected = force @ points - force.sum(axis=1, keepdims=True) * points
    np.testing.assert_allclose(found["kept"], expected, atol=1e-3)
    np.testing.assert_allclose(found["recomputed"], found["kept"], atol=1e-6)
    np.testing.assert_allclose(found["packed"], expected, atol=300 * 3e-5)


def test_memory_of_the_engine_is_linear_in_the_number_of_neurons(monkeypatch):
    monkeypatch.setattr(pairs, "LANES", 1)
    sizes = [sum(b.nbytes for b in AllPairs(n)._buffers[0]) for n in (20_000, 40_000)]
    assert sizes[1] <= 2 * sizes[0] < 20_000 * 20_000


def test_coincident_points_are_parted_and_others_left():
    points = np.array([[0.0, 0], [1, 1], [0, 0], [2, 2]])
    parted = part_coincident(points, 1e-3, np.random.default_rng(0))
    assert np.array_equal(parted[[1, 3]], points[[1, 3]])
    assert 0 < np.linalg.norm(parted[0] - parted[2]) < 0.01


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 60), percentile=st.sampled_from([0.0, 1.0, 7.5, 50.0, 100.0]), ties=st.booleans())
def test_percentile_by_counting_is_numpys(n, percentile, ties):
    values = values_of(n, seed=n)
    if ties:
        values = values[:, np.arange(n) // 3 * 3]
    similarity = tm.correlate(values)
    distance = np.array(similarity.distance(), dtype=float)
    expected = np.percentile(squareform(distance, checks=False), percentile)
    # single precision: the diagonal block and the whole matrix may round a product differently
    assert forces._percentile(similarity, percentile) == pytest.approx(expected, abs=2e-6)


def test_threshold_graph_joins_components_by_their_shortest_edges_to_the_biggest():
    """On a line: five close neurons, a pair, a single one; distances are exact."""
    place = np.array([0.0, 1, 2, 3, 4, 20, 21, 50])
    similarity = tm.correlate(np.vstack([place, place]), metric="euclidean")
    graph = forces.threshold_graph(similarity, 20)
    edges = {(int(i), int(j)) for i, j in zip(*graph.nonzero(), strict=True) if i < j}
    assert edges == {(0, 1), (1, 2), (2, 3), (3, 4), (5, 6), (4, 5), (4, 7)}
    assert connected_components(graph)[0] == 1
    assert (graph.toarray() == graph.toarray().T).all()


def test_neighbour_graph_is_weighted_by_correlation_and_has_no_negative_edges():
    values = values_of(30)
    similarity = tm.correlate(values)
    graph = forces.neighbor_graph(similarity, 29).toarray()
    matrix = np.corrcoef(values.T)
    np.fill_diagonal(matrix, 0)
    np.testing.assert_allclose(graph, np.maximum(matrix, 0), atol=1e-5)


@pytest.mark.parametrize("weight", [1.0, 0.2])
def test_two_joined_nodes_settle_where_attraction_equals_repulsion(weight):
    """``w r^2 = 1 / r``, hence ``r = w ** (-1 / 3)``."""
    graph = scipy.sparse.csr_array(np.array([[0, weight], [weight, 0]]))
    points = forces.fruchterman_reingold(graph, None, np.random.default_rng(0), 2000, gravity=0.0, desc="test")
    assert np.linalg.norm(points[0] - points[1]) == pytest.approx(weight ** (-1 / 3), rel=0.01)


def test_gravity_keeps_components_together():
    blocks = np.kron(np.eye(2), np.ones((10, 10))) - np.eye(20)
    graph = scipy.sparse.csr_array(blocks)
    extents = []
    for gravity in (0.0, 1.0):
        points = forces.fruchterman_reingold(graph, None, np.random.default_rng(0), 300, gravity, desc="test")
        extents.append(np.abs(points).max())
    assert extents[1] < 0.7 * extents[0]


@pytest.mark.parametrize("method", [Force(), Graph(), Swarm()])
def test_neighbours_of_a_ring_stay_neighbours(method):
    """Neurons tuned to angles around a circle: the layout puts neurons of near angles near each other."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    inputs = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    values = np.exp(2 * np.cos(inputs[:, None] - angle))
    points = tm.embed(tm.correlate(values), method).positions
    near = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).mean()
    opposite = np.linalg.norm(points - np.roll(points, 30, axis=0), axis=1).mean()
    assert near < opposite / 3
