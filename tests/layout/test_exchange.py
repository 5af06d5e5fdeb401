from types import SimpleNamespace

import numpy as np
import pytest

import topomap as tm
from topomap.layout.spread import exchange as module
from topomap.layout.spread import ranks
from topomap.layout.spread.exchange import Heat, exchange
from topomap.layout.spread.graph import components
from topomap.layout.spread.ground import Ground
from topomap.layout.spread.ranks import penalties

COLD = Heat(1e-6, 1e-7, 60)


def layer(n=400):
    """Neurons tuned to places on a sheet, by their principal components on a disc, no two distances alike."""
    rng = np.random.default_rng(0)
    place, inputs = rng.random((n, 2)), rng.random((300, 2))
    similarity = tm.correlate(np.exp(-((inputs[:, None] - place) ** 2).sum(-1) / 0.03))
    indices, _ = similarity.neighbors(40)
    costs = penalties(similarity, indices, components(similarity, 16), np.arange(n), 10)
    places = Ground("disc", n).start(components(similarity, 2)) + 0.2 * rng.normal(size=(n, 2))
    return places, np.ascontiguousarray(indices[:, :10]), costs, similarity


def loss(points, friends, costs, anchor):
    """The sum that exchanges lower, written out over all pairs; both sums count both directions of a pair."""
    n, k = friends.shape
    squares = ((points[:, None] - points) ** 2).sum(-1)
    near, alike = np.zeros((n, n)), np.zeros((n, n))
    np.put_along_axis(near, np.argsort(squares, axis=1)[:, 1 : k + 1], 1, axis=1)
    np.put_along_axis(alike, friends, 1, axis=1)
    weight = module._CONTINUITY * n**module._POWER
    away = module._HOLD * np.pi * ((points - anchor) ** 2).sum()
    far = (alike * np.maximum(np.minimum(np.pi * squares, n) - k, 0)).sum()
    return (near * costs.matrix).sum() + weight * (far + away)


def test_cold_exchanges_lower_the_sum_and_keep_the_places():
    places, friends, costs, _ = layer()
    before = loss(places, friends, costs, places)
    half = exchange(places, places, friends, costs, Heat(1e-6, 1e-7, 3), 7)
    whole = exchange(places, places, friends, costs, COLD, 7)
    assert sorted(map(tuple, whole)) == sorted(map(tuple, places))
    assert loss(whole, friends, costs, places) < loss(half, friends, costs, places) < before
    assert loss(whole, friends, costs, places) < before - 0.3 * abs(before)


@pytest.mark.parametrize("exact", [True, False])
def test_exchanges_are_wished_for_where_they_lower_the_sum(exact, monkeypatch):
    anchor, friends, _, similarity = layer(60)
    points = np.random.default_rng(1).permutation(anchor)
    all_known = similarity.neighbors(59)[0], components(similarity, 16), np.arange(60), 10
    costs = given = penalties(similarity, *all_known)
    if not exact:
        monkeypatch.setattr(ranks, "EXACT", 30)
        given = penalties(similarity, *all_known)
        assert given.rows is not None
    monkeypatch.setattr(module, "_EACH", 1)
    monkeypatch.setattr(module, "n_threads", lambda: 2)
    monkeypatch.setattr(module, "_PARTS", 1)
    seen = []
    monkeypatch.setattr(module, "_carry_out", lambda order, wish, *rest: seen.append(wish.copy()))
    before, weighed = loss(points, friends, costs, anchor), []
    for seed in range(20):
        for temperature in (1e30, 1e-9):  # all that are tried, then those that lower the sum, by the same draws
            exchange(points, anchor, friends, given, Heat(temperature, temperature, 1), seed)
        tried, wished = seen[-2:]
        for a, (there, wish) in enumerate(zip(tried, wished, strict=True)):
            if there < 0:
                assert wish < 0
                continue
            after = points.copy()
            after[[a, there]] = after[[there, a]]
            change = loss(after, friends, costs, anchor) - before
            if abs(change) > 1e-2:  # not rounding
                assert (wish == there) == (change < 0)
                weighed.append(change < 0)
    assert len(weighed) > 1000
    assert 0.1 < np.mean(weighed) < 0.9


def test_of_the_wishes_of_a_part_each_neuron_moves_once():
    place_of, at = np.array([0, 1, 2, 3], dtype=np.int32), np.array([0, 1, 2, 3], dtype=np.int32)
    wish = np.array([1, 2, -1, 2], dtype=np.int32)  # 0 goes to 1's place; 1 has moved, 2 stays, 3 goes to 2's
    module._carry_out(np.arange(4, dtype=np.int32), wish, place_of, at, np.zeros(4, dtype=np.int64), 1, 0, 4)
    assert place_of.tolist() == [1, 0, 3, 2] == at.tolist()


def test_heat_leads_out_of_what_cold_exchanges_are_stuck_in():
    places, friends, costs, similarity = layer()
    cold = exchange(places, places, friends, costs, COLD, 7)
    warm = exchange(places, places, friends, costs, Heat(2, 0.05, 200), 7)
    assert loss(warm, friends, costs, places) < loss(cold, friends, costs, places)
    before, after = (tm.measure_layout(tm.Layout(p), similarity, progress=False) for p in (places, warm))
    assert after.trustworthiness > before.trustworthiness + 0.02
    assert after.continuity > before.continuity - 0.002
    assert after.knn > before.knn + 0.1


@pytest.mark.parametrize("exact", [True, False])
def test_neither_threads_nor_their_number_change_a_byte(exact, monkeypatch):
    monkeypatch.setattr(ranks, "EXACT", 8_192 if exact else 100)
    places, friends, costs, _ = layer()
    assert (costs.rows is None) == exact
    found = []
    monkeypatch.setattr(module, "_EACH", 1)
    for threads in (1, 2, 5):
        monkeypatch.setattr(module, "n_threads", lambda threads=threads: threads)
        found.append(exchange(places, places, friends, costs, Heat(1, 0.1, 10), 7))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], exchange(places, places, friends, costs, Heat(1, 0.1, 10), 8))


def test_estimated_ranks_serve_nearly_as_well(monkeypatch):
    scores = []
    for exact in (8_192, 100):
        monkeypatch.setattr(ranks, "EXACT", exact)
        places, friends, costs, similarity = layer()
        quality = tm.measure_layout(
            tm.Layout(exchange(places, places, friends, costs, Heat(2, 0.05, 200), 7)), similarity, progress=False
        )
        scores.append((quality.trustworthiness, quality.continuity))
    assert np.subtract(*scores).max() < 0.01


@pytest.mark.parametrize("threads", [1, 2])
def test_the_bar_moves_by_every_sweep_and_changes_nothing(threads, monkeypatch):
    monkeypatch.setattr(module, "_EACH", 1)
    monkeypatch.setattr(module, "n_threads", lambda: threads)
    places, friends, costs, _ = layer(60)
    whole = exchange(places, places, friends, costs, Heat(1, 0.1, 20), 7)
    monkeypatch.setattr(module, "_AT_ONCE", 60 * 3)
    steps = []
    bar = SimpleNamespace(update=lambda by=1: steps.append(by))
    np.testing.assert_array_equal(exchange(places, places, friends, costs, Heat(1, 0.1, 20), 7, bar), whole)
    assert steps == ([3] * 6 + [2] if threads == 1 else [1] * 20)


@pytest.mark.parametrize("n", [2, 5, 11])
def test_very_few_neurons_exchange_too(n):
    rng = np.random.default_rng(0)
    similarity = tm.correlate(rng.normal(size=(30, n)))
    k = n // 2
    indices, _ = similarity.neighbors(n - 1)
    costs = penalties(similarity, indices, np.zeros((n, 2)), np.arange(n), k)
    places = rng.normal(size=(n, 2))
    after = exchange(places, places, np.ascontiguousarray(indices[:, :k]), costs, Heat(1, 0.1, 20), 3)
    assert sorted(map(tuple, after)) == sorted(map(tuple, places))
