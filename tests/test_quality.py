import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness

import topomap as tm
from topomap.quality import neighborhoods
from topomap.quality.placement import Placement

MEASURES = ("trustworthiness", "continuity", "knn", "spearman", "moran", "blobs", "coverage", "evenness", "hole")


def random_layout(n, region="square", seed=0, **options):
    return tm.Layout(np.random.default_rng(seed).uniform(-0.7, 0.7, size=(n, 2)), region=region, **options)


def random_values(n, n_inputs=40, seed=1):
    """Neurons that hang together a little, so that ranks are no coin flips."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_inputs, 4)) @ rng.normal(size=(4, n)) + rng.normal(size=(n_inputs, n))


def profiles_of(maps):
    """Profiles whose scaled values are the given maps."""
    maps = np.asarray(maps, dtype=float)
    n_groups, n = maps.shape
    names = tuple(map(str, range(n_groups)))
    return tm.Profiles(
        values=maps, scale=np.ones(n), names=names, keys=tuple((name,) for name in names), by=("label",),
        counts=np.ones(n_groups, dtype=int), standard_errors=maps * 0, noise_floor=maps * 0,
        contrast="none", weights="equal", dead=np.zeros(n, dtype=bool), n_rows=n_groups,
    )  # fmt: skip


def lattice(side):
    """Places of side x side neurons, each in the middle of its cell."""
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def hexagonal(spacing, radius):
    i = np.arange(-200, 201)
    x, y = np.meshgrid(i, i)
    places = spacing * np.column_stack([(x + y / 2).ravel(), (np.sqrt(3) / 2 * y).ravel()])
    return places[np.linalg.norm(places, axis=1) <= radius]


# neighbourhoods ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["pearson", "cosine", "euclidean"])
@pytest.mark.parametrize("n, k", [(25, 10), (25, 1), (120, 10), (120, 59)])
def test_neighbourhoods_against_other_libraries(n, k, metric):
    similarity, layout = tm.correlate(random_values(n), metric), random_layout(n)
    quality = tm.measure_layout(layout, similarity, k=k)
    far, apart = similarity.distance().astype(float), cdist(layout.positions, layout.positions)
    assert quality.trustworthiness == pytest.approx(
        trustworthiness(far, layout.positions, n_neighbors=k, metric="precomputed"), abs=1e-9
    )
    assert quality.continuity == pytest.approx(
        trustworthiness(apart, features_of(far), n_neighbors=k, metric="precomputed"), abs=1e-9
    )
    np.fill_diagonal(far, np.inf)
    np.fill_diagonal(apart, np.inf)
    both = [len(set(a) & set(b)) for a, b in zip(np.argsort(far, 1)[:, :k], np.argsort(apart, 1)[:, :k], strict=True)]
    assert quality.knn == pytest.approx(np.mean(both) / k)
    pairs = np.triu_indices(n, 1)
    assert quality.spearman == pytest.approx(spearmanr(far[pairs], apart[pairs])[0], abs=1e-4)
    assert 0.3 < quality.trustworthiness < 0.7
    assert (quality.k, quality.n_live) == (k, n)


def features_of(distances):
    """Points whose Euclidean distances are in the same order: squared distances plus a constant embed exactly."""
    n = len(distances)
    squares = distances**2 + 100 * distances.max() ** 2 * (1 - np.eye(n))
    centring = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centring @ squares @ centring / 2)
    return vectors * np.sqrt(np.maximum(values, 0))


def test_four_neurons_by_hand():
    similarity = tm.correlate(np.array([[9.0, 9, 9, 9], [0.0, 1.1, 2.3, 3.6]]), "euclidean")
    layout = tm.Layout([[0, 0], [3.2, 0], [1, 0], [5, 0]])
    quality = tm.measure_layout(layout, similarity, k=1)
    # plane neighbours 2 3 0 1 have the true ranks 2 3 3 2; true neighbours 1 0 1 2 have the plane ranks 2 3 2 2;
    # the worst sum over four neurons is 4 * (3 - 1)
    assert quality.trustworthiness == pytest.approx(1 - (1 + 2 + 2 + 1) / 8)
    assert quality.continuity == pytest.approx(1 - (1 + 2 + 1 + 1) / 8)
    assert quality.knn == 0
    # true distances 01 02 03 12 13 23 have the ranks 1 4 6 2 5 3, plane distances 3 1 6 4 2 5 (3.2 1 5 2.2 1.8 4)
    expected = np.corrcoef([1, 4, 6, 2, 5, 3], [4, 1, 6, 3, 2, 5])[0, 1]
    assert quality.spearman == pytest.approx(expected)


@pytest.mark.parametrize("n", range(3, 13))
def test_the_worst_case_is_the_worst(n):
    for k in range(1, n - 1):
        last = np.arange(n - k, n)  # the ranks of the k least similar
        assert neighborhoods.worst(n, k) == np.maximum(last - k, 0).sum() > 0


@given(st.integers(1, 12), st.integers(1, 15), st.sampled_from(["disc", "square", "hull"]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_small_layers(n, k, region, seed):
    values = random_values(n, seed=seed)
    profiles = profiles_of(values[:3])
    quality = tm.measure_layout(random_layout(n, region, seed), tm.correlate(values), profiles, k=k)
    assert quality.k == max(0, min(k, n - 2))
    for name in ("trustworthiness", "continuity", "knn", "coverage"):
        value = getattr(quality, name)
        assert 0 <= value <= 1 or np.isnan(value)
    missing = {name for name in MEASURES if np.isnan(getattr(quality, name))}
    assert missing == set(quality.reasons)
    if n >= 3:
        assert not missing
    else:
        assert missing == set(MEASURES) - (set() if region == "hull" else {"coverage", "hole"})
        assert quality.reasons["trustworthiness"] == (
            f"at least 3 live neurons are needed; there {['is', 'are'][n - 1]} {n}"
        )
    assert repr(quality).startswith("Quality(given, ") and "\n" not in repr(quality) and "nan" not in repr(quality)


def test_no_neuron_is_alive():
    layout = tm.Layout(np.zeros((4, 2)), region="disc", dead=np.ones(4, dtype=bool))
    quality = tm.measure_layout(layout, tm.correlate(np.ones((5, 4))))
    assert set(quality.reasons) == set(MEASURES)
    assert quality.reasons["knn"] == quality.reasons["hole"] == "no neuron is alive"
    assert repr(quality) == "Quality(given, 4 neurons, 4 dead: nothing to measure)"


def test_a_perfect_layout_and_scale_do_not_matter():
    places = np.random.default_rng(0).normal(size=(80, 2))
    similarity = tm.correlate(1e3 * places.T, "euclidean")
    quality = tm.measure_layout(tm.Layout(places * 7), similarity)
    assert (quality.trustworthiness, quality.continuity, quality.knn) == (1, 1, 1)
    assert quality.spearman == pytest.approx(1)


def test_piling_up_earns_nothing_and_equal_neurons_are_equally_right():
    n = 60
    values = random_values(n)
    piled = tm.measure_layout(tm.Layout(np.zeros((n, 2)), region="disc"), tm.correlate(values))
    chance = np.maximum(np.arange(1, n) - 10, 0).mean() * 10 / neighborhoods.worst(n, 10)
    assert piled.trustworthiness == pytest.approx(1 - chance)
    assert piled.continuity == pytest.approx(1 - chance)
    assert piled.knn == pytest.approx(10 / (n - 1))
    assert set(piled.reasons) == {"spearman", "moran", "blobs", "evenness"}
    same = np.repeat(values[:, :3], 20, axis=1)  # three sorts of neurons, each together in the plane
    places = np.repeat([[0, 0], [9, 0], [0, 7]], 20, axis=0) + np.random.default_rng(0).random((n, 2))
    quality = tm.measure_layout(tm.Layout(places), tm.correlate(same))
    assert (quality.trustworthiness, quality.continuity, quality.knn) == (1, 1, 1)
    for metric in ("pearson", "euclidean"):
        quality = tm.measure_layout(random_layout(n), tm.correlate(values[:, [0] * n], metric))
        assert (quality.trustworthiness, quality.continuity, quality.knn) == (1, 1, 1)
        assert "equal" in quality.reasons["spearman"]


@pytest.mark.parametrize("metric", ["pearson", "euclidean"])
def test_the_order_of_neurons_does_not_matter_even_on_a_lattice(metric):
    values = random_values(100)
    maps = values[:4]
    order = np.random.default_rng(3).permutation(100)
    one = tm.measure_layout(tm.Layout(lattice(10), region="square"), tm.correlate(values, metric), profiles_of(maps))
    other = tm.measure_layout(
        tm.Layout(lattice(10)[order], region="square"),
        tm.correlate(values[:, order], metric),
        profiles_of(maps[:, order]),
    )
    for name in MEASURES:
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-6), name


def test_blocks_samples_and_dead_neurons(monkeypatch):
    n = 300
    values = random_values(n)
    places = random_layout(n).positions
    whole = tm.measure_layout(tm.Layout(places), tm.correlate(values))
    monkeypatch.setattr(neighborhoods, "_BLOCK_ENTRIES", 7 * n)
    assert tm.measure_layout(tm.Layout(places), tm.correlate(values)).to_dict() == pytest.approx(
        whole.to_dict(), nan_ok=True
    )
    monkeypatch.setattr(neighborhoods, "MOST_PAIRS", 20_000)
    sampled = tm.measure_layout(tm.Layout(places), tm.correlate(values), seed=5)
    assert sampled.trustworthiness == whole.trustworthiness
    assert 0 < abs(sampled.spearman - whole.spearman) < 0.03
    assert sampled.spearman == tm.measure_layout(tm.Layout(places), tm.correlate(values), seed=5).spearman
    monkeypatch.setattr(neighborhoods, "EXACT_ROWS", 200)
    monkeypatch.setattr(neighborhoods, "SAMPLED_ROWS", 150)
    rows = tm.measure_layout(tm.Layout(places), tm.correlate(values))
    for name in ("trustworthiness", "continuity", "knn"):
        assert 0 < abs(getattr(rows, name) - getattr(whole, name)) < 0.05


@pytest.mark.parametrize("region", ["disc", "square", "hull"])
def test_dead_neurons_take_no_part(region):
    values, places = random_values(60), random_layout(60, region).positions
    dead = np.arange(60) % 3 == 0
    silent = np.where(dead, 2.5, values)
    maps = values[:5]
    for marks in (dead, None):  # marked in the layout, or known from the similarity alone
        layout = tm.Layout(places, region=region, dead=marks)
        with_dead = tm.measure_layout(layout, tm.correlate(silent), profiles_of(maps))
        without = tm.measure_layout(
            tm.Layout(places[~dead], region=region), tm.correlate(values[:, ~dead]), profiles_of(maps[:, ~dead])
        )
        for name in set(MEASURES) - {"coverage", "hole", "blobs"}:  # those know the part of the region that is left
            assert getattr(with_dead, name) == pytest.approx(getattr(without, name), abs=1e-6), name
        assert (with_dead.n_neurons, with_dead.n_live) == (60, 40)
        assert "20 dead" in repr(with_dead)


# placement -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [2, 5, 30])
def test_a_square_lattice(side):
    placement = Placement(lattice(side), "square")
    assert placement.spacing == pytest.approx(2 / side)
    assert placement.coverage() == 1
    assert placement.evenness() == pytest.approx(0, abs=1e-9)
    assert placement.hole() == pytest.approx(np.sqrt(0.5))


def test_a_hexagonal_lattice_fills_the_disc():
    placement = Placement(hexagonal(0.05, 1), "disc")
    assert placement.coverage() == 1
    assert placement.evenness() == pytest.approx(0, abs=1e-9)
    # inside it is 1 / sqrt(3) of the lattice constant; the border of the disc is further away here and there
    assert 0.05 / np.sqrt(3) / placement.spacing - 1e-6 <= placement.hole() < 1.05


@pytest.mark.parametrize("region, area", [("disc", np.pi), ("square", 4)])
def test_half_a_region_covers_half(region, area):
    places = hexagonal(0.02, 1.5)
    places = places[(places[:, 0] < 0) & (np.abs(places).max(1) <= 1)]
    if region == "disc":
        places = places[np.linalg.norm(places, axis=1) <= 1]
    placement = Placement(places, region)
    # a little more than half: a strip of one spacing along the middle
    strip = placement.spacing * 2 / area
    assert placement.coverage() == pytest.approx(0.5 + strip, abs=0.015)
    # the furthest point is on the border, at (1, 0) or along x = 1: one radius from the middle
    assert placement.hole() * placement.spacing == pytest.approx(1, abs=0.03)


def test_a_planted_hole():
    places = lattice(40)
    placement = Placement(places[np.linalg.norm(places - [0.2, -0.1], axis=1) > 0.3], "square")
    assert placement.hole() * placement.spacing == pytest.approx(0.3, abs=0.05)
    assert placement.hole() * placement.spacing >= 0.3
    lost = np.pi * (placement.hole() - 1) ** 2 * placement.spacing**2 / 4  # what is over a spacing from all
    assert 1 - placement.coverage() == pytest.approx(lost, rel=0.25)


def test_the_hull_is_its_own_region():
    places = random_layout(200).positions
    placement = Placement(places, "hull")
    hull = ConvexHull(places)
    assert placement.area == pytest.approx(hull.volume)
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.7, 0.7, size=(200_000, 2))
    inside = (points @ hull.equations[:, :2].T + hull.equations[:, 2] <= 0).all(axis=1)
    near = cKDTree(places).query(points[inside])[0] / placement.spacing
    assert placement.coverage() == pytest.approx((near <= 1).mean(), abs=0.005)
    assert near.max() <= placement.hole() <= near.max() + 0.05


@pytest.mark.parametrize("region", ["disc", "square"])
def test_holes_against_random_points(region):
    places = random_layout(150, seed=4).positions
    placement = Placement(places, region)
    points = np.random.default_rng(1).uniform(-1, 1, size=(200_000, 2))
    near = cKDTree(places).query(points[placement.shape.contains(points)])[0] / placement.spacing
    assert near.max() <= placement.hole() <= near.max() + 0.08
    assert placement.coverage() == pytest.approx((near <= 1).mean(), abs=0.005)


def test_one_and_two_neurons_in_a_disc():
    assert Placement(np.zeros((1, 2)), "disc").hole() == pytest.approx(1 / np.sqrt(np.pi))
    assert Placement(np.zeros((1, 2)), "disc").coverage() == 1
    two = Placement(np.array([[-1.0, 0], [1, 0]]), "disc")
    assert two.hole() * two.spacing == pytest.approx(np.sqrt(2), abs=1e-3)


def test_evenness_of_random_points_is_that_of_a_poisson_process():
    places = np.random.default_rng(0).uniform(-1, 1, size=(20_000, 2))
    assert Placement(places, "square").evenness() == pytest.approx(np.sqrt(4 / np.pi - 1), abs=0.01)


def test_neurons_on_a_line_and_in_one_place():
    line = np.column_stack([np.linspace(-1, 1, 30), np.linspace(-1, 1, 30)])
    values = random_values(30)
    quality = tm.measure_layout(tm.Layout(line), tm.correlate(values), profiles_of(values[:3]))
    assert quality.reasons == dict.fromkeys(("blobs", "coverage", "hole"), "the hull of the live neurons has no area")
    maps = np.zeros((1, 30))
    maps[0, [3, 4, 20]] = 1
    assert Placement(line, "square").blobs(maps) == 2
    piled = Placement(np.zeros((30, 2)), "square")
    assert piled.blobs(maps) == 1
    assert np.isnan(piled.evenness())
    assert np.allclose(piled.neighbors(4).sum(axis=1), 1)


# group maps ----------------------------------------------------------------------------------------------------------


def brute_force_moran(places, maps, k):
    n = len(places)
    apart = cdist(places, places)
    values = []
    for row in maps:
        z = row - row.mean()
        total = 0.0
        for i in range(n):
            nearest = [j for j in np.argsort(apart[i]) if j != i][:k]
            total += sum(z[i] * z[j] / k for j in nearest)
        values.append(n / n * total / (z @ z))  # the weights sum to n
    return np.mean(values)


@pytest.mark.parametrize("k", [1, 4, 10])
def test_moran_against_brute_force(k):
    places, values = random_layout(70).positions, random_values(70)
    maps = np.concatenate([values[:3], [places[:, 0] - places[:, 1]]])
    assert Placement(places, "hull").moran(maps, k) == pytest.approx(brute_force_moran(places, maps, k))


def test_moran_by_hand():
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    checks = np.array([[1.0, -1, 1, -1]])
    assert Placement(square, "square").moran(checks, 2) == pytest.approx(-1)
    halves = np.array([[1.0, 1, -1, -1]])
    assert Placement(square, "square").moran(halves, 2) == pytest.approx(0)
    # with one neighbour both sides are as near: half of each
    np.testing.assert_allclose(
        Placement(square, "square").neighbors(1).toarray(),
        [[0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0]],
    )


def test_moran_of_noise_is_about_zero_and_maps_without_variation_are_left_out():
    places, noise = lattice(40), np.random.default_rng(0).normal(size=(20, 1600))
    placement = Placement(places, "square")
    assert abs(placement.moran(noise, 10)) < 0.01
    wave = np.sin(2 * places[:, :1].T)
    assert placement.moran(wave, 10) > 0.98
    flat = np.full((1, 1600), 0.3)
    assert placement.moran(np.concatenate([wave, flat]), 10) == placement.moran(wave, 10)
    assert placement.blobs(np.concatenate([wave, flat])) == placement.blobs(wave)
    quality = tm.measure_layout(random_layout(20), tm.correlate(random_values(20)), profiles_of(np.ones((2, 20))))
    assert quality.reasons == dict.fromkeys(("moran", "blobs"), "no group map varies over the live neurons")


def test_planted_blobs():
    places = lattice(30)
    placement = Placement(places, "square")

    def bump(*centers):
        return np.max([np.exp(-((places - c) ** 2).sum(axis=1) / 0.02) for c in centers], axis=0)

    maps = np.stack(
        [
            bump([0, 0]),
            bump([-0.6, -0.6], [0.6, 0.6]),
            bump([-0.6, -0.6], [0.6, 0.6], [0.6, -0.6], [-0.6, 0.6]),
        ]
    )
    assert [placement.blobs(maps[i : i + 1]) for i in range(3)] == [1, 2, 4]
    assert placement.blobs(maps) == pytest.approx(7 / 3)
    x, y = np.round((places + 1) * 15 - 0.5).astype(int).T
    alone = ((x % 3 == 0) & (y % 3 == 0)).astype(float)[None]  # 100 neurons, each two columns from the next
    assert placement.blobs(alone[:, :]) > 80
    assert placement.blobs(-maps[:1]) >= 1


def test_blobs_do_not_touch_across_a_gap():
    left = lattice(10) * 0.2 - [0.75, 0]
    places = np.concatenate([left, left * [-1, 1]])
    maps = (np.abs(places[:, 0]) < np.quantile(np.abs(places[:, 0]), 0.1))[None].astype(float)
    assert Placement(places, "square").blobs(maps) == 2


def test_blobs_of_neurons_in_one_place_are_one():
    places = np.repeat(lattice(5), 4, axis=0)
    maps = (np.linalg.norm(places, axis=1) < 0.1)[None] * 1.0
    maps[0, :4] = 0.5  # of the top ten four are in the middle, four in a corner, two beside that corner
    assert Placement(places, "square").blobs(maps) == 2


def test_containers():
    values = random_values(30)
    layout, profiles = random_layout(30, method="mine"), profiles_of(values[:3])
    quality = tm.measure_layout(layout, tm.correlate(values), profiles)
    row = quality.to_dict()
    assert list(row) == ["method", "region", "n_neurons", "n_live", "k", *MEASURES]
    assert (row["method"], row["region"], row["n_neurons"]) == ("mine", "square", 30)
    dataset = quality.to_xarray()
    assert isinstance(dataset, xarray.Dataset)
    assert float(dataset["hole"]) == quality.hole and dataset.attrs["k"] == 10
    assert np.isnan(tm.measure_layout(layout, tm.correlate(values)).blobs)
    assert tm.measure_layout(layout, tm.correlate(values)).reasons == dict.fromkeys(
        ("moran", "blobs"), "pass profiles= to measure it"
    )


def test_wrong_arguments():
    similarity, layout = tm.correlate(random_values(20)), random_layout(20)
    with pytest.raises(ValueError, match="k must be at least 1"):
        tm.measure_layout(layout, similarity, k=0)
    with pytest.raises(ValueError, match="expected 19, got 20"):
        tm.measure_layout(random_layout(19), similarity)
    with pytest.raises(ValueError, match="expected 20, got 21"):
        tm.measure_layout(layout, similarity, profiles_of(random_values(21)[:2]))
    with pytest.raises(ValueError, match="expected 20, got 21"):
        tm.measure_smoothness(profiles_of(random_values(21)[:2]), layout)
