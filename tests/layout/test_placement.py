"""Layout itself, regions and the dead, the spellings of a method, and saving."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import openTSNE
import pytest
import sklearn.decomposition
import sklearn.manifold
from hypothesis import given, settings
from hypothesis import strategies as st

import topomap as tm
from topomap.layout import PCA, TSNE, Layout, Random, embed, regions


def similarity_of(n=20, **options):
    return tm.correlate(np.random.default_rng(0).normal(size=(60, n)), **options)


def test_bare_positions_are_scaled_alike_into_the_frame():
    layout = Layout(positions=[[0, 0], [4, 0], [4, 2]])
    assert layout.positions.tolist() == [[-1, -0.5], [1, -0.5], [1, 0.5]]
    assert layout.region == "hull"
    assert not layout.dead.any()


def test_positions_inside_the_frame_are_left():
    given_positions = np.array([[0.1, 0.2], [-0.3, 0.9]])
    assert np.array_equal(Layout(given_positions).positions, given_positions)


def test_positions_outside_the_disc_are_scaled_into_it():
    layout = Layout(positions=[[1, 1], [-1, -1], [1, -1]], region="disc")
    assert np.linalg.norm(layout.positions, axis=1) == pytest.approx([1, 1, 1], abs=2e-3)


def test_a_layout_cannot_be_changed_by_its_source():
    source = np.zeros((3, 2))
    layout = Layout(source)
    source[0] = 5
    assert layout.positions[0].tolist() == [0, 0]
    with pytest.raises(ValueError, match="read-only"):
        layout.positions[0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": [[0, np.nan], [1, 1]]}, r"positions must be finite; those of neurons \[0\] are not"),
        ({"positions": [0, 1, 2]}, r"shape \(n_neurons, 2\); got \(3,\)"),
        ({"positions": [[0, 0]], "region": "disk"}, r"region must be one of .*Did you mean 'disc'\?"),
        ({"positions": [[0, 0]], "dead": [True, False]}, "dead must have one entry per neuron: expected 1, got 2"),
    ],
)
def test_bad_layouts(arguments, message):
    with pytest.raises(ValueError, match=message):
        Layout(**arguments)


def test_repr():
    values = np.random.default_rng(0).normal(size=(30, 12))
    values[:, 5] = 0
    assert repr(embed(tm.correlate(values), "pca+swarm", seed=4)) == (
        "Layout(pca+swarm: 12 neurons in a disc, 1 dead, seed 4)"
    )
    assert repr(Layout([[0, 0], [1, 1]])) == "Layout(given: 2 neurons in their hull)"


def test_xarray_and_back():
    layout = embed(similarity_of(), [PCA(), TSNE(perplexity=4)], region="square", seed=9)
    dataset = layout.to_xarray()
    assert dataset["position"].dims == ("neuron", "axis")
    again = Layout.from_xarray(dataset)
    assert again.positions.tobytes() == layout.positions.tobytes()
    for name in ("region", "method", "seed", "params", "provenance"):
        assert getattr(again, name) == getattr(layout, name), name
    assert layout.params == {
        "steps": [{"name": "pca"}, {"name": "tsne", "perplexity": 4, "n_jobs": 1}],
    }
    assert json.loads(json.dumps(layout.provenance)) == layout.provenance
    assert layout.provenance["versions"]["numpy"] == np.__version__


def test_save_and_load(tmp_path):
    values = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    acts = tm.Activations.from_array(values, layer="block.conv1")
    run = tm.Run(acts.inputs, {(acts.layer, acts.reduce): acts})
    tm.save_run(run, tmp_path / "run")
    first = embed(tm.correlate(acts), "pca+swarm")
    with pytest.raises(ValueError, match=r"no layout of 'block\.conv1'"):
        Layout.load(tmp_path / "run", "block.conv1")
    first.save(tmp_path / "run", "block.conv1")
    assert Layout.load(tmp_path / "run", "block.conv1").positions.tobytes() == first.positions.tobytes()
    embed(tm.correlate(acts), "random").save(tmp_path / "run", "block.conv1")
    with pytest.raises(ValueError, match="several layouts: pass method= one of 'pca\\+swarm', 'random'"):
        Layout.load(tmp_path / "run", "block.conv1")
    assert Layout.load(tmp_path / "run", "block.conv1", method="random").method == "random"
    with pytest.raises(ValueError, match="Did you mean 'random'"):
        Layout.load(tmp_path / "run", "block.conv1", method="randm")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("tnse", r"method must be one of 'spread', .* got 'tnse'. Did you mean 'tsne'"),
        ("pca+swram", r"got 'swram'. Did you mean 'swarm'"),
        ("tsne+pca", "pca does not start from another layout: put it first"),
        ([TSNE(), Random()], "random does not start from another layout"),
        (TSNE, r"must be an instance; got the class TSNE. Pass TSNE\(\)"),
        (["tsne", sklearn.decomposition.PCA(2)], "pca does not start from another layout"),
        (7, "got 7"),
        ([], "at least one"),
        ("", "got ''"),
    ],
)
def test_bad_methods(method, message):
    with pytest.raises(ValueError, match=message):
        embed(similarity_of(), method)


def test_bad_region_and_preset():
    with pytest.raises(ValueError, match=r"region must be one of .*'hull', or a mask \(.*\); got 'circle'"):
        embed(similarity_of(), "pca", region="circle")
    with pytest.raises(ValueError, match="Did you mean 'krug2023'"):
        embed(similarity_of(), "pca", preset="krug")


def test_preset_may_be_overridden():
    layout = embed(similarity_of(), "pca+swarm", preset="krug2023")
    assert layout.region == "square"
    assert layout.positions.min(axis=0).tolist() == [-1, -1]
    assert layout.positions.max(axis=0).tolist() == [1, 1]
    assert embed(similarity_of(), "pca", region="disc", preset="krug2023").region == "disc"


def test_default_fills_a_disc():
    layout = embed(similarity_of())
    assert (layout.method, layout.region, layout.seed) == ("spread", "disc", 0)


@pytest.mark.parametrize(
    "estimator",
    [
        sklearn.decomposition.PCA(2),
        sklearn.manifold.TSNE(perplexity=5, init="random"),
        sklearn.manifold.TSNE(perplexity=5, init="random", metric="precomputed"),
        openTSNE.TSNE(perplexity=5),
    ],
    ids=["pca", "tsne", "precomputed", "openTSNE"],
)
def test_objects_in_the_style_of_scikit_learn(estimator):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    before = estimator.get_params()
    layout = embed(similarity_of(), estimator, seed=2)
    assert layout.positions.tobytes() == embed(similarity_of(), estimator, seed=2).positions.tobytes()
    assert layout.method == type(estimator).__name__.lower()
    assert estimator.get_params() == before
    assert not hasattr(estimator, "embedding_")
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    chained = embed(similarity_of(), [estimator, "swarm"])
    assert chained.method == layout.method + "+swarm"


def test_an_object_without_features_needs_precomputed_distances():
    with pytest.raises(ValueError, match="metric='precomputed'"):
        embed(similarity_of(absolute=True), sklearn.decomposition.PCA(2))


def test_any_callable_is_an_algorithm():
    def corners(similarity, init, rng):
        return np.tile([[0.0, 0], [0, 1], [1, 0], [1, 1]], (5, 1))

    layout = embed(similarity_of(), corners, region="square")
    assert layout.positions[:4].tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    assert layout.method == "corners"


@pytest.mark.parametrize("result", [np.zeros((3, 2)), np.zeros((20, 3)), np.full((20, 2), np.nan)])
def test_an_algorithm_that_returns_nonsense(result):
    with pytest.raises(ValueError, match=r"must return finite positions of shape \(20, 2\)"):
        embed(similarity_of(), lambda similarity, init, rng: result)


def test_a_coordinate_that_is_constant():
    line = np.column_stack([np.arange(5.0), np.full(5, 3.0)])
    none = np.zeros(5, dtype=bool)
    assert regions.fit(line, none, "square").tolist() == [[-1, 0], [-0.5, 0], [0, 0], [0.5, 0], [1, 0]]
    assert regions.fit(line, none, "hull").tolist() == [[-1, 0], [-0.5, 0], [0, 0], [0.5, 0], [1, 0]]
    assert regions.fit(line, none, "disc")[:, 0] == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=2e-3)
    assert not regions.fit(np.ones((5, 2)), none, "square").any()
    noise = np.column_stack([np.arange(5.0), 3 + 1e-15 * np.arange(5)])
    assert not regions.fit(noise, none, "square")[:, 1].any()


def test_square_is_min_max_and_disc_keeps_proportions():
    points = np.array([[0.0, 0], [10, 1], [5, 0.5], [2, 1]])
    none = np.zeros(4, dtype=bool)
    assert regions.fit(points, none, "square").tolist() == [[-1, -1], [1, 1], [0, 0], [-0.6, 1]]
    disc = regions.fit(points, none, "disc")
    ratio = np.linalg.norm(disc[0] - disc[1]) / np.linalg.norm(disc[0] - disc[3])
    assert ratio == pytest.approx(np.hypot(10, 1) / np.hypot(2, 1))


@settings(max_examples=40, deadline=None)
@given(n_live=st.integers(0, 80), n_dead=st.integers(0, 900), region=st.sampled_from(["disc", "square", "hull"]))
def test_the_dead_lie_together_along_the_bottom_outside_the_living(n_live, n_dead, region):
    rng = np.random.default_rng(n_live)
    dead = rng.permutation(n_live + n_dead) < n_dead
    out = regions.fit(rng.normal(size=(n_live, 2)), dead, region)
    assert regions.contains(out, region)
    assert len(np.unique(out[dead], axis=0)) == n_dead
    if n_dead and n_live:
        assert out[dead, 1].max() < out[~dead, 1].min()
    if n_dead > 1:  # one contiguous stretch: a chain of steps no longer than a little over the closest two
        gaps = np.linalg.norm(out[dead][:, None] - out[dead][None], axis=-1)
        step = gaps[~np.eye(n_dead, dtype=bool)].min()
        label = np.arange(n_dead)
        for _ in range(n_dead):
            joined = np.array([label[row <= 1.6 * step].min() for row in gaps])
            if np.array_equal(joined, label):
                break
            label = joined
        assert (label == 0).all()


FRAME = np.pad(np.zeros((60, 60), dtype=bool), 1, constant_values=True)


@pytest.mark.parametrize("mask", [np.ones((1, 64)), np.ones((64, 1)), np.eye(64), FRAME], ids=["row", "line", "x", "o"])
@pytest.mark.parametrize("n_dead", [0, 4])
def test_lines_hold_the_living_even_where_the_dead_leave_no_room_above(mask, n_dead):
    dead = np.arange(20 + n_dead) < n_dead
    region = regions.check(mask.astype(bool))
    out = regions.fit(np.random.default_rng(0).normal(size=(20, 2)), dead, region)
    assert regions.contains(out, region)
    assert len(np.unique(out[~dead], axis=0)) == 20 and np.ptp(out[~dead], axis=0).min() > 1e-3


@given(st.integers(0, 2**32 - 1), st.integers(2, 600))
@settings(max_examples=30, deadline=None)
def test_smallest_circle(seed, n):
    points = np.random.default_rng(seed).normal(size=(n, 2)) * [1, 3] + 7
    radius = np.linalg.norm(points - regions.smallest_circle(points), axis=1).max()
    # Jung: no circle is smaller than half of the diameter, none need be larger than it over sqrt 3
    diameter = max(np.linalg.norm(points - p, axis=1).max() for p in points)
    assert diameter / 2 * 0.999 <= radius <= diameter / np.sqrt(3) * 1.005


def test_smallest_circles_of_many_points_are_found_by_blocks(monkeypatch):
    points = np.random.default_rng(0).normal(size=(500, 2))
    whole = regions.smallest_circle(points)
    monkeypatch.setattr("topomap._compute.BLOCK_ENTRIES", 500 * 7)
    np.testing.assert_allclose(regions.smallest_circle(points), whole, atol=1e-12)


def test_the_default_path_does_not_load_umap_and_tsne_does_not_load_numba():
    code = (
        "import sys, numpy as np, topomap.layout;"
        "assert not {'umap', 'numba', 'openTSNE', 'sklearn', 'minisom', 'torch', 'matplotlib'} & set(sys.modules);"
        "import topomap as tm;"
        "tm.embed(tm.correlate(np.random.default_rng(0).normal(size=(40, 30))), 'tsne');"
        "assert not {'umap', 'numba', 'pynndescent'} & set(sys.modules);"
        "tm.embed(tm.correlate(np.random.default_rng(0).normal(size=(40, 30))));"
        "print(sorted({'umap', 'pynndescent'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
