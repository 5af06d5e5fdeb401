"""The 2023 preset, end to end, against a plain transcription of the paper's steps."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.interpolate import griddata
from sklearn.datasets import load_digits

import topomap as tm
from topomap.layout import Swarm


def paper_profiles(values, label):
    """Krug et al. 2023, section 3.1: group means minus the mean over groups."""
    means = np.array([values[label == g].mean(axis=0) for g in np.unique(label)])
    return means - means.mean(axis=0)


def paper_distances(profiles):
    """Cosine distance between neurons, over the groups."""
    rows = profiles.T / np.linalg.norm(profiles.T, axis=1, keepdims=True)
    return 1 - rows @ rows.T


def paper_swarm(start, distances, steps):
    """The paper's "PSO": local and global forces, blended over the steps; from a layout there is no global force."""
    positions = start.copy()
    for step in range(steps):
        s = (np.tanh(-3 + 9 * step / (steps - 1)) + 1) / 2
        gaps = positions[None] - positions[:, None]
        r = np.maximum(np.linalg.norm(gaps, axis=2), 0.01)
        local = 1.5 / (r + 1) ** 3 - 15 * np.exp(-r / 2)
        force = local * s / 2
        positions = positions + (force[:, :, None] * gaps).mean(axis=1)
    return positions


def scale(positions):
    low, high = positions.min(axis=0), positions.max(axis=0)
    return (positions - low) / (high - low)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    rng = np.random.default_rng(0)
    hidden = np.maximum(data.data @ rng.normal(size=(64, 80)) / 16 - 1, 0)  # one random ReLU layer on real digits
    hidden = hidden[:, hidden.std(axis=0) > 0.05]
    few = np.concatenate([np.flatnonzero(data.target == g)[:60] for g in range(10)])
    return hidden[few], data.target[few]


def test_profiles_similarity_swarm_and_picture_follow_the_paper(digits):
    values, label = digits
    acts = tm.Activations.from_array(values, label=label)
    profiles = tm.profile(acts, by="label", preset="krug2023")  # fewer than 200 inputs per group: all are used
    expected = paper_profiles(values, label)
    np.testing.assert_allclose(profiles.scaled, expected, atol=1e-10)
    similarity = tm.correlate(profiles, preset="krug2023")
    np.testing.assert_allclose(similarity.distance(), paper_distances(expected), atol=1e-5)

    start = np.random.default_rng(1).random((values.shape[1], 2))
    ours = Swarm(n_steps=50)(similarity, scale(start), np.random.default_rng(0))
    theirs = paper_swarm(scale(start), paper_distances(expected), 50)
    np.testing.assert_allclose(scale(ours), scale(theirs), atol=2e-3)

    layout = tm.embed(similarity, preset="krug2023", seed=0)
    assert layout.region == "square" and layout.method == "umap+swarm"
    np.testing.assert_allclose(scale(layout.positions) * 2 - 1, layout.positions, atol=1e-9)
    again = tm.embed(similarity, preset="krug2023", seed=0)
    np.testing.assert_array_equal(layout.positions, again.positions)

    fig = tm.plot_profiles(profiles, layout, preset="krug2023")
    images = [artist for ax in fig.axes for artist in ax.images if artist.get_array().shape == (100, 100)]
    assert len(images) == 10
    surface = tm.Surface(layout)
    limit = np.abs(expected).max()
    for image, group in zip(images, profiles.order, strict=True):
        painted = griddata(layout.positions, expected[group], surface.pixels).reshape(100, 100)
        np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), painted, atol=1e-5)
        assert image.get_clim() == pytest.approx((-limit, limit))
        assert image.get_cmap().name == "bwr"
    plt.close(fig)


def test_feature_maps_are_compared_place_by_place_and_painted_by_their_means():
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    maps = rng.normal(size=(60, 4, 12)) + rng.normal(size=(3, 4, 12))[label]  # inputs x places x channels
    rows, places = np.repeat(np.arange(60), 4), np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (60, 1))
    inputs = tm.Inputs(np.arange(60), {"label": label})
    acts = tm.Activations(maps.reshape(-1, 12), inputs, "conv", "positions", rows, places)
    profiles = tm.profile(acts, by="label", preset="krug2023")
    similarity = tm.correlate(profiles, preset="krug2023")
    by_place = np.concatenate([paper_profiles(maps[:, i], label) for i in range(4)])
    np.testing.assert_allclose(similarity.distance(), paper_distances(by_place), atol=1e-5)
    layout = tm.embed(similarity, method="pca", region="square")
    fig = tm.plot_profiles(profiles, layout, preset="krug2023", order="given")
    images = [artist for ax in fig.axes for artist in ax.images if artist.get_array().shape == (100, 100)]
    painted = tm.Surface(layout)(paper_profiles(maps.mean(axis=1), label))
    assert len(images) == 3
    for image, field in zip(images, painted, strict=True):
        shown = np.ma.filled(image.get_array().astype(float), np.nan)
        np.testing.assert_allclose(shown, field.reshape(100, 100), atol=1e-5)
    plt.close(fig)
