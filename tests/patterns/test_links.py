from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

import topomap as tm
from topomap.patterns import Patterns, link_patterns
from topomap.patterns.scale import Scale


def made(labels, ids=None, layer="layer"):
    """Patterns with these labels, as if they had been found."""
    labels = np.asarray(labels, dtype=np.int64)
    n = len(labels)
    return Patterns(
        labels=labels,
        probabilities=np.where(labels < 0, 0.0, 1.0),
        outlier_scores=np.zeros(n),
        persistence=np.linspace(1, 0.5, labels.max(initial=-1) + 1),
        features=np.zeros((n, 1)),
        rows=np.arange(n),
        inputs=tm.Inputs(np.arange(n) if ids is None else np.asarray(ids)),
        scale=Scale(np.ones(1)),
        layer=layer,
    )


def shuffled(patterns, seed):
    """The same patterns with their table and the rows in it in other orders, and inputs that were not used."""
    rng = np.random.default_rng(seed)
    n = patterns.n_rows
    place, order = rng.permutation(n + 3)[:n], rng.permutation(n)
    ids = np.array([f"unused {i}" for i in range(n + 3)], dtype=object)
    ids[place] = patterns.inputs.ids
    return replace(patterns, inputs=tm.Inputs(ids), rows=place[order], labels=patterns.labels[order])


def keyed(links):
    return {(link.step, link.a, link.b): link for link in links.links}


def test_by_hand():
    a = made([0, 0, 0, 0, 1, 1, -1, -1], layer="conv")
    b = made([1, 1, 1, -1, 0, 0, 0, -1], layer="fc")
    links = link_patterns(a, b)
    assert repr(links) == "PatternLinks(conv -> fc: 2 links of patterns over 8 inputs)"
    assert [(link.a, link.b, link.shared) for link in links.of()] == [(0, 1, 3), (1, 0, 2)]
    link = links.best(0)
    assert (link.share_a, link.share_b, link.jaccard, link.expected) == (3 / 4, 1, 3 / 4, 1.5)
    assert link.p == pytest.approx(4 / 56)  # three of three among the four of eight
    # that of (1, 0), 3 / 28, is the second of nine, and smaller times 9 / 2 than 4 / 56 times 9
    assert link.q == links.best(1).q == pytest.approx(3 / 28 * 9 / 2)
    assert {(link.a, link.b) for link in links.links if link.noise} == {(0, -1), (-1, 0), (-1, -1)}
    assert len(links) == 5
    assert links.n_tests == 9


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3)), min_size=1, max_size=40))
def test_links_are_those_of_sets(pairs):
    one, other = np.array(pairs).T
    links = link_patterns(made(one), made(other))
    n = len(one)
    p, keys = [], []
    for i in np.unique(one):
        for j in np.unique(other):
            shared, u, v = np.sum((one == i) & (other == j)), np.sum(one == i), np.sum(other == j)
            p.append(sum(hypergeom.pmf(k, n, u, v) for k in range(shared, min(u, v) + 1)))
            keys.append((0, int(i), int(j)))
            link = keyed(links).get(keys[-1])
            assert (link is not None) == (shared > 0)
            if link is not None:
                assert (link.shared, link.n_a, link.n_b) == (shared, u, v)
                assert link.jaccard == pytest.approx(shared / (u + v - shared))
                assert link.p == pytest.approx(p[-1], rel=1e-6)
    q = dict(zip(keys, false_discovery_control(np.minimum(p, 1)), strict=True))
    for key, link in keyed(links).items():
        assert link.q == pytest.approx(q[key], rel=1e-6)
    # with noise, the links of a pattern add up to it
    for i in np.unique(one):
        assert sum(link.shared for link in links.of(noise=True) if link.a == i) == np.sum(one == i)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_inputs_are_matched_by_ids_whatever_their_order(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(-1, 3, 30), rng.integers(-1, 3, 30)
    ids = np.array([f"id {i}" for i in range(30)], dtype=object)
    straight = link_patterns(made(one, ids), made(other, ids))
    mixed = link_patterns(shuffled(made(one, ids), seed), shuffled(made(other, ids), seed + 1))
    assert straight.links == mixed.links
    assert straight.n_shared == mixed.n_shared == (30,)


def test_inputs_of_one_layer_alone_are_left_out_and_counted():
    a = made([0, 0, 0, 1, 1], ids=[10, 11, 12, 13, 14])
    b = made([0, 0, 0, 0], ids=[14, 12, 11, 99])
    links = link_patterns(a, b)
    assert links.n_shared == (3,)
    assert links.n_only == ((2, 1),)
    assert {(k, link.shared, link.n_a, link.n_b) for k, link in keyed(links).items()} == {
        ((0, 0, 0), 2, 2, 3),
        ((0, 1, 0), 1, 1, 3),
    }


def test_a_sequence_of_layers_is_followed():
    first, second, third = [0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, -1], [0, 0, -1, -1, -1, -1]
    links = link_patterns({"a": made(first), "b": made(second), "c": made(third)})
    assert links.names == ("a", "b", "c")
    assert [(link.step, link.a, link.b) for link in links.follow(0)] == [(0, 0, 1), (1, 1, 0)]
    assert [(link.step, link.a, link.b) for link in links.follow(1)] == [(0, 1, 0)]  # lost to noise
    assert links.best(0, step=1) is None
    same = link_patterns([made(first), made(second), made(third, layer="fc")])
    assert same.names == ("layer (0)", "layer (1)", "fc")
    assert same.links == links.links
    data = links.to_xarray()
    assert data.sizes["link"] == len(links)
    assert data["from"].values.tolist() == [links.names[link.step] for link in links.table]
    np.testing.assert_array_equal(data["jaccard"], [link.jaccard for link in links.links])


def test_least_number_of_shared_inputs_does_not_change_q():
    a, b = made([0, 0, 0, 1, 1, 1]), made([0, 0, 1, 1, 1, 1])
    every, some = keyed(link_patterns(a, b)), link_patterns(a, b, min_shared=2)
    assert {key: every[key] for key in keyed(some)} == keyed(some)
    assert [link.shared for link in some.links] == [3, 2]


def test_layers_of_one_run():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 0.3, (30, 5)) for m in (-3, 0, 3)])
    table = tm.Inputs(np.arange(90))
    run = tm.Run(
        table,
        {
            ("a", "none"): tm.Activations(values, table, "a"),
            ("b", "none"): tm.Activations(values @ np.eye(5)[::-1], table, "b"),
        },
    )
    links = link_patterns(tm.find_patterns(run, min_cluster_size=15))
    assert links.names == ("a", "b")
    assert [link.jaccard for link in links.of()] == [1, 1, 1]
    assert max(link.q for link in links.of()) < 1e-10


@pytest.mark.parametrize(
    ("given_", "match"),
    [
        ((made([0, 0]),), "at least two layers"),
        (([made([0, 0])],), "at least two layers; got 1"),
        (([made([0, 0])] * 2, made([0, 0])), "either two Patterns"),
        ((made([0, 0]), "fc"), "must be of type Patterns; got str"),
        ((3,), "a must be of type list or tuple"),
        ((made([0, 0], ids=[1, 1]), made([0, 0])), "has 1 more than once"),
        ((made([0, 0]), made([0, 0], ids=["a", "b"])), "no input in common: their ids are 0, 1 and 'a', 'b'"),
    ],
)
def test_bad_input(given_, match):
    with pytest.raises(ValueError, match=match):
        link_patterns(*given_)


def test_there_is_no_such_step():
    with pytest.raises(ValueError, match="step must be one of 0; got 1"):
        link_patterns(made([0, 0]), made([0, 0])).of(1)
