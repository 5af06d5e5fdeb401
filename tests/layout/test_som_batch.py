"""The batch map against its definition in dense NumPy, and against MiniSom's training."""

from __future__ import annotations

import numpy as np
import pytest

import topomap as tm
from topomap import _compute
from topomap.layout import SOM, BatchSOM, som_batch
from topomap.layout.som import rows_of, spread_on_circles


def rng():
    return np.random.default_rng(0)


def values_of(n, seed=0, n_inputs=60):
    random = np.random.default_rng(seed)
    return random.normal(size=(n_inputs, 4)) @ random.normal(size=(4, n)) + 0.5 * random.normal(size=(n_inputs, n))


def definition(rows, winner, side, widths):
    """Each cell the Gaussian-weighted mean of all neurons (Kohonen 2013, eq. 8), every pair written out."""
    place = np.stack(np.unravel_index(np.arange(side * side), (side, side)), axis=1)
    for width in widths:
        gap = ((place[:, None] - place[winner]) ** 2).sum(axis=-1)
        weight = np.exp(-gap / (2 * width**2))
        cells = weight @ rows / weight.sum(axis=1, keepdims=True)
        winner = ((rows[:, None] - cells) ** 2).sum(axis=-1).argmin(axis=1)
    return winner, cells


def errors(rows, cells, side):
    """Mean distance to the winner, and how often winner and runner-up do not touch."""
    distance = np.linalg.norm(rows[:, None] - cells, axis=-1)
    first, second = np.argsort(distance, axis=1)[:, :2].T
    apart = np.abs(np.subtract(np.unravel_index(first, (side, side)), np.unravel_index(second, (side, side))))
    return distance.min(axis=1).mean(), (apart.max(axis=0) > 1).mean()


def test_a_pass_is_its_definition(monkeypatch):
    monkeypatch.setattr(_compute, "BLOCK_ENTRIES", 700)  # several blocks
    rows = values_of(50).T
    start = np.arange(50) % 64
    winner, cells = BatchSOM(sigma=2, last_sigma=0.8, n_epochs=4).train(rows, start)
    expected, expected_cells = definition(rows, start, 8, np.geomspace(2, 0.8, 4))
    np.testing.assert_allclose(cells, expected_cells, atol=1e-4)
    assert np.array_equal(winner, expected)


def test_a_cell_that_no_neuron_reaches_keeps_its_vector():
    rows = rng().normal(size=(10, 3))
    _, cells = BatchSOM(sigma=0.05, last_sigma=0.05, n_epochs=1).train(rows, np.zeros(10, dtype=int))
    np.testing.assert_allclose(cells, np.tile(rows.mean(axis=0), (16, 1)), atol=1e-6)


def test_neurons_start_where_ranks_fill_the_map():
    points = np.array([[0.0, 9], [1, 8], [2, 1000], [50, 0]])
    assert som_batch.ranked(points, 2).tolist() == [1, 0, 3, 2]
    line = np.column_stack([np.arange(9.0), np.zeros(9)])
    assert som_batch.ranked(line, 3).tolist() == [1, 1, 1, 4, 4, 4, 7, 7, 7]


def test_no_pass_leaves_a_chain_on_the_cells_of_the_earlier_layout():
    init = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij"), axis=-1).reshape(-1, 2)
    found = BatchSOM(n_epochs=0)(tm.correlate(values_of(36)), init, rng())
    # seven cells a side for six ranks: neurons stay in order and apart
    assert np.array_equal(np.argsort(found[::6, 0]), np.arange(6))
    assert np.array_equal(np.argsort(found[:6, 1]), np.arange(6))


def test_the_earlier_layout_of_a_chain_decides_which_way_the_map_lies():
    similarity = tm.correlate(values_of(100))
    init = tm.embed(similarity, "pca").positions
    found, turned = (BatchSOM()(similarity, sign * init, rng()) for sign in (1, -1))
    for axis in (0, 1):
        assert np.corrcoef(found[:, axis], turned[:, axis])[0, 1] < -0.8
        assert np.corrcoef(found[:, axis], init[:, axis])[0, 1] > 0.6


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_errors_are_no_worse_than_minisoms(seed):
    from minisom import MiniSom

    similarity = tm.correlate(values_of(300, seed=seed))
    rows = rows_of(similarity).astype(float)
    random, side = np.random.default_rng(seed), 18
    reference = MiniSom(side, side, rows.shape[1], sigma=1, learning_rate=0.5, random_seed=seed)
    reference._weights = rows[random.integers(300, size=(side, side))]
    reference.train(rows[random.permutation(300)], 10, use_epochs=True)
    start = som_batch.ranked(tm.layout.PCA()(similarity, None, rng()), side)
    _, cells = BatchSOM().train(rows, start)
    ours = errors(rows, cells, side)
    theirs = errors(rows, reference._weights.reshape(side * side, -1), side)
    assert ours[0] <= theirs[0]
    assert ours[1] <= theirs[1]


def test_the_map_is_that_of_the_som():
    """As many cells, and neurons that share one on the same circle."""
    similarity = tm.correlate(values_of(70))
    found = BatchSOM()(similarity, None, rng())
    cells = np.rint(found)
    assert cells.min() >= 0 and cells.max() <= 8
    offset = np.linalg.norm(found - cells, axis=1)
    np.testing.assert_allclose(offset[offset > 0], 0.2)
    assert np.array_equal(found, spread_on_circles(cells, 0.2))
    assert np.ptp(SOM()(similarity, None, rng()).round(), axis=0).max() <= 8


def test_nothing_is_random():
    similarity = tm.correlate(values_of(60))
    one, other = (BatchSOM()(similarity, None, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_epochs": -1}, "n_epochs must be at least 0; got -1"),
        ({"sigma": 0.0}, "sigma must be positive; got 0.0"),
        ({"last_sigma": -1.0}, "last_sigma must be positive; got -1.0"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        tm.embed(tm.correlate(values_of(20)), BatchSOM(**parameters))


@pytest.mark.gpu
def test_a_gpu_gives_the_cells_of_the_cpu():
    rows, start = values_of(300).T, np.arange(300)
    on_cpu, on_gpu, again = (BatchSOM(device=device).train(rows, start)[1] for device in ("cpu", "cuda", "cuda"))
    # one neuron on the border of two cells may change sides, and its neighbours follow
    assert np.median(np.abs(on_cpu - on_gpu)) < 1e-4
    assert on_gpu.tobytes() == again.tobytes()
