"""Regions: their geometry, the masks that users give, and layouts that fill them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

import topomap as tm
from topomap.layout import regions
from topomap.layout.regions import shape_of
from topomap.layout.spread.ground import Ground
from topomap.quality.placement import Placement

Y, X = np.mgrid[-1:1:100j, -1:1:100j]
RING = (np.hypot(X, Y) < 1) & (np.hypot(X, Y) > 0.45)
TWO = np.zeros((40, 100), dtype=bool)
TWO[2:38, 2:45] = TWO[8:38, 60:98] = True
ALL = {"disc": "disc", "square": "square", "hexagon": "hexagon", "ring": RING, "two": TWO}


def waves(n=150, n_inputs=60):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_inputs, 6)) @ rng.normal(size=(6, n)) + 0.3 * rng.normal(size=(n_inputs, n))


@pytest.mark.parametrize("name", ALL)
def test_the_parts_of_a_region_agree(name):
    shape = shape_of(ALL[name])
    points = np.random.default_rng(1).uniform(-1.2, 1.2, size=(20_000, 2))
    depth, inside = shape.depth(points), shape.contains(points)
    assert np.array_equal(inside, depth >= -1e-9)
    assert shape.area == pytest.approx(1.2**2 * 4 * inside.mean(), rel=0.04)
    assert np.linalg.norm(shape.normal(points), axis=1) == pytest.approx(np.ones(len(points)))
    brought = shape.clamp(points)
    assert shape.contains(brought).all()
    assert np.array_equal(brought[inside], points[inside])
    assert np.linalg.norm(brought - points, axis=1)[~inside] == pytest.approx(-depth[~inside], abs=0.09)
    border = shape.border(0.01)
    assert np.abs(shape.depth(border)).max() < 0.01
    assert np.abs(cKDTree(border).query(points)[0] - np.abs(depth)).max() < 0.09
    assert not shape.contains(border + 0.04 * shape.normal(border)).any()


def test_areas_by_hand():
    assert shape_of("hexagon").area == pytest.approx(1.5 * np.sqrt(3))
    assert shape_of("square").area == 4
    assert shape_of(np.ones((1, 2), dtype=bool)).area == pytest.approx(2, rel=0.01)
    assert shape_of(RING).area == pytest.approx(np.pi * (1 - 0.45**2), rel=0.02)  # pixels end beyond 1
    assert [len(shape_of(region).outline) for region in (RING, TWO, "disc")] == [2, 2, 1]


def test_a_mask_stands_upright_and_is_cut_to_what_is_inside():
    triangle = np.pad(np.tril(np.ones((50, 50), dtype=bool)), 30)
    shape = shape_of(triangle)
    assert shape.pixels.shape == (50, 50)
    assert shape.contains(np.array([[-0.9, 0.5], [-0.9, -0.9], [0.5, -0.9], [0.5, 0.5]])).tolist() == [True] * 3 + [
        False
    ]
    assert shape == shape_of(255 * triangle.astype(np.uint8)) and hash(shape) == hash(shape_of(triangle))
    assert repr(shape_of(TWO)) == "Region(mask: 96 x 36 pixels)"
    assert max(shape_of(np.ones((3000, 10), dtype=bool)).pixels.shape) <= 1024


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (np.zeros((5, 5), dtype=bool), "True somewhere; got 5 x 5"),
        (np.ones((5, 5, 3)), r"shape \(height, width\), True inside; got shape \(5, 5, 3\)"),
        (np.array([["a", "b"]]), "boolean array"),
        (np.array([[0.2, 0.7]]), "compare first"),
        (np.array([[np.nan, 0.7]]), "compare first"),
        (3, r"or a mask \(2-D boolean array\); got 3"),
        ("hexagn", "Did you mean 'hexagon'"),
    ],
)
def test_what_is_no_region(region, message):
    with pytest.raises(ValueError, match=message):
        regions.check(region)


@pytest.mark.parametrize("name", ["hexagon", "ring", "two"])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 40, 300])
def test_sites_fill_any_region(name, n):
    sites = shape_of(ALL[name]).sites(n)
    assert sites.shape == (n, 2) and len(np.unique(sites, axis=0)) == n
    assert shape_of(ALL[name]).contains(sites).all()
    if n >= 40:
        placement = Placement(sites, ALL[name])
        assert placement.coverage() == 1 and placement.hole() < 1.1 and placement.evenness() < 0.1


@pytest.mark.parametrize("name", ["hexagon", "ring", "two"])
@pytest.mark.parametrize("n_dead", [0, 30])
def test_the_default_layout_fills_any_region(name, n_dead, tmp_path):
    values = waves()
    values[:, :n_dead] = 1
    similarity = tm.correlate(values)
    layout = tm.embed(similarity, region=ALL[name])
    quality = tm.measure_layout(layout, similarity, progress=False)
    assert quality.coverage > 0.98 and quality.hole < 1.3 and quality.evenness < 0.25
    assert regions.contains(layout.positions, layout.region)
    assert layout.positions.tobytes() == tm.embed(similarity, region=ALL[name]).positions.tobytes()
    assert f"in a {quality.region}" in repr(layout)
    again = tm.Layout.from_xarray(layout.to_xarray())
    assert again.positions.tobytes() == layout.positions.tobytes() and again.region == layout.region
    acts = tm.Activations.from_array(values, layer="fc")
    tm.save_run(tm.Run(acts.inputs, {("fc", "none"): acts}), tmp_path / "run")
    layout.save(tmp_path / "run", "fc")
    assert tm.Layout.load(tmp_path / "run", "fc").region == layout.region
    painted = tm.Surface(layout, extrapolate="mean")
    assert np.array_equal(painted.mask.ravel(), shape_of(layout.region).contains(painted.pixels))
    assert painted.filled


@given(name=st.sampled_from(["hexagon", "ring", "two"]), n=st.integers(0, 30), n_dead=st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_free_layouts_lie_inside_above_the_dead(name, n, n_dead):
    positions = np.random.default_rng(n).normal(size=(n, 2)) * [3, 1] + 7
    dead = np.arange(n + n_dead) >= n
    out = regions.fit(positions, dead, regions.check(ALL[name]))
    assert regions.contains(out, regions.check(ALL[name]))
    if n and n_dead:
        assert out[dead, 1].max() < out[~dead, 1].min()
    if n > 2:  # scaled alike
        shapes = [points - points.mean(axis=0) for points in (positions, out[:n])]
        ratio = np.linalg.norm(shapes[1]) / np.linalg.norm(shapes[0])
        assert shapes[1] == pytest.approx(ratio * shapes[0], abs=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_spreading_keeps_the_neighbourhood_order(name):
    free = np.random.default_rng(0).normal(size=(200, 2))
    layout = tm.Layout(free, method="mine", dead=np.arange(200) < 10)
    spread = layout.spread(ALL[name])
    assert spread.method == "mine+even" and spread.positions.tobytes() == layout.spread(ALL[name]).positions.tobytes()
    placement = Placement(spread.positions[10:], spread.region, spread.positions[:10])
    assert placement.coverage() > 0.99 and placement.evenness() < 0.15 and placement.hole() < 1.2
    near = [cKDTree(places).query(places, 11)[1][:, 1:] for places in (free[10:], spread.positions[10:])]
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
    assert kept > (0.3 if name in ("ring", "two") else 0.6)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_spreading_few_neurons(n):
    layout = tm.Layout(np.zeros((n + 1, 2)), dead=np.arange(n + 1) == n)
    spread = layout.spread("hexagon")
    assert len(np.unique(spread.positions, axis=0)) == n + 1
    with pytest.raises(
        ValueError, match=r"region must be one of 'disc', 'square', 'hexagon', or a mask .*; got 'hull'"
    ):
        layout.spread("hull")


def test_the_walls_of_a_ground_leave_the_area_of_its_sites():
    for region in ("hexagon", RING):
        ground = Ground(region, 400)
        assert (1 - ground._walls).sum() * ground._spacing**2 == pytest.approx(400, rel=0.01)


def test_the_part_of_the_dead_does_not_count():
    steps = (np.arange(20) + 0.5) / 10 - 1
    lattice = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    low = lattice[:, 1] < -0.5
    placement = Placement(lattice[~low], "square", lattice[low])
    assert placement.area == pytest.approx(3, rel=0.01)
    assert placement.coverage() == 1
    assert placement.hole() == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert Placement(lattice[~low], "square").coverage() < 0.85
