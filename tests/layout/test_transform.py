"""New neurons in an existing layout, and layouts that start from another."""

from __future__ import annotations

import numpy as np
import pytest

import topomap as tm
from topomap.layout import Layout, embed
from topomap.layout.transform import settle


def sheet(n: int = 400, n_inputs: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values of neurons that answer to places of a square, each around its own, and those places."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-1, 1, size=(n, 2))
    inputs = rng.uniform(-1.2, 1.2, size=(n_inputs, 2))
    return np.exp(-((inputs[:, None] - places) ** 2).sum(axis=2) / 0.2), places


def recall(distance: np.ndarray, points: np.ndarray, places: np.ndarray, k: int = 10) -> float:
    """Share of the k most similar reference neurons that are among the k nearest in the plane."""
    apart = np.linalg.norm(points[:, None] - places, axis=2)
    pairs = zip(np.argsort(distance, axis=1)[:, :k], np.argsort(apart, axis=1)[:, :k], strict=True)
    return float(np.mean([len(np.intersect1d(*pair)) for pair in pairs]) / k)


@pytest.mark.parametrize("method", ["spread", "tsne"])
def test_held_out_neurons_come_among_those_they_resemble(method):
    values, _ = sheet(250)
    similarity = tm.correlate(values)
    new, old = np.arange(0, 250, 5), np.flatnonzero(np.arange(250) % 5)
    reference, held_out = similarity.take(old), similarity.take(new)
    layout = embed(reference, method)
    moved = layout.transform(held_out, reference)
    assert moved.n_neurons == 50
    assert (moved.region, moved.method) == (layout.region, method)
    assert np.linalg.norm(moved.positions, axis=1).max() <= 1

    distance = 1 - held_out.features @ reference.features.T
    full = embed(similarity, method)
    found = recall(distance, moved.positions, layout.positions)
    in_full = recall(distance, full.positions[new], full.positions[old])
    assert found > 0.8 * in_full > 0.3  # by chance 10 / 200

    aligned = Layout(full.positions[old], region=full.region).align_to(layout)
    record = aligned.provenance["alignments"][0]
    turned = Layout(full.positions, region=full.region).positions[new] @ _turn(record)
    apart = np.linalg.norm(moved.positions - turned, axis=1)
    by_chance = np.linalg.norm(moved.positions - np.roll(turned, 1, axis=0), axis=1)
    assert np.median(apart) < 0.3 * np.median(by_chance)


def _turn(record) -> np.ndarray:
    angle = np.radians(record["degrees"])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.diag([1.0, -1.0]) @ turn if record["reflected"] else turn


def test_the_layouts_own_neurons_come_near_their_places():
    values, _ = sheet()
    similarity = tm.correlate(values)
    layout = embed(similarity)
    again = layout.transform(similarity, similarity)
    assert np.median(np.linalg.norm(again.positions - layout.positions, axis=1)) < 2 * np.sqrt(np.pi / 400)
    assert again.positions.tobytes() == layout.transform(similarity, similarity).positions.tobytes()


def test_neurons_between_two_places_choose_one():
    places = np.concatenate(
        [np.random.default_rng(0).normal(scale=0.05, size=(30, 2)) + at for at in ([-1, 0], [1, 0])]
    )
    distance = np.concatenate([np.full(30, 0.5), np.full(30, 0.51)])[None]
    at = settle(lambda start, stop: distance[start:stop], 1, places, 30)
    assert abs(abs(at[0, 0]) - 1) < 0.2
    assert abs(at[0, 1]) < 0.1


def test_blocks_give_the_same_places(monkeypatch):
    values, _ = sheet(100)
    similarity = tm.correlate(values)
    layout = embed(similarity, "pca")
    whole = layout.transform(similarity, similarity).positions
    monkeypatch.setattr("topomap._compute.BLOCK_ENTRIES", 1000)
    assert layout.transform(similarity, similarity).positions == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("n_new", [1, 2, 5])
@pytest.mark.parametrize("n_known", [1, 2, 3, 5])
@pytest.mark.parametrize("region", ["disc", "square", "hexagon", "hull"])
def test_few_neurons(n_new, n_known, region):
    rng = np.random.default_rng(0)
    reference = tm.correlate(rng.normal(size=(20, n_known)))
    layout = Layout(rng.uniform(-0.6, 0.6, size=(n_known, 2)), region=region)
    moved = layout.transform(tm.correlate(rng.normal(size=(20, n_new))), reference)
    assert moved.positions.shape == (n_new, 2)
    assert np.isfinite(moved.positions).all()
    low, high = layout.positions.min(axis=0), layout.positions.max(axis=0)
    assert (moved.positions >= low - 1e-9).all()
    assert (moved.positions <= high + 1e-9).all()


def test_all_in_one_place():
    similarity = tm.correlate(np.random.default_rng(0).normal(size=(20, 6)))
    layout = Layout(np.full((6, 2), 0.25), region="disc")
    assert (layout.transform(similarity, similarity).positions == 0.25).all()


def test_the_dead_take_the_places_of_the_dead():
    values, _ = sheet(60)
    values[:, :3] = 1
    reference = tm.correlate(values)
    layout = embed(reference, "pca")
    others, _ = sheet(60, seed=0)
    others[:, [5, 7, 9, 11, 13]] = 0
    moved = layout.transform(tm.correlate(others), reference)
    assert np.flatnonzero(moved.dead).tolist() == [5, 7, 9, 11, 13]
    assert (moved.positions[moved.dead] == layout.positions[[0, 1, 2, 0, 1]]).all()

    all_alive = tm.correlate(sheet(60)[0])
    bottom = embed(all_alive, "pca").transform(tm.correlate(others), all_alive)
    assert bottom.positions[bottom.dead][:, 1].max() < -0.9
    nothing_but_dead = layout.transform(tm.correlate(np.ones((300, 4))), reference)
    assert nothing_but_dead.dead.all()


def test_positions_stay_inside_a_mask():
    mask = np.zeros((40, 40), dtype=bool)
    mask[:, :8] = mask[:, -8:] = mask[-8:] = True
    values, _ = sheet(200)
    similarity = tm.correlate(values)
    layout = embed(similarity.take(np.arange(100)), region=mask)
    moved = layout.transform(similarity, similarity.take(np.arange(100)))
    assert moved.region.contains(moved.positions).all()


def test_what_cannot_be_compared_is_refused():
    values, _ = sheet(20)
    similarity = tm.correlate(values)
    layout = embed(similarity, "pca")
    with pytest.raises(ValueError, match="over the same inputs, in the same order; got 200 and 300 features"):
        layout.transform(tm.correlate(values[:200]), similarity)
    with pytest.raises(ValueError, match="must be of one metric; got cosine and pearson"):
        layout.transform(tm.correlate(values, metric="cosine"), similarity)
    with pytest.raises(ValueError, match="must be of one metric; got absolute pearson and pearson"):
        layout.transform(tm.correlate(values, absolute=True), similarity)
    with pytest.raises(ValueError, match="similarity_of_new is Euclidean"):
        layout.transform(tm.correlate(values, metric="euclidean"), similarity)
    with pytest.raises(
        ValueError, match=r"reference must have one entry per neuron of the layout: expected 20, got 10"
    ):
        layout.transform(similarity, similarity.take(np.arange(10)))
    with pytest.raises(ValueError, match="similarity_of_new must be of type Similarity; got ndarray"):
        layout.transform(values, similarity)
    with pytest.raises(ValueError, match="perplexity must be at least 1"):
        layout.transform(similarity, similarity, perplexity=0)
    matrix = tm.Similarity(None, "pearson", similarity.dead, given=similarity.matrix())
    with pytest.raises(ValueError, match=r"reference has no features .* only the matrix of its own"):
        layout.transform(similarity, matrix)
    dead = tm.correlate(np.ones((300, 20)))
    with pytest.raises(ValueError, match="nothing to go by"):
        layout.transform(similarity, dead)


def test_absolute_similarities_place_opposites_together():
    values, _ = sheet(100)
    reference = tm.correlate(values, absolute=True)
    layout = embed(reference, "pca")
    same = layout.transform(reference, reference)
    opposite = layout.transform(tm.correlate(-values, absolute=True), reference)
    assert opposite.positions == pytest.approx(same.positions, abs=1e-4)


@pytest.mark.parametrize("method", ["spread", "tsne", "force", "swarm"])
def test_a_warm_start_stays_near(method):
    values, _ = sheet(150)
    later = values + 0.02 * np.random.default_rng(1).normal(size=values.shape)
    first = embed(tm.correlate(values), method)
    rng = np.random.default_rng(0)
    turn = _turn({"degrees": 100, "reflected": True})
    start = Layout(first.positions @ turn, region="disc")
    warm = embed(tm.correlate(later), method, seed=1, init=start)
    again = embed(tm.correlate(later), method, seed=1, init=start.positions)
    assert warm.positions.tobytes() == again.positions.tobytes()
    apart = np.linalg.norm(warm.positions - start.positions, axis=1)
    by_chance = np.linalg.norm(warm.positions - rng.permutation(start.positions), axis=1)
    assert np.median(apart) < 0.4 * np.median(by_chance)
    assert warm.provenance["init"] == repr(start)


def test_a_neuron_that_comes_to_life_starts_among_those_it_resembles():
    values, places = sheet(200)
    before = values.copy()
    before[:, 17] = 0
    layout = embed(tm.correlate(before))
    warm = embed(tm.correlate(values), init=layout)
    nearest = np.argsort(np.linalg.norm(places - places[17], axis=1))[1:6]
    apart = np.linalg.norm(warm.positions - warm.positions[17], axis=1)
    assert np.median(apart[nearest]) < 0.5 * np.median(apart)


def test_aligned_afterwards():
    values, _ = sheet(60)
    similarity = tm.correlate(values)
    first, second = embed(similarity, "tsne", seed=0), embed(similarity, "tsne", seed=1)
    aligned = embed(similarity, "tsne", seed=1, align_to=first)
    assert (aligned.positions == second.align_to(first).positions).all()


def test_starts_of_other_neurons_are_refused():
    similarity = tm.correlate(sheet(20)[0])
    layout = embed(similarity, "pca")
    with pytest.raises(ValueError, match="of the same 20 neurons, dead ones included; got shape"):
        embed(similarity, init=layout.positions[:10])
    with pytest.raises(ValueError, match="with NaN or infinity"):
        embed(similarity, init=np.full((20, 2), np.nan))
    with pytest.raises(ValueError, match="pca does not start from another layout: it takes no init"):
        embed(similarity, "pca", init=layout)
    other = Layout(np.zeros((3, 2)))
    with pytest.raises(
        ValueError, match="align_to must have one entry per neuron of the similarity: expected 20, got 3"
    ):
        embed(similarity, "pca", align_to=other)
    with pytest.raises(ValueError, match="align_to must be of type Layout"):
        embed(similarity, "pca", align_to="umap")
