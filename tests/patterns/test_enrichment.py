from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, fisher_exact, mannwhitneyu

import topomap as tm
from topomap.patterns import Patterns
from topomap.patterns.enrichment import adjusted, enrich
from topomap.patterns.scale import Scale


def made(labels, **columns):
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
        inputs=tm.Inputs(np.arange(n), columns),
        scale=Scale(np.ones(1)),
    )


def rows_of(tested, pattern, column):
    return {row.value: row for row in tested.enrichment if (row.pattern, row.column) == (pattern, column)}


def test_by_hand():
    # pattern 0: a a a b; noise: b b b b a b
    tested = enrich(made([0, 0, 0, 0] + [-1] * 6, kind=list("aaab") + list("bbbbab")), None)
    a = rows_of(tested, 0, "kind")["a"]
    assert (a.count, a.n, a.share, a.overall) == (3, 4, 0.75, 0.4)
    assert a.odds_ratio == 3 * 5 / (1 * 1)
    # 3 or 4 of the 4 a's among 4 of 10: (4 * 6 + 1) / 210
    assert a.p == pytest.approx(25 / 210)
    assert tested.n_tests == 4
    assert a.q == pytest.approx(2 * 25 / 210)  # noise has as many b's by the same chance
    assert {row.pattern for row in tested.enrichment} == {0, -1}


def test_odds_ratios_are_finite():
    tested = enrich(made([0] * 5 + [-1] * 5, kind=["a"] * 5 + ["b"] * 5), "kind")
    row = rows_of(tested, 0, "kind")["a"]
    assert row.odds_ratio == (5.5 * 5.5) / (0.5 * 0.5)
    assert all(np.isfinite(each.odds_ratio) for each in tested.enrichment)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(2, 4))
def test_p_is_fishers_and_q_is_over_all_pairs(seed, n_patterns, n_values):
    rng = np.random.default_rng(seed)
    labels, kind = rng.integers(-1, n_patterns, 40), rng.integers(0, n_values, 40)
    labels[:n_patterns], kind[:n_values] = np.arange(n_patterns), np.arange(n_values)
    patterns = made(labels, kind=kind)
    tested = enrich(patterns, "kind")
    p, keys = [], []
    for k in patterns.ids:
        for value in np.unique(kind):
            inside, having = labels == k, kind == value
            table = [[np.sum((inside == i) & (having == j)) for j in (True, False)] for i in (True, False)]
            p.append(fisher_exact(table, alternative="greater")[1])
            keys.append((k, str(value)))
    q = dict(zip(keys, false_discovery_control(p), strict=True))
    assert tested.n_tests == len(p)
    for row in tested.enrichment:
        assert row.p == pytest.approx(p[keys.index((row.pattern, row.value))], rel=1e-9)
        assert row.q == pytest.approx(q[row.pattern, row.value], rel=1e-9)
        assert row.count > 0
    assert sum(row.count for row in tested.enrichment) == 40


def test_missing_values_count_neither_as_members_nor_as_inputs():
    kind = ["a", "a", "", "b", "b", "b", "", "a"]
    tested = enrich(made([0, 0, 0, 0, -1, -1, -1, -1], kind=kind), "kind")
    row = rows_of(tested, 0, "kind")["a"]
    assert (row.count, row.n, row.share, row.overall) == (2, 3, 2 / 3, 0.5)


def test_measurements_are_compared_by_ranks():
    rng = np.random.default_rng(0)
    age = np.round(rng.normal(40, 10, 60), 1)  # with ties
    age[:20] += 15
    age[5] = np.nan
    tested = enrich(made([0] * 20 + [1] * 20 + [-1] * 20, age=age, label=rng.integers(0, 3, 60)), None)
    row = next(row for row in tested.shifts if row.pattern == 0)
    members, rest = np.delete(age[:20], 5), age[20:]
    u, p = mannwhitneyu(members, rest, method="asymptotic")
    assert (row.n, row.median, row.median_rest) == (19, np.median(members), np.median(rest))
    assert row.p == pytest.approx(p)
    wins = (members[:, None] > rest).mean() + (members[:, None] == rest).mean() / 2
    assert row.superiority == pytest.approx(wins) == pytest.approx(u / (19 * 40))
    assert tested.n_tests == 3 * 3 + 3
    assert not rows_of(tested, 0, "age")


def test_what_is_a_category_and_what_is_left_out():
    n = 40
    columns = {
        "label": np.arange(n) % 20,
        "prediction": np.append(np.nan, np.arange(1, n) % 20),  # codes, some of them missing
        "few": (np.arange(n) % 3).astype(float),
        "file": [f"{i}.png" for i in range(n)],
        "same": ["x"] * n,
        "none": [None] * n,
        "person": np.arange(n) // 2,
    }
    tested = enrich(made(np.arange(n) % 4 - 1, **columns), None)
    assert {row.column for row in tested.enrichment} == {"label", "prediction", "few", "person"}
    assert tested.shifts == ()
    assert set(tested.left_out) == {"file", "same", "none", "correct"}  # all are correct, or not known to be
    asked = enrich(made(np.arange(n) % 4 - 1, **columns), ["file"])
    assert {row.column for row in asked.enrichment} == {"file"}


def test_by_names_several_columns_or_their_intersection():
    patterns = made([0, 0, 0, -1, -1, -1], label=[0, 0, 1, 1, 1, 0], prediction=[0, 1, 1, 1, 0, 0])
    patterns = replace(patterns, inputs=replace(patterns.inputs, classes=("cat", "dog")))
    apart = enrich(patterns, ("label", "prediction"))
    assert {row.column for row in apart.enrichment} == {"label", "prediction"}
    assert rows_of(apart, 0, "label")["cat"].count == 2
    both = enrich(patterns, [("label", "prediction")])
    assert rows_of(both, 0, "label x prediction")["cat, dog"].count == 1
    with pytest.raises(ValueError, match="column must be one of 'label'"):
        enrich(patterns, "lable")


def test_inputs_that_were_not_used_do_not_count():
    patterns = made([0, 0, -1, -1], kind=list("abab"))
    table = tm.Inputs(np.arange(6), {"kind": list("cacbab")})  # the table goes on, in another order
    sub = replace(patterns, inputs=table, rows=np.array([1, 3, 4, 5]))
    whole, part = enrich(patterns, "kind"), enrich(sub, "kind")
    assert whole.enrichment == part.enrichment


def test_no_pattern_and_no_column():
    everything = enrich(made([-1] * 6, kind=list("aabbcc")), None)
    assert [row.p for row in everything.enrichment] == [1, 1, 1]
    assert enrich(made([0, 0, -1]), None).n_tests == 0


def test_false_discovery_rates_with_tests_that_are_not_listed():
    p = np.array([0.001, 0.02, 0.9])
    np.testing.assert_allclose(adjusted(p, 10), false_discovery_control(np.append(p, np.ones(7)))[:3])
    assert len(adjusted(np.empty(0), 4)) == 0
