import numpy as np
import pytest
from scipy.spatial import cKDTree

import topomap as tm
from topomap.layout.spread import Stage, fill, tiles
from topomap.layout.spread.graph import affinities, components
from topomap.layout.spread.ground import Ground


@pytest.fixture(scope="module")
def layer():
    """Neurons tuned to places on a sheet, in random order on the sites of a disc."""
    rng = np.random.default_rng(0)
    place, inputs = rng.random((900, 2)), rng.random((400, 2))
    values = np.exp(-((inputs[:, None] - place) ** 2).sum(-1) / 0.03)
    similarity = tm.correlate(values)
    indices, distances = similarity.neighbors(15)
    sites = Ground("disc", 900).sites
    return (
        sites,
        sites,
        fill.likeness(components(similarity, 16)),
        affinities(indices, distances, 10),
        indices[:, :10].copy(),
    )


def swapped(layer, seed=7, heat=1e-9, sweeps=40):
    return tiles.exchange(*layer, Stage(3, 20, 15, sweeps, 13, heat, heat / 2), np.array([seed], dtype=np.uint64))


def energy(layer, places):
    """The sum that swaps maximise, written out over all pairs."""
    _, anchor, rows, local, _ = layer
    squares = ((places[:, None] - places) ** 2).sum(-1) / 3**2
    kernel = np.where(squares < 1, (1 - squares) ** 3, 0)
    np.fill_diagonal(kernel, 0)
    pairs = (kernel * (rows.astype(float) @ rows.T) + 20 * local.toarray() / (1 + squares)).sum() / 2
    return pairs - 15 * np.pi / len(places) * ((places - anchor) ** 2).sum()


@pytest.mark.parametrize("side", [6.1, 12.0, 100.0])
def test_the_number_of_threads_changes_no_byte(layer, side, monkeypatch):
    monkeypatch.setattr(tiles, "_NARROW", side)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(tiles, "n_threads", lambda threads=threads: threads)
        found.append(swapped(layer, heat=0.3))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], swapped(layer, heat=0.3, seed=8))


@pytest.mark.parametrize(("side", "share"), [(6.1, 0.2), (48.0, 0.8)])  # from anywhere, small tiles go not far
def test_cold_swaps_in_tiles_raise_the_sum_that_all_swaps_maximise(layer, side, share, monkeypatch):
    monkeypatch.setattr(tiles, "_NARROW", side)
    at_once = fill.exchange(*layer, Stage(3, 20, 15, 40, 13, 1e-9, 5e-10), np.array([7], dtype=np.uint64))
    after = swapped(layer)
    assert sorted(map(tuple, after)) == sorted(map(tuple, layer[0]))
    before, best = energy(layer, layer[0]), energy(layer, at_once)
    assert energy(layer, after) > before + share * (best - before)


def test_the_seed_moves_on(layer):
    seed = np.array([7], dtype=np.uint64)
    stage = Stage(3, 20, 15, 2, 13, 0.3, 0.1)
    first, second = (tiles.exchange(*layer, stage, seed) for _ in range(2))
    assert seed[0] != 7
    assert not np.array_equal(first, second)


def test_pairs_within_are_those_of_a_tree():
    places = np.random.default_rng(0).normal(size=(300, 2)) * 5
    start, within, weight = tiles.pairs_within(places, 2.5)
    expected = cKDTree(places).query_pairs(2.5)
    found = [(i, j) for i in range(300) for j in within[start[i] : start[i + 1]]]
    assert len(found) == 2 * len(expected)
    assert {(min(pair), max(pair)) for pair in found} == expected
    squares = np.array([((places[i] - places[j]) ** 2).sum() for i, j in found])
    np.testing.assert_allclose(weight, (1 - squares / 2.5**2) ** 3, rtol=1e-5, atol=1e-7)


def test_nearest_sites_begin_with_the_site_itself():
    sites = np.random.default_rng(0).normal(size=(50, 2))
    near = tiles.nearest_sites(sites, 5)
    np.testing.assert_array_equal(near[:, 0], np.arange(50))
    order = np.argsort(((sites[:, None] - sites) ** 2).sum(-1), axis=1)
    np.testing.assert_array_equal(near, order[:, :5])
    assert tiles.nearest_sites(sites[:3], 5).shape == (3, 3)
    islands = np.concatenate([sites[:3], sites[3:6] + 50])
    far = tiles.nearest_sites(islands, 5, 20)
    assert far.max(axis=1).tolist() == [2, 2, 2, 5, 5, 5] and far.min(axis=1).tolist() == [0, 0, 0, 3, 3, 3]
    np.testing.assert_array_equal(far[:, 3:], np.arange(6)[:, None] + np.zeros((1, 2)))


def test_large_layers_are_exchanged_in_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "FEWEST", 200)
    rng = np.random.default_rng(0)
    place, inputs = rng.random((400, 2)), rng.random((300, 2))
    similarity = tm.correlate(np.exp(-((inputs[:, None] - place) ** 2).sum(-1) / 0.05))
    first, again = (tm.embed(similarity, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.positions, again.positions)
    assert tm.measure_layout(first, similarity).trustworthiness > 0.97
