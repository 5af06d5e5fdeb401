import numpy as np
import pytest

import topomap as tm
from topomap import _compute
from topomap._compute import search


@pytest.fixture(scope="module")
def rows():
    """Unit rows near a curved sheet in 40 dimensions."""
    rng = np.random.default_rng(0)
    values = np.cos(rng.uniform(0, 3, size=(1500, 2)) @ rng.normal(size=(2, 40)) + rng.uniform(0, 6, size=40))
    values = (values + 0.05 * rng.normal(size=values.shape)).astype(np.float32)
    _compute.normalize_rows(values)
    return values


def distances_of(rows, kind):
    r = rows.astype(float) @ rows.T.astype(float)
    squares = (rows.astype(float) ** 2).sum(axis=1)
    full = {0: 1 - r, 1: 1 - np.abs(r), 2: np.sqrt(np.maximum(squares[:, None] + squares - 2 * r, 0))}[kind]
    np.fill_diagonal(full, np.inf)
    return full


def recall(full, indices):
    k = indices.shape[1]
    kth = np.partition(full, k - 1, axis=1)[:, k - 1 : k]
    return (np.take_along_axis(full, indices, axis=1) <= kth + 1e-6).mean()


def scaled(rows, kind):
    """Rows of several lengths, for Euclidean distances."""
    return (
        rows * np.random.default_rng(1).uniform(1, 1.2, size=(len(rows), 1)).astype(np.float32) if kind == 2 else rows
    )


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_the_search_finds_nearly_all_neighbours_at_exact_distances(rows, kind, monkeypatch):
    monkeypatch.setattr(search, "_PROBES", 12)  # of 39 cells
    monkeypatch.setattr(search, "_SKETCH", 16)
    monkeypatch.setattr(search, "BLOCK_ENTRIES", 5000)  # several blocks per cell
    rows = scaled(rows, kind)
    indices, distances = search.approximate_nearest(rows, 30, "euclidean" if kind == 2 else "cosine", kind == 1)
    full = distances_of(rows, kind)
    assert recall(full, indices) > 0.95
    np.testing.assert_allclose(distances, np.take_along_axis(full, indices, axis=1), atol=1e-5)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert all(len(set(found)) == 30 for found in indices.tolist())
    again, _ = search.approximate_nearest(rows, 30, "euclidean" if kind == 2 else "cosine", kind == 1)
    np.testing.assert_array_equal(indices, again)


def test_with_all_cells_and_columns_the_search_is_exact(rows, monkeypatch):
    monkeypatch.setattr(search, "_PROBES", 10_000)
    indices, _ = search.approximate_nearest(rows, 30, "cosine")
    assert recall(distances_of(rows, 0), indices) == 1


def test_the_number_of_threads_changes_no_neighbour(rows, monkeypatch):
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(_compute, "n_threads", lambda threads=threads: threads)
        found.append(search.approximate_nearest(rows, 15, "cosine"))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("n", [2, 3, 5, 20, 200])
def test_rows_that_are_all_the_same_find_others(n):
    rows = np.full((n, 4), 0.5, dtype=np.float32)
    k = min(n - 1, 10)
    indices, distances = search.approximate_nearest(rows, k, "cosine")
    assert (indices != np.arange(n)[:, None]).all()
    assert all(len(set(found)) == k for found in indices.tolist())
    np.testing.assert_array_equal(distances, 0)


def test_rows_in_cells_of_too_few_are_compared_with_all(monkeypatch):
    monkeypatch.setattr(search, "_PROBES", 1)
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(400, 6)), 9 + rng.normal(size=(3, 6))]).astype(np.float32)
    indices, distances = search.approximate_nearest(rows, 5, "euclidean")
    full = distances_of(rows, 2)
    np.testing.assert_array_equal(indices[-3:], np.argsort(full[-3:], axis=1)[:, :5])
    np.testing.assert_allclose(distances[-3:], np.sort(full[-3:], axis=1)[:, :5], rtol=1e-5)


def test_a_sketch_keeps_what_can_be_kept_of_dot_products():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(300, 8)) @ rng.normal(size=(8, 60))).astype(np.float32)
    np.testing.assert_allclose(search.sketch(rows, 8) @ search.sketch(rows, 8).T, rows @ rows.T, rtol=1e-3, atol=1e-2)
    short = search.sketch(rows, 3)
    values = np.linalg.eigvalsh(rows.T.astype(float) @ rows)[::-1]
    np.testing.assert_allclose((short**2).sum(), values[:3].sum(), rtol=1e-3)
    assert search.sketch(rows, 60) is rows


def test_cells_are_cut_where_they_are_large():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(900, 3)) * 0.01, 5 * rng.normal(size=(100, 3))]).astype(np.float32)
    cell, centres = search.cells(rows, 20)
    assert np.bincount(cell).max() <= 4 * 50
    filled = np.unique(cell)
    for which in filled:
        np.testing.assert_allclose(centres[which], rows[cell == which].mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_blocks_in_torch_are_exact(rows, kind, device, monkeypatch):
    monkeypatch.setattr(search, "_GPU_ENTRIES", 1500 * 400)  # several blocks
    rows = scaled(rows, kind)
    indices, distances = search.torch_nearest(rows, 20, kind, device)
    full = distances_of(rows, kind)
    assert recall(full, indices) == 1
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :20], atol=2e-3 if kind == 2 else 1e-5)


def test_large_layers_are_searched(monkeypatch):
    monkeypatch.setattr(_compute, "EXACT_NEIGHBORS", 100)
    values = np.random.default_rng(0).normal(size=(30, 300))
    similarity = tm.correlate(values, metric="spearman")
    indices, distances = similarity.neighbors(7)
    assert indices.dtype == np.int64 and distances.dtype == np.float32
    assert recall(similarity.distance() + np.diag(np.full(300, np.inf)), indices) > 0.95


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_share_all_items(threads, monkeypatch):
    monkeypatch.setattr(_compute, "n_threads", lambda: threads)
    for n in (0, 1, 5, 100):
        seen = np.zeros(n, dtype=int)

        def work(start, stop, seen=seen):
            seen[start:stop] += 1

        _compute.in_threads(work, n)
        assert (seen == 1).all()
