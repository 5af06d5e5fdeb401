"""One contract for every layout method: whatever comes in, a finite layout in its region comes out."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch

import topomap as tm
from topomap.layout import TSNE, Force, Swarm, embed
from topomap.layout.methods import METHODS as METHODS_BY_NAME

SINGLE = ["random", "pca", "mds", "umap", "tsne", "som", "som-batch", "force", "graph", "swarm"]
CHAINS = [
    "pca+tsne",
    "umap+swarm",
    "tsne+force",
    "pca+som",
    "pca+som-batch",
    "tsne+mds",
    [TSNE(perplexity=5), Swarm(n_steps=50)],
]
METHODS = [*SINGLE, *CHAINS, Force(n_neighbors=5)]

#: Least share of neurons whose nearest neighbour in the plane is of their own group (0.5 by chance). A swarm evens out
#: distances, and the threshold graph ties lonely neurons to the biggest component: hence not nearer 1.
AMONG_THEIR_OWN = 0.75


def planted(n_each: int = 20, noise: float = 0.5, seed: int = 0) -> np.ndarray:
    """Values of two groups of neurons, each following a signal of its own."""
    rng = np.random.default_rng(seed)
    signal = np.repeat(rng.normal(size=(100, 2)), n_each, axis=1)
    return signal + noise * rng.normal(size=signal.shape)


def among_their_own(layout: tm.Layout) -> float:
    """Share of live neurons whose nearest neighbour in the plane is of their own half."""
    points, group = layout.positions[layout.live], layout.live < layout.n_neurons / 2
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distance, np.inf)
    return float(np.mean(group[distance.argmin(axis=1)] == group))


@pytest.fixture(params=SINGLE)
def method(request):
    return request.param


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_layouts_are_finite_inside_their_region_and_repeatable(method):
    values = planted()
    values[:, [3, 30]] = 1.0
    similarity = tm.correlate(values)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layout = embed(similarity, method, seed=3)
        again = embed(similarity, method, seed=3)

    assert layout.positions.shape == (40, 2)
    assert np.isfinite(layout.positions).all()
    assert layout.positions.tobytes() == again.positions.tobytes()
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])

    assert layout.dead.tolist() == [i in (3, 30) for i in range(40)]
    live, dead = layout.positions[layout.live], layout.positions[layout.dead]
    assert np.linalg.norm(layout.positions, axis=1).max() <= 1 + 1e-9
    assert np.linalg.norm(live, axis=1).max() > 0.8  # as large as the room above the dead allows
    assert live[:, 1].min() > dead[:, 1].max()
    assert dead[:, 1].max() < -0.9
    if method != "random":
        assert among_their_own(layout) >= AMONG_THEIR_OWN


def test_another_seed_gives_another_layout():
    similarity = tm.correlate(planted())
    for method in ("random", "som", "force", "swarm"):
        assert not np.array_equal(
            embed(similarity, method, seed=0).positions, embed(similarity, method, seed=1).positions
        )


def test_one_to_ten_neurons(method):
    rng = np.random.default_rng(0)
    for n in range(1, 11):
        similarity = tm.correlate(rng.normal(size=(30, n)))
        if n < 4:
            with pytest.warns(tm.TopomapWarning, match=f"the layer has only {n} neurons?, fewer than 4: .* another"):
                layout = embed(similarity, method)
        else:
            layout = embed(similarity, method)
        assert layout.positions.shape == (n, 2)
        assert np.isfinite(layout.positions).all()
        assert len(np.unique(layout.positions.round(6), axis=0)) == n


def test_duplicates(method):
    values = np.repeat(planted(n_each=4), 5, axis=1)
    layout = embed(tm.correlate(values), method)
    assert np.isfinite(layout.positions).all()
    assert layout.positions.std(axis=0).min() > 0.05


def test_neurons_that_are_all_the_same(method):
    values = np.random.default_rng(0).normal(size=(30, 1)) * np.ones(12)
    with pytest.warns(tm.TopomapWarning, match="all 12 live neurons are the same"):
        layout = embed(tm.correlate(values), method)
    assert len(np.unique(layout.positions.round(3), axis=0)) == 12


@pytest.mark.parametrize("options", [{}, {"metric": "euclidean"}, {"metric": "jaccard"}], ids=str)
def test_copies_of_two_neurons_are_told(options):
    active = np.random.default_rng(0).random((30, 4)) < 0.5
    values = active[:, [0, 1] * 10].astype(float)
    with pytest.warns(tm.TopomapWarning, match="the 20 live neurons are copies of only 2"):
        layout = embed(tm.correlate(values, **options), "spread")
    assert np.isfinite(layout.positions).all()
    assert len(np.unique(layout.positions.round(6), axis=0)) == 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed(tm.correlate(active[:, [0, 1, 2, 3] * 5].astype(float), **options), "spread")


def test_a_constant_layer(method):
    with pytest.warns(tm.TopomapWarning, match="all neurons are dead"):
        layout = embed(tm.correlate(np.ones((20, 7))), method)
    assert layout.dead.all()
    assert len(np.unique(layout.positions, axis=0)) == 7
    assert layout.positions[:, 1].max() < -0.8


@pytest.mark.parametrize("options", [{"absolute": True}, {"metric": "euclidean"}], ids=str)
def test_every_kind_of_similarity(method, options):
    layout = embed(tm.correlate(100 * planted(), **options), method)
    assert np.isfinite(layout.positions).all()
    if method != "random":
        assert among_their_own(layout) >= AMONG_THEIR_OWN


def test_too_few_live_neurons_are_counted():
    values = np.random.default_rng(0).normal(size=(30, 6))
    values[:, 3:] = 1.0
    with pytest.warns(tm.TopomapWarning, match="only 3 of 6 neurons vary, fewer than 4: the layout has no meaning"):
        embed(tm.correlate(values), "pca")
    values[:, 1:] = 1.0
    with pytest.warns(tm.TopomapWarning, match="only 1 of 6 neurons varies, fewer than 4"):
        embed(tm.correlate(values), "pca")


def test_what_is_no_similarity_is_refused_with_the_way_out():
    acts = tm.Activations.from_array(planted())
    for given in (acts, planted(), None):
        with pytest.raises(ValueError, match=rf"got {type(given).__name__}\. embed takes a Similarity: tm\.embed\(tm"):
            embed(given)


@pytest.mark.parametrize(
    ("seed", "message"),
    [(-1, "seed must be at least 0; got -1"), (1.5, "seed must be of type int .*got float"), (None, "seed must be of")],
)
def test_a_seed_is_a_whole_number_from_zero(seed, message):
    with pytest.raises(ValueError, match=message):
        embed(tm.correlate(planted()), "pca", seed=seed)
    assert embed(tm.correlate(planted()), "pca", seed=np.int64(2)).seed == 2


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.zeros((40, 3)), r"of shape \(40, 2\); got shape \(40, 3\)\.$"),
        (np.zeros((39, 2)), r"of shape \(40, 2\); got shape \(39, 2\)\.$"),
        (np.zeros(40), r"of shape \(40, 2\); got shape \(40,\)\.$"),
        (np.full((40, 2), np.nan), r"of shape \(40, 2\); got NaN or infinity for 40 neurons\.$"),
    ],
    ids=["wide", "short", "flat", "nan"],
)
def test_a_method_that_returns_something_else(positions, message):
    with pytest.raises(ValueError, match=message):
        embed(tm.correlate(planted()), lambda similarity, init, rng: positions)


def test_the_square_is_filled_from_edge_to_edge():
    layout = embed(tm.correlate(planted()), "random", region="square")
    assert layout.positions.min(axis=0).tolist() == [-1, -1]
    assert layout.positions.max(axis=0).tolist() == [1, 1]


@pytest.mark.parametrize("kind", sorted(METHODS_BY_NAME.values(), key=lambda kind: kind.__name__))
def test_every_method_has_an_example_and_says_where_it_is_from(kind):
    assert f">>> tm.embed(tm.correlate(values), {kind.__name__}(" in kind.__doc__
    assert ("References\n" in kind.__doc__) == (kind.__name__ != "Random")
