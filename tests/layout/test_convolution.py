"""Sums by convolution against the sums over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

import topomap as tm
from topomap.layout import Graph, Swarm, convolution, forces
from topomap.layout.close_pairs import Cells
from topomap.layout.convolution import Convolution
from topomap.layout.pairs import AllPairs

KERNELS = {"swarm": (forces._local_force, forces._SWARM_SPACING), "repulsion": (forces._repulsion, None)}


def cloud(kind, n, size, seed):
    rng = np.random.default_rng(seed)
    if kind == "even":
        points = rng.random((n, 2))
    elif kind == "normal":
        points = rng.normal(size=(n, 2))
    elif kind == "clusters":
        points = rng.normal(size=(3, 2))[rng.integers(3, size=n)] + rng.normal(scale=0.01, size=(n, 2))
    elif kind == "line":
        points = np.column_stack([np.linspace(0, 1, n), np.zeros(n)])
    else:  # half of them at one place
        points = rng.normal(size=(n, 2)) * (np.arange(n) >= n // 2)[:, None]
    return points * size


def both(points, kernel):
    function, spacing = KERNELS[kernel]
    with AllPairs(len(points), np.float64) as pairs:
        return Convolution(pairs, function, spacing).sum(points), pairs.sum(points - points.mean(axis=0), function)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["even", "normal", "clusters", "line", "coincident"]),
    n=st.integers(2, 300),
    size=st.sampled_from([0.5, 3.0, 10.0, 40.0]),
    seed=st.integers(0, 1000),
)
def test_the_error_is_below_a_thousandth_of_the_largest_force(kernel, kind, n, size, seed):
    found, expected = both(cloud(kind, n, size, seed), kernel)
    largest = np.linalg.norm(expected, axis=1).max()
    assert np.linalg.norm(found - expected, axis=1).max() <= 1e-3 * largest + 1e-12


@pytest.mark.parametrize("kernel", KERNELS)
def test_thousands_of_points_in_a_wide_box(kernel):
    found, expected = both(cloud("normal", 2500, 18, 0), kernel)
    error = np.linalg.norm(found - expected, axis=1)
    assert 0 < error.max() < 3e-4 * np.linalg.norm(expected, axis=1).max()


@pytest.mark.parametrize("kernel", KERNELS)
def test_forces_add_up_to_zero_and_move_with_the_points(kernel):
    points = cloud("normal", 200, 10, 0)
    found, _ = both(points, kernel)
    largest = np.abs(found).max()
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-10 * len(points) * largest)
    shifted, _ = both(points + np.array([1000, -20]), kernel)
    np.testing.assert_allclose(shifted, found, atol=1e-8 * largest)
    turned, _ = both(points[:, ::-1] * [1, -1], kernel)
    np.testing.assert_allclose(turned, found[:, ::-1] * [1, -1], atol=2e-3 * largest)


@pytest.mark.parametrize("kind", ["even", "clusters", "line", "coincident"])
@pytest.mark.parametrize("distance", [0.05, 0.2, 1.0, 100.0])
def test_close_pairs_are_all_pairs_below_the_distance(kind, distance):
    points = cloud(kind, 120, 3.0, 0)
    cells = Cells(points, distance)
    found = {tuple(sorted(pair)) for pair in np.transpose(cells.pairs()).tolist()}
    near = np.triu(squareform(pdist(points)) < distance, k=1)
    assert found == set(map(tuple, np.argwhere(near).tolist()))
    assert len(cells.pairs()[0]) == near.sum() <= cells.n_candidates <= 120 * 119 // 2


def test_the_transform_of_the_kernel_is_kept_and_renewed():
    """One engine over boxes that grow and shrink gives what a fresh one gives."""
    with AllPairs(100, np.float64) as pairs:
        kept = Convolution(pairs, *KERNELS["swarm"])
        for size in (1, 30, 30.01, 1, 0.01):
            points = cloud("even", 100, size, 0)
            fresh = Convolution(pairs, *KERNELS["swarm"]).sum(points)
            assert kept.sum(points).tobytes() == fresh.tobytes()


def test_points_all_at_one_place_exert_no_force():
    with AllPairs(50) as pairs:
        assert not Convolution(pairs, *KERNELS["repulsion"]).sum(np.ones((50, 2))).any()


def test_a_crowd_in_a_wide_box_is_summed_pair_by_pair(monkeypatch):
    points = cloud("coincident", 60, 40, 0)
    by_grid, exact = both(points, "swarm")
    assert not np.array_equal(by_grid, exact)
    monkeypatch.setattr(convolution, "CROWD", 5)
    by_pairs, exact = both(points, "swarm")
    np.testing.assert_allclose(by_pairs, exact, rtol=1e-9, atol=1e-9)


def test_the_number_of_threads_changes_nothing(monkeypatch):
    points = cloud("normal", 1000, 20, 0)
    found = []
    for count in (1, 3):
        monkeypatch.setattr("topomap._compute.n_threads", lambda count=count: count)
        found.append(both(points, "swarm")[0].tobytes())
    assert found[0] == found[1]


def test_a_swarm_from_a_layout_convolves_above_a_size_and_stays_on_the_trajectory():
    similarity = tm.correlate(np.random.default_rng(0).normal(size=(30, 120)))
    init = np.random.default_rng(1).random((120, 2))
    exact = Swarm(n_steps=60)(similarity, init, np.random.default_rng(0))
    fast = Swarm(n_steps=60, convolve_above=119)(similarity, init, np.random.default_rng(0))
    assert 0 < np.abs(fast - exact).max() < 1e-3 * np.abs(exact).max()
    again = Swarm(n_steps=60, convolve_above=119)(similarity, init, np.random.default_rng(0))
    assert fast.tobytes() == again.tobytes()


def test_a_swarm_from_scratch_sums_all_pairs():
    similarity = tm.correlate(np.random.default_rng(0).normal(size=(30, 60)))
    few, many = (
        Swarm(n_steps=20, convolve_above=above)(similarity, None, np.random.default_rng(0)) for above in (10, 100)
    )
    assert np.array_equal(few, many)


def test_a_graph_layout_convolves_above_a_size():
    similarity = tm.correlate(np.random.default_rng(0).normal(size=(30, 120)))
    init = np.random.default_rng(1).random((120, 2))
    exact = Graph(n_steps=1)(similarity, init, np.random.default_rng(0))
    fast = Graph(n_steps=1, convolve_above=119)(similarity, init, np.random.default_rng(0))
    assert 0 < np.abs(fast - exact).max() < 1e-3 * np.abs(exact).max()
