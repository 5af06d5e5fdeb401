from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, cKDTree
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

import topomap as tm
from topomap.layout import Spread, spread
from topomap.layout.spread import few, ranks
from topomap.layout.spread.cover import Cover
from topomap.layout.spread.few import best_of
from topomap.layout.spread.fill import flow
from topomap.layout.spread.graph import both_ways, components
from topomap.layout.spread.ground import Ground
from topomap.layout.spread.relax import relax


def sheet(side=16, seed=0):
    """Neurons on a planar sheet, each tuned to inputs near its place."""
    rng = np.random.default_rng(seed)
    place = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) + 0.5) / side
    place = rng.permutation(place)
    inputs = rng.random((1500, 2)) * 1.4 - 0.2
    squares = ((inputs[:, None] - place) ** 2).sum(-1)
    return np.exp(-squares / (2 * 0.15**2)) + 0.01 * rng.normal(size=squares.shape), place


@pytest.mark.parametrize("region", ["disc", "square"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sheet_comes_out_as_a_sheet(region, seed):
    values, place = sheet(seed=seed)
    layout = tm.embed(tm.correlate(values), region=region, seed=seed)
    assert spearmanr(pdist(place), pdist(layout.positions)).statistic > 0.9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_ring_of_tuned_neurons_comes_out_as_a_ring(seed):
    rng = np.random.default_rng(seed)
    tuning = rng.permutation(np.arange(300) * 2 * np.pi / 300)
    stimulus = rng.random(800) * 2 * np.pi
    values = np.exp(2 * np.cos(stimulus[:, None] - tuning)) + 0.1 * rng.normal(size=(800, 300))
    positions = tm.embed(tm.correlate(values), seed=seed).positions
    polar = np.arctan2(positions[:, 1], positions[:, 0])
    ways = [abs(np.exp(1j * (polar - sign * tuning)).mean()) for sign in (1, -1)]
    assert max(ways) > 0.9  # length of the mean difference of the two angles, in either sense of rotation


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_clusters_come_out_as_one_blob_each(seed):
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.arange(280) % 7)
    values = rng.normal(size=(400, 7))[:, kind] + 0.5 * rng.normal(size=(400, 280))
    positions = tm.embed(tm.correlate(values), seed=seed).positions
    spacing = np.sqrt(np.pi / 280)
    ends, neighbors = Delaunay(positions).vertex_neighbor_vertices
    for cluster in range(7):
        members = set(np.flatnonzero(kind == cluster).tolist())
        reached, open_ = set(), [min(members)]
        while open_:
            i = open_.pop()
            reached.add(i)
            near = neighbors[ends[i] : ends[i + 1]]
            close = np.linalg.norm(positions[near] - positions[i], axis=1) <= 2 * spacing
            open_ += [j for j in near[close].tolist() if j in members - reached]
        assert len(reached) >= 0.95 * len(members)


@pytest.mark.parametrize("region", ["disc", "square"])
@pytest.mark.parametrize("n", [4, 10, 30, 257])
def test_the_region_is_filled_evenly(region, n):
    values = np.random.default_rng(n).normal(size=(50, n))
    layout = tm.embed(tm.correlate(values), region=region)
    spacing = np.sqrt((np.pi if region == "disc" else 4) / n)
    nearest = cKDTree(layout.positions).query(layout.positions, k=2)[0][:, 1]
    assert nearest.min() > 0.4 * spacing
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 81)] * 2), -1).reshape(-1, 2)
    inside = np.linalg.norm(grid, axis=1) <= 1 if region == "disc" else np.ones(len(grid), dtype=bool)
    assert (cKDTree(layout.positions).query(grid[inside])[0] <= spacing).mean() > (0.98 if n >= 30 else 0.95)


@pytest.mark.parametrize("region", ["disc", "square"])
@pytest.mark.parametrize("n_dead", [1, 12, 60, 250])
def test_dead_neurons_take_one_stretch_along_the_bottom(region, n_dead):
    n = 300
    values = np.random.default_rng(0).normal(size=(60, n))
    values[:, :n_dead] = 1
    layout = tm.embed(tm.correlate(values), region=region)
    dead = layout.positions[layout.dead]
    assert len(cKDTree(layout.positions).query_pairs(1e-9)) == 0
    live = layout.positions[~layout.dead]
    spacing = np.sqrt((np.pi if region == "disc" else 4) / n)
    assert dead[:, 1].max() <= live[:, 1].min() + 0.9 * spacing  # the lowest, but for what relaxing moves
    pairs = cKDTree(dead).query_pairs(1.6 * spacing, output_type="ndarray")
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_dead, n_dead))
    assert connected_components(joined, directed=False)[0] == 1


def test_seeds_jitter_little_and_the_same_seed_gives_the_same_bytes():
    values, _ = sheet()
    similarity = tm.correlate(values)
    first, again, other = (tm.embed(similarity, seed=seed).positions for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.sqrt(((first - other) ** 2).sum(axis=1).mean()) < 0.2


@pytest.mark.parametrize("n", [12, 210])
def test_the_bar_runs_to_its_end(n, monkeypatch):
    moved, bars = [], []

    class Bar(nullcontext):
        def __init__(self, total, **options):
            super().__init__(self)
            bars.append(total)

        def update(self, by=1):
            moved.append(by)

    monkeypatch.setattr(spread, "tqdm", Bar)
    tm.embed(tm.correlate(np.random.default_rng(0).normal(size=(30, n))))
    assert bars == [sum(moved)]


def laid_out(values, **options):
    """The positions of a layout that is the same twice, finite, and puts no two neurons at one place."""
    similarity = tm.correlate(values)
    layout, again = (tm.embed(similarity, **options) for _ in range(2))
    np.testing.assert_array_equal(layout.positions, again.positions)
    assert np.isfinite(layout.positions).all()
    assert len(np.unique(layout.positions.round(6), axis=0)) == values.shape[1]
    return layout.positions


@pytest.mark.parametrize("n", range(1, 21))
def test_one_to_twenty_neurons(n):
    values = np.random.default_rng(n).normal(size=(30, n))
    with pytest.warns(tm.TopomapWarning, match="fewer than 4") if n < 4 else nullcontext():
        laid_out(values, region="square")
    with pytest.warns(tm.TopomapWarning, match=f"all {n} live neurons are the same" if n > 3 else "fewer than 4"):
        laid_out(values[:, [0] * n])


@pytest.mark.parametrize("exact", [8_192, 209])  # neurons whose penalties are all held, or else partly estimated
def test_layers_of_hardly_any_information(exact, monkeypatch):
    monkeypatch.setattr(ranks, "EXACT", exact)
    values = np.random.default_rng(0).normal(size=(50, 210))
    kind = np.arange(210) % 2
    with pytest.warns(tm.TopomapWarning, match="copies of only 2"):
        positions = laid_out(values[:, kind])
    middles = np.stack([positions[kind == which].mean(axis=0) for which in range(2)])
    nearer = np.linalg.norm(positions[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearer == kind).mean() > 0.95
    mostly_alike = values[:, [0] * 205 + list(range(1, 6))]
    laid_out(mostly_alike, region="square")


def test_a_layer_mostly_dead():
    values = np.ones((50, 2_000))
    values[:, ::100] = np.random.default_rng(0).normal(size=(50, 20))
    positions = laid_out(values)
    live = np.arange(2_000) % 100 == 0
    assert positions[live, 1].min() > positions[~live, 1].min()  # the dead lie along the bottom
    assert len(np.unique(positions, axis=0)) == 2_000


def test_a_mask_of_several_pieces_is_filled():
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:30, 3:20] = mask[10:38, 40:58] = True
    x = laid_out(np.random.default_rng(0).normal(size=(40, 300)), region=mask)[:, 0]
    left = mask[:, :30].sum() / mask.sum()
    assert abs((x < np.median([x.min(), x.max()])).mean() - left) < 0.03


def test_a_chain_keeps_what_it_starts_from():
    values, _ = sheet()
    similarity = tm.correlate(values)
    free = tm.embed(similarity, "tsne", region="square").positions
    filled = tm.embed(similarity, "tsne+spread", region="square").positions
    corner = np.linalg.norm(free - filled, axis=1)
    assert np.median(corner) < 0.45  # of a square of side 2; unrelated places are about 1 apart


def test_components_are_those_of_the_singular_values():
    values, _ = sheet(side=8)
    similarity = tm.correlate(values)
    centred = similarity.features - similarity.features.mean(axis=0)
    expected = np.linalg.svd(centred.astype(float), compute_uv=False)[:5]
    found = components(similarity, 5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), expected, rtol=1e-3)
    absolute = components(tm.correlate(values, absolute=True), 5)
    assert absolute.shape == (64, 5) and np.isfinite(absolute).all()


def test_of_a_small_layer_the_best_arrangement_is_kept():
    rng = np.random.default_rng(0)
    similarity = tm.correlate(rng.normal(size=(40, 30)))
    good = tm.embed(similarity, "tsne").positions
    found = [rng.permutation(good), good, rng.permutation(good)]
    assert best_of(found, similarity) is good
    scores = [tm.measure_layout(tm.Layout(points), similarity, progress=False) for points in found]
    sums = [quality.trustworthiness + quality.continuity + quality.knn for quality in scores]
    mine = [few.kept(few._ranks(similarity.distance()), few._near(points)) for points in found]
    np.testing.assert_allclose(np.subtract(sums, 2), mine, atol=1e-6)  # the same, with both penalties left off
    even = tm.embed(similarity).positions
    assert tm.measure_layout(tm.Layout(even), similarity, progress=False).evenness < 0.15 < scores[1].evenness
    assert best_of([good, even, rng.permutation(even)], similarity) is even


@pytest.mark.parametrize("n", [4, 5, 12, 29])
def test_no_exchange_of_two_betters_a_very_small_layer(n):
    similarity = tm.correlate(np.random.default_rng(n).normal(size=(30, n)))
    layout = tm.embed(similarity)
    similar, best = few._ranks(similarity.distance()), None
    for i in range(n):
        for j in range(i + 1):  # j = i first: the layout as it is
            order = np.arange(n)
            order[[i, j]] = order[[j, i]]
            score = few.kept(similar, few._near(layout.positions[order]))
            best = score if best is None else best
            assert score <= best + 1e-12


@pytest.mark.parametrize("spare", [0, 30])
def test_the_owner_of_a_grid_point_is_the_nearest_neuron(spare):
    rng = np.random.default_rng(0)
    ground = Ground("disc", 200, spare)
    points = np.array(rng.permutation(ground.sites) * 0.4)  # crowded in the middle: rings of empty cells around
    cover = Cover(ground)
    owner, squares = cover.owners(points, cover.grid)
    distance, nearest = cKDTree(np.concatenate([points, ground.spare_sites])).query(cover.grid)
    assert (owner == nearest).mean() > 0.999  # but for ties
    np.testing.assert_allclose(squares, distance**2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("region", ["disc", "square", "hexagon"])
def test_points_settle_evenly(region):
    rng = np.random.default_rng(0)
    ground = Ground(region, 300)
    points = ground.start(rng.normal(size=(300, 2)))
    points[:20] = points[20:40]  # pairs that share a place
    settled = Cover(ground).settle(points, 30)
    apart = cKDTree(settled).query(settled, k=2)[0][:, 1]
    assert apart.std() / apart.mean() < 0.12
    assert ground.shape.contains(settled / ground.half).all()


def test_mending_closes_gaps_and_moves_no_one_else():
    ground = Ground("square", 400)
    home = ground.sites
    points = home.copy()
    around = np.linalg.norm(home, axis=1) < 3
    points[around] *= 1 + 1.5 / np.linalg.norm(home[around], axis=1, keepdims=True)  # a hole in the middle
    cover = Cover(ground)
    assert np.sqrt(cover.owners(points, cover.grid)[1].max()) > 1.5
    mended = cover.mend(points, home, 1.1)
    assert np.sqrt(cover.owners(mended, cover.grid)[1].max()) <= 1.1
    np.testing.assert_array_equal(mended[~around], points[~around])


def test_mending_stays_within_a_region_with_dents():
    slit = np.ones((40, 40), dtype=bool)
    slit[:30, 19:21] = False
    ground = Ground(slit, 100)
    home = Cover(ground).settle(ground.sites, 5)
    left = (home[:, 0] < 0) & (home[:, 0] > -1.5) & (home[:, 1] > 0)
    points = home + np.outer(left, [1.3 * ground.half / 5, 0])  # across the slit: a way back leads through it
    ground.clamp(points)
    mended = Cover(ground).mend(points, home, 0.9)
    assert (mended != points).any()
    assert ground.depth(mended).min() > -1e-8


def test_even_layouts_of_neurons_that_share_places():
    places = np.repeat([[0.0, 0], [1, 0], [1, 1]], [300, 50, 1], axis=0)
    positions = tm.Layout(places).spread("disc").positions
    apart = cKDTree(positions).query(positions, k=2)[0][:, 1]
    assert apart.std() / apart.mean() < 0.15


def test_relaxing_keeps_room_and_the_leash():
    values, _ = sheet(side=14)
    similarity = tm.correlate(values)
    indices, _ = similarity.neighbors(10)
    ground = Ground("disc", 196)
    home = Cover(ground).settle(ground.start(components(similarity, 2)), 10)
    points = relax(home, ground, both_ways(indices), 0.5, 0.75)
    away = np.linalg.norm(points - home, axis=1)
    assert away.mean() > 0.1
    assert away.max() <= 0.5 + 1e-9
    apart = cKDTree(points).query(points, k=2)[0][:, 1]
    assert np.mean(apart > 0.7) > 0.95


def test_where_neurons_start_draws_them_back_at_large_scales_alone():
    n = 400
    ground, rng = Ground("disc", n), np.random.default_rng(0)
    start = Cover(ground).settle(ground.start(rng.normal(size=(n, 2))), 30)
    pull = both_ways(np.array([rng.choice(np.delete(np.arange(n), i), 20, replace=False) for i in range(n)]))
    moved = []
    for scale in (30, 20, 10, 3):  # the region's side is 20
        points = start.copy()
        flow(points, ground, pull, np.full(100, scale, dtype=float), SimpleNamespace(update=lambda: None))
        moved.append(np.linalg.norm(points - start, axis=1).mean())
    assert moved[0] < 0.5  # all the way back, after each step
    assert moved == sorted(moved) and moved[2] > 3


def test_pressure_evens_out_a_crowd():
    rng = np.random.default_rng(0)
    ground = Ground("disc", 400)
    points = rng.normal(size=(400, 2)) * 2  # all within a third of the disc's radius, mostly
    ground.press(points, 200)
    share = (np.linalg.norm(points, axis=1) < ground.half / 2).mean()
    assert 0.2 < share < 0.3  # a quarter of the area
    assert (np.linalg.norm(points, axis=1) <= ground.half + 1e-9).all()


@pytest.mark.parametrize("n", [4, 8])
def test_lines_too_long_for_their_neurons_are_filled(n):
    line = np.eye(100, dtype=bool)  # its few sites lie further apart than the swaps reach
    layout = tm.embed(tm.correlate(np.random.default_rng(n).normal(size=(30, n))), region=line)
    assert len(np.unique(layout.positions, axis=0)) == n


def test_regions_that_cannot_be_filled_are_refused():
    values, _ = sheet(side=4)
    with pytest.raises(ValueError, match="'spread' fills a 'disc', 'square', 'hexagon' or a mask; got region='hull'"):
        tm.embed(tm.correlate(values), region="hull")
    with pytest.raises(ValueError, match="region must be one of"):
        Spread(region="hexagn")(tm.correlate(values), None, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("parameters", "message"), [({"perplexity": 0.2}, "perplexity must be at least 1"), ({"n_steps": -1}, "n_steps")]
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        tm.embed(tm.correlate(sheet(side=4)[0]), Spread(**parameters))
