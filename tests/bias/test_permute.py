"""Labellings: all of them, random ones, within blocks; null distributions against scipy and brute force."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from topomap.bias import measure_bias
from topomap.bias.effects import Table, estimate, statistics
from topomap.bias.permute import CHUNK, Shuffle, blocks_of
from topomap.run import Activations

from .test_effects import by_hand


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=6))
def test_every_distinct_labelling_once(units: list[tuple[int, int]]) -> None:
    codes, blocks = (np.array(column) for column in zip(*units, strict=True))
    orders = [p for p in permutations(range(len(codes))) if (blocks[list(p)] == blocks).all()]
    wanted = {tuple(codes[list(order)].tolist()) for order in orders}
    shuffle = Shuffle(codes, blocks)
    every = shuffle.every()
    assert {tuple(row) for row in every.tolist()} == wanted
    assert len(every) == len(wanted) == shuffle.count(10_000)
    assert every[0].tolist() == codes.tolist()
    assert shuffle.count(1) == min(2, len(wanted))
    assert np.exp(shuffle.log_count()) == pytest.approx(len(wanted))


def test_counts_of_many_units_need_no_large_numbers() -> None:
    shuffle = Shuffle(np.arange(100_000) % 2, np.zeros(100_000, dtype=np.int64))
    assert shuffle.count(1000) == 1001


def test_random_labellings_stay_in_their_blocks_and_come_again() -> None:
    codes, blocks = np.arange(40) % 3, np.arange(40) // 8
    drawn = np.concatenate(list(Shuffle(codes, blocks).draw(CHUNK + 44, [5, 0, 0])))
    assert drawn.shape == (CHUNK + 44, 40)
    for block in range(5):
        assert (np.sort(drawn[:, blocks == block]) == np.sort(codes[blocks == block])).all()
    again = np.concatenate(list(Shuffle(codes, blocks).draw(CHUNK + 44, [5, 0, 0])))
    assert (drawn == again).all()
    other = np.concatenate(list(Shuffle(codes, blocks).draw(CHUNK + 44, [6, 0, 0])))
    assert (drawn != other).any()
    # each code is as often at each place of its block
    share = np.mean(np.concatenate(list(Shuffle(codes, blocks).draw(20_000, [0])))[:, 0] == codes[1])
    assert share == pytest.approx(3 / 8, abs=0.02)


def test_blocks_are_units_of_equal_proportions() -> None:
    unit_of = np.array([0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 5])
    classes = np.array([0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1])
    blocks = blocks_of(unit_of, classes, 6)
    assert blocks[0] == blocks[1] == blocks[2]  # half and half, in any order and number
    assert blocks[3] == blocks[4] != blocks[5]
    assert len(set(blocks.tolist())) == 3
    rows = np.arange(5)
    assert len(set(blocks_of(rows, np.array([0, 1, 0, 2, 1]), 5).tolist())) == 3  # without units: classes


def welch(x: NDArray[Any], y: NDArray[Any], axis: int) -> NDArray[Any]:
    """Welch's t whose variances have one degree of freedom more, from that of both sides."""
    n = [x.shape[axis], y.shape[axis]]
    squares = [side.var(axis=axis) * size for side, size in zip((x, y), n, strict=True)]
    pooled = (squares[0] + squares[1]) / (sum(n) - 2)
    of_side = [(own + pooled) / size for own, size in zip(squares, n, strict=True)]
    of_cell = [(own + above) / size for own, above, size in zip(squares, of_side, n, strict=True)]
    error = of_cell[0] / n[0] + of_cell[1] / n[1]
    return np.asarray((x.mean(axis=axis) - y.mean(axis=axis)) / np.sqrt(error))


@pytest.mark.parametrize("n_a", [4, 5])
def test_null_distribution_is_scipys(n_a: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 3, n_a), rng.normal(size=10 - n_a)
    how: dict[str, Any] = {"n_resamples": np.inf, "vectorized": True}
    wanted = stats.permutation_test((a, b), welch, **how)
    if n_a == 5:  # of sides of equal size nothing is lent
        own = stats.permutation_test((a, b), lambda *x, axis: stats.ttest_ind(*x, axis=axis, equal_var=False)[0], **how)
        np.testing.assert_allclose(own.null_distribution, wanted.null_distribution, rtol=1e-9)
    table = Table.of(np.concatenate([a, b])[:, None], np.zeros(10, dtype=np.int64))
    labels = Shuffle(np.repeat([1, 0], [n_a, 10 - n_a]), np.zeros(10, dtype=np.int64)).every()
    null = statistics(table, labels == 1, np.float64)[:, 0]
    np.testing.assert_allclose(np.sort(null), np.sort(wanted.null_distribution), rtol=1e-5)
    np.testing.assert_allclose(
        np.sort(statistics(table, labels == 1)[:, 0]), np.sort(wanted.null_distribution), rtol=1e-4, atol=1e-5
    )
    acts = Activations.from_array(np.concatenate([a, b])[:, None], group=[1] * n_a + [0] * (10 - n_a))
    report = measure_bias(acts, "group", min_size=2)
    assert report.exact and report.n_permutations + 1 == len(labels) == len(wanted.null_distribution)
    # scipy doubles the smaller tail; two-sided here is by absolute value
    extreme = np.abs(wanted.null_distribution) >= abs(wanted.statistic) * (1 - 1e-9)
    assert report["1"].p[0] == pytest.approx(extreme.mean())


def test_mirrored_labellings_are_ties() -> None:
    values = np.random.default_rng(1).normal(size=(8, 20))
    report = measure_bias(Activations.from_array(values, group=np.arange(8) % 2), "group", min_size=2)
    counts = report["1"].p * 70
    np.testing.assert_allclose(counts % 2, 0, atol=1e-9)  # each comes with its mirror image


def _brute(values: NDArray[Any], classes: NDArray[Any], labellings: set[tuple[int, ...]]) -> NDArray[Any]:
    return np.array([by_hand(values, classes, np.array(row) == 1)["statistic"] for row in sorted(labellings)])


def test_stratified_null_distribution_is_brute_forces() -> None:
    rng = np.random.default_rng(2)
    classes = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    member = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0])
    values = rng.normal(size=(9, 3)) + 3 * classes[:, None]
    ways = product(set(permutations(member[:4].tolist())), set(permutations(member[4:].tolist())))
    labellings = {(*first, *second) for first, second in ways}
    assert len(labellings) == 30
    acts = Activations.from_array(values, label=classes, group=member)
    report = measure_bias(acts, "group", "label", min_size=2)
    assert report.exact and report.n_permutations == 29
    largest = np.zeros(30)
    for j in range(3):
        null = np.abs(_brute(values[:, j], classes, labellings))
        largest = np.maximum(largest, null)
        assert report["1"].p[j] == pytest.approx(np.mean(null >= abs(report["1"].statistic[j]) - 1e-4))
    for j in range(3):
        wanted = np.mean(largest >= abs(report["1"].statistic[j]) - 1e-4)
        assert report["1"].p_family[j] == pytest.approx(wanted)


@pytest.mark.parametrize("nested", [True, False])
def test_units_move_whole(nested: bool) -> None:
    rng = np.random.default_rng(3)
    sizes = np.array([2, 4, 2, 2, 4, 2, 2, 2, 4, 2, 2, 2])
    unit = np.repeat(np.arange(12), sizes)
    group = np.repeat([1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1], sizes)
    classes = np.repeat([0] * 6 + [1] * 6, sizes) if nested else np.arange(len(unit)) % 2
    values = rng.normal(size=(len(unit), 2))
    per_unit = group[np.unique(unit, return_index=True)[1]]
    halves = (per_unit[:6], per_unit[6:]) if nested else (per_unit,)
    parts = [Shuffle(half, np.zeros(len(half), dtype=np.int64)).every().tolist() for half in halves]
    labellings = {tuple(np.concatenate(way)[unit].tolist()) for way in product(*parts)}
    acts = Activations.from_array(values, label=classes, group=group, person=unit)
    report = measure_bias(acts, "group", "label", unit="person", n_permutations=2000)
    assert report.exact and report.n_permutations + 1 == len(labellings) == (400 if nested else 924)
    assert report.n_units == 12
    for j in range(2):
        null = np.abs(_brute(values[:, j], classes, labellings))
        assert report["1"].p[j] == pytest.approx(np.mean(null >= abs(report["1"].statistic[j]) - 1e-4))


def test_a_class_emptied_by_a_labelling_takes_no_part_in_it() -> None:
    table = Table.of(np.random.default_rng(4).normal(size=(8, 2)), np.array([0] * 6 + [1] * 2))
    member = np.array([True, True, False, False, False, False, True, True])
    alone = Table.of(table.values[:6], np.zeros(6, dtype=np.int64))
    wanted = estimate(alone, member[:6]).statistic
    np.testing.assert_allclose(statistics(table, member[None], np.float64)[0], wanted, rtol=1e-5)
