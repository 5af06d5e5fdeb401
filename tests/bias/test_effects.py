"""Pooled differences, their effect sizes, and statistics of many labellings at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from topomap.bias.effects import Table, estimate, shares, small_sample, statistics, weighted_estimates


def by_hand(values: NDArray[np.float64], classes: NDArray[np.int64], member: NDArray[np.bool_]) -> dict[str, float]:
    """One neuron, cell by cell, in plain loops."""
    cells = []
    for c in np.unique(classes):
        a, b = values[(classes == c) & member], values[(classes == c) & ~member]
        if len(a) and len(b):
            cells.append((a, b, len(a) * len(b) / (len(a) + len(b))))
    weight = sum(w for *_, w in cells)
    difference = sum(w * (a.mean() - b.mean()) for a, b, w in cells) / weight
    squares = [[side.var() * len(side) for side in cell[:2]] for cell in cells]
    df = [sum(len(cell[side]) - 1 for cell in cells) for side in (0, 1)]
    pooled = np.sum(squares) / sum(df)
    # every variance has one degree of freedom of the one above it: cell, side, both sides
    of_side = (np.sum(squares, axis=0) + pooled) / (np.array(df) + 1)
    error = 0.0
    for cell, own in zip(cells, squares, strict=True):
        for side in (0, 1):
            n = len(cell[side])
            error += cell[2] ** 2 * (own[side] + of_side[side]) / n / n
    return {
        "difference": difference,
        "effect": (1 - 3 / (4 * sum(df) - 1)) * difference / np.sqrt(pooled),
        "statistic": difference * weight / np.sqrt(error),
    }


def test_hedges_g_by_hand() -> None:
    # means 2 and 4, squares within 2 + 8 over 4 degrees of freedom: s^2 = 2.5, J = 1 - 3 / 15 = 0.8
    values = np.array([[1.0], [2.0], [3.0], [2.0], [4.0], [6.0]])
    member = np.array([True] * 3 + [False] * 3)
    table = Table.of(values, np.zeros(6, dtype=np.int64))
    found = estimate(table, member)
    g = -0.8 * 2 / np.sqrt(2.5)
    assert found.effect[0] == pytest.approx(g, rel=1e-6)
    assert (found.difference * table.scale)[0] == pytest.approx(-2, rel=1e-6)
    assert found.statistic[0] == pytest.approx(-2 / np.sqrt(2.5 * 2 / 3), rel=1e-6)
    # both sides weigh alike: 10^2 / (2^2 / 4 + 8^2 / 4) - 2 degrees of freedom
    df = 100 / 17 - 2
    half = stats.t.ppf(0.975, df) * np.sqrt(0.64 * (1 / 3 + 1 / 3) + g**2 * 17 / 200)
    assert [limit[0] for limit in found.interval()] == pytest.approx([g - half, g + half], rel=1e-6)
    assert (found.df, found.error_df[0]) == (4, pytest.approx(df))


@pytest.mark.parametrize("n", [2, 7, 30])
def test_sides_of_equal_size_have_welchs_t(n: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.normal(size=(2 * n, 5)) * np.where(np.arange(2 * n) < n, 3, 1)[:, None]
    found = estimate(Table.of(values, np.zeros(2 * n, dtype=np.int64)), np.arange(2 * n) < n)
    wanted = stats.ttest_ind(values[:n], values[n:], equal_var=False).statistic
    np.testing.assert_allclose(found.statistic, wanted, rtol=1e-5)


def test_sides_of_many_rows_have_welchs_t_and_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = 3 * rng.normal(size=(400, 5)) + 0.3, rng.normal(size=(3600, 5))
    found = estimate(Table.of(np.concatenate([a, b]), np.zeros(4000, dtype=np.int64)), np.arange(4000) < 400)
    wanted = stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(found.statistic, wanted.statistic, rtol=1e-4)
    np.testing.assert_allclose(found.error_df, wanted.df, rtol=0.005)
    # the error of the pooled deviation adds next to nothing to so small a difference
    deviation = np.sqrt((399 * a.var(axis=0, ddof=1) + 3599 * b.var(axis=0, ddof=1)) / 3998)
    for mine, limits in zip(found.interval(), wanted.confidence_interval(), strict=True):
        np.testing.assert_allclose(mine, limits / deviation, rtol=0.002, atol=0.002)
    # classes of such sides: Welch's errors added up
    three = estimate(Table.of(np.concatenate([a, b] * 3), np.repeat([0, 1, 2], 4000)), np.arange(12000) % 4000 < 400)
    np.testing.assert_allclose(three.statistic, np.sqrt(3) * wanted.statistic, rtol=1e-4)


def test_a_side_of_single_rows_has_the_variance_of_the_other() -> None:
    values = np.array([[9.0], [1.0], [2.0], [3.0], [6.0]])
    member = np.arange(5) == 0
    found = estimate(Table.of(values, np.zeros(5, dtype=np.int64)), member)
    assert found.statistic[0] == pytest.approx(6 / np.sqrt(14 / 3 * (1 + 1 / 4)), rel=1e-6)  # 14 over 3, means 9 and 3
    a, b = shares(np.array([1, 1, 5]), np.array([1, 0, 0]))
    assert a[1:].tolist() == b[1:].tolist() == [0, 0]


def test_two_classes_by_hand() -> None:
    # class 0: 1 against 3, weight 1/2; class 1: means 7 and 4, weight 4/4 = 1; pooled (-1 + 3) / 1.5
    values = np.array([[1.0], [3.0], [6.0], [8.0], [3.0], [5.0]])
    classes, member = np.array([0, 0, 1, 1, 1, 1]), np.array([True, False, True, True, False, False])
    table = Table.of(values, classes)
    assert (estimate(table, member).difference * table.scale)[0] == pytest.approx(4 / 3, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(8, 40), n_classes=st.integers(1, 5), offset=st.sampled_from([0, 1e4]))
def test_pooled_effects_equal_plain_loops(seed: int, n: int, n_classes: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    classes = np.unique(rng.integers(0, n_classes, n), return_inverse=True)[1]
    member = rng.random(n) < 0.4
    member[:2], classes[:4] = [True, False], classes[0]
    classes = np.unique(classes, return_inverse=True)[1]
    values = rng.normal(size=(n, 3)) * [1, 10, 0.1] + offset
    table = Table.of(values, classes)
    found = estimate(table, member[table.order])
    for j in range(3):
        wanted = by_hand(values[:, j], classes, member)
        assert found.effect[j] == pytest.approx(wanted["effect"], rel=1e-4, abs=1e-6)
        assert found.statistic[j] == pytest.approx(wanted["statistic"], rel=1e-4, abs=1e-6)
        assert found.difference[j] * table.scale[j] == pytest.approx(wanted["difference"], rel=1e-4, abs=1e-6)


def test_many_labellings_at_once_equal_one_by_one() -> None:
    rng = np.random.default_rng(1)
    classes = np.array([0] * 10 + [1] * 3 + [2] * 7 + [3])
    table = Table.of(rng.normal(size=(21, 5)), classes)
    members = rng.random((50, 21)) < 0.3  # classes of one side occur
    members[:, :2] = [True, False]
    one_by_one = np.array([estimate(table, member).statistic for member in members])
    np.testing.assert_allclose(statistics(table, members, np.float64), one_by_one, rtol=1e-9, atol=1e-9)
    assert statistics(table, members).dtype == np.float32
    np.testing.assert_allclose(statistics(table, members), one_by_one, rtol=2e-5, atol=2e-5)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    table = Table.of(rng.normal(size=(30, 4)), np.repeat([0, 1], 15))
    members = rng.random((20, 30)) < 0.5
    whole = statistics(table, members, np.float64)
    monkeypatch.setattr("topomap.bias.effects.BLOCK_ENTRIES", 100)
    np.testing.assert_allclose(statistics(table, members, np.float64), whole, rtol=1e-12)


def test_constant_neurons_are_zero_and_perfect_ones_finite() -> None:
    member = np.tile([True, False], 10)
    values = np.column_stack([np.full(20, 3.3), np.repeat([0.0, 5.0], 10), member * 2.0])
    table = Table.of(values, np.repeat([0, 1], 10))
    found = estimate(table, member)
    assert table.dead.tolist() == [True, True, False]  # the second varies between classes alone
    assert found.effect[:2].tolist() == [0, 0]
    assert np.isfinite(found.effect[2]) and found.effect[2] > 100
    assert found.interval()[0][:2].tolist() == [0, 0]
    assert statistics(table, member[None])[0, 2] == pytest.approx(found.statistic[2], rel=1e-3)


def test_rows_drawn_twice_count_twice() -> None:
    rng = np.random.default_rng(3)
    classes, member = np.repeat([0, 1], 12), np.tile([True, False, False], 8)
    table = Table.of(rng.normal(size=(24, 3)), classes)
    times = rng.integers(0, 3, (2, 24))
    times[0] = 1
    difference, variance = weighted_estimates(table, member, times)
    itself = estimate(table, member)
    np.testing.assert_allclose(difference[0], itself.difference, rtol=1e-5)
    np.testing.assert_allclose(variance[0], itself.variance, rtol=1e-5)
    rows = np.repeat(np.arange(24), times[1])
    for j in range(3):
        wanted = by_hand(table.values[rows, j].astype(float), classes[rows], member[rows])["effect"]
        effect = small_sample(len(rows) - 4) * difference[1, j] / np.sqrt(variance[1, j])
        assert effect == pytest.approx(wanted, rel=1e-4)
