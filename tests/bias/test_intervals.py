"""Intervals of effects hold the truth as often as they say, drawn from few inputs or units too."""

from __future__ import annotations

import numpy as np
import pytest

from topomap.bias.effects import Table, estimate
from topomap.bias.intervals import bootstrap

REPEATS = 500


def covered(limits: tuple[np.ndarray, np.ndarray], truth: float) -> float:
    return float(((limits[0] <= truth) & (truth <= limits[1])).mean())


@pytest.mark.parametrize("truth", [0.0, 1.0])
@pytest.mark.parametrize(
    ("group", "others"), [([50], [50]), ([5], [95]), ([5] * 8, [5] * 8), ([2, 18] * 4, [18, 2] * 4)]
)
def test_analytic_intervals_cover(group: list[int], others: list[int], truth: float) -> None:
    table, member = _cells(group, others, truth)
    assert 0.92 <= covered(estimate(table, member).interval(), truth) <= 0.98


@pytest.mark.parametrize("truth", [0.0, 1.0])
@pytest.mark.parametrize("wide", [3.0, 1 / 3])
@pytest.mark.parametrize(
    ("group", "others"),
    [([20], [180]), ([10], [90]), ([5] * 8, [5] * 8), ([2] * 9, [18] * 9), ([1, 4] * 5, [9] * 10)],
)
def test_analytic_intervals_cover_where_one_side_is_wide(
    group: list[int], others: list[int], wide: float, truth: float
) -> None:
    table, member = _cells(group, others, truth, wide)
    assert 0.92 <= covered(estimate(table, member).interval(), truth) <= 0.985


@pytest.mark.parametrize("truth", [0.0, 1.0])
@pytest.mark.parametrize(("group", "others"), [([5], [5]), ([5] * 8, [5] * 8), ([5] * 4, [30] * 4)])
def test_intervals_drawn_from_few_inputs_cover(group: list[int], others: list[int], truth: float) -> None:
    table, member = _cells(group, others, truth)
    assert 0.9 <= covered(bootstrap(table, member, None, [0]), truth) <= 0.98


@pytest.mark.parametrize("truth", [0.0, 1.0])
@pytest.mark.parametrize(("n_group", "n_others", "n_classes"), [(5, 5, 1), (5, 20, 1), (12, 12, 4)])
def test_intervals_drawn_from_few_units_cover(n_group: int, n_others: int, n_classes: int, truth: float) -> None:
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(n_group + n_others), 8)
    member, classes = unit < n_group, unit % n_classes
    own = rng.normal(size=(n_group + n_others, REPEATS))[unit] * np.sqrt(0.3)
    table = Table.of(own + np.sqrt(0.7) * rng.normal(size=own.shape) + truth * member[:, None], classes)
    found = bootstrap(table, member[table.order], unit[table.order], [0])
    assert 0.9 <= covered(found, truth) <= 0.985


def test_dead_neurons_have_no_interval() -> None:
    table = Table.of(np.column_stack([np.ones(20), np.arange(20.0)]), np.zeros(20, dtype=np.int64))
    low, high = bootstrap(table, np.arange(20) % 2 == 0, None, [0])
    assert (low[0], high[0]) == (0, 0) and low[1] < 0 < high[1]


def _cells(group: list[int], others: list[int], truth: float, wide: float = 1) -> tuple[Table, np.ndarray]:
    """Draw classes of a group and others whose means differ by `truth` deviations, one side `wide` times the other."""
    rng = np.random.default_rng(0)
    member = np.concatenate([np.arange(a + b) < a for a, b in zip(group, others, strict=True)])
    classes = np.repeat(np.arange(len(group)), np.add(group, others))
    df = [sum(side) - len(side) for side in (group, others)]
    pooled = np.sqrt((df[0] * wide**2 + df[1]) / sum(df))
    values = rng.normal(size=(len(member), REPEATS)) * np.where(member, wide, 1)[:, None]
    table = Table.of(values + truth * pooled * member[:, None] + 3 * classes[:, None], classes)
    return table, member[table.order]
