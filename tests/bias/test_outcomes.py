"""Outcomes: rates by hand, intervals against SciPy and by simulation, and what class imbalance does not do."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

import topomap as tm
from topomap.bias.outcomes import measure_outcomes
from topomap.bias.rates import wilson


def table(wrong: Any, group: Any, label: Any = None, **columns: Any) -> tm.Inputs:
    """Inputs of which these are predicted wrong."""
    wrong = np.asarray(wrong, dtype=bool)
    label = np.zeros(len(wrong), dtype=int) if label is None else np.asarray(label)
    return tm.Inputs(
        np.arange(len(wrong)),
        {"label": label, "prediction": np.where(wrong, label + 1, label), "group": group, **columns},
    )


def test_rates_and_their_intervals() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(["a", "b", "c"], [30, 50, 20])
    wrong = rng.random(100) < 0.3
    wrong[80:] = False
    confidence = rng.random(100)
    outcomes = measure_outcomes(table(wrong, group, confidence=confidence), by="group")
    assert [o.group for o in outcomes.by_group] == ["a", "b", "c"]
    for outcome in (*outcomes.by_group, outcomes.overall):
        at = np.ones(100, dtype=bool) if outcome.group == "overall" else group == outcome.group
        k, n = int(wrong[at].sum()), int(at.sum())
        assert (outcome.n_wrong, outcome.n, outcome.n_units) == (k, n, n)
        interval = binomtest(k, n).proportion_ci(method="wilson")
        rate = outcome.error_rate
        assert (rate.value, rate.low, rate.high) == (k / n, pytest.approx(interval.low), pytest.approx(interval.high))
        mean = ttest_1samp(confidence[at], 0).confidence_interval()
        sure = outcome.confidence
        assert sure is not None
        assert (sure.low, sure.high) == (pytest.approx(mean.low), pytest.approx(mean.high))
        assert sure.value == pytest.approx(confidence[at].mean())
    rates = {o.group: o.error_rate.value for o in outcomes.by_group}
    gap, ratio = outcomes.difference["error_rate"], outcomes.ratio["error_rate"]
    assert gap.value == pytest.approx(max(rates.values()) - min(rates.values()))
    assert (gap.lowest, ratio.value, ratio.low) == ("c", 0.0, 0.0)
    assert outcomes.by_class == ()
    assert not outcomes.adjusted_difference


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson(case: tuple[int, int]) -> None:
    k, n = case
    interval = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k / n, n) == (pytest.approx(interval.low, abs=1e-12), pytest.approx(interval.high, abs=1e-12))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_adjusted_by_hand(data: st.DataObject) -> None:
    cells = list(product("ab", range(3)))
    sizes = data.draw(st.lists(st.integers(0, 6), min_size=6, max_size=6))
    n_wrong = [data.draw(st.integers(0, n)) for n in sizes]
    sizes[0], sizes[3], n_wrong[0] = 6, 6, min(n_wrong[0], 6)
    group = np.concatenate([[g] * n for (g, _), n in zip(cells, sizes, strict=True)])
    label = np.concatenate([np.full(n, c) for (_, c), n in zip(cells, sizes, strict=True)])
    wrong = np.concatenate([np.arange(n) < k for n, k in zip(sizes, n_wrong, strict=True)])
    outcomes = measure_outcomes(table(wrong, group, label), by="group", within="label", n_bootstrap=40)
    total = a = b = 0.0
    untested = []
    for c in range(3):
        n_a, n_b = sizes[c], sizes[c + 3]
        if n_a and n_b:
            w = n_a * n_b / (n_a + n_b)
            total, a, b = total + w, a + w * n_wrong[c] / n_a, b + w * n_wrong[c + 3] / n_b
        elif n_a or n_b:
            untested.append(str(c))
    gap, ratio = outcomes.adjusted_difference["error_rate"], outcomes.adjusted_ratio["error_rate"]
    assert gap.value == pytest.approx(abs(a - b) / total)
    assert list(outcomes.untested) == untested
    if max(a, b) == 0:
        assert ratio.value is None
        assert "no error in either" in repr(ratio)
    else:
        assert ratio.value == pytest.approx(min(a, b) / max(a, b))
        if a != pytest.approx(b):  # equal ones are in the order of rounding
            assert (gap.highest, gap.lowest) == (("a", "b") if a >= b else ("b", "a"))
    json.dumps(outcomes.to_dict(), allow_nan=False)


def test_class_imbalance_is_no_bias() -> None:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 4000)
    group = np.where(rng.random(4000) < np.where(label == 1, 0.8, 0.2), "b", "a")
    wrong = rng.random(4000) < np.where(label == 1, 0.4, 0.1)
    outcomes = measure_outcomes(table(wrong, group, label), by="group", within="label")
    crude, adjusted = outcomes.difference["error_rate"], outcomes.adjusted_difference["error_rate"]
    assert crude.low is not None and crude.low > 0.1
    assert adjusted.low is not None and adjusted.high is not None
    assert adjusted.low < 0 < adjusted.high
    assert adjusted.high - adjusted.low < 0.1
    ratio = outcomes.adjusted_ratio["error_rate"]
    assert ratio.low is not None and ratio.high is not None
    assert ratio.low < 1 < ratio.high


def simulate(n_groups: int, rate: float, n: int = 60, times: int = 150) -> tuple[float, float]:
    """Share of simulations whose intervals of difference and ratio hold what is true: no difference."""
    rng = np.random.default_rng(n_groups)
    group = np.repeat([f"g{i}" for i in range(n_groups)], n)
    hits = np.zeros(2)
    for _ in range(times):
        outcomes = measure_outcomes(table(rng.random(n * n_groups) < rate, group), by="group", n_bootstrap=150)
        gap, ratio = outcomes.difference["error_rate"], outcomes.ratio["error_rate"]
        assert gap.low is not None and ratio.low is not None and ratio.high is not None
        hits += gap.low <= 0, ratio.low <= 1 <= ratio.high
    return tuple((hits / times).tolist())


@pytest.mark.parametrize("n_groups", [2, 5])
def test_intervals_hold_although_the_furthest_pair_is_picked(n_groups: int) -> None:
    for share in simulate(n_groups, 0.3):
        assert 0.9 <= share <= 0.99


def test_units_widen_intervals() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 25)
    wrong = np.repeat(rng.random(40) < 0.3, 25)  # all pictures of a person, or none
    group = np.where(person < 20, "a", "b")
    inputs = table(wrong, group, person=person)
    alone, units = measure_outcomes(inputs, by="group"), measure_outcomes(inputs, by="group", unit="person")
    assert (units.by_group[0].n, units.by_group[0].n_units) == (500, 20)
    for plain, wide in zip(alone.by_group, units.by_group, strict=True):
        assert wide.error_rate.high - wide.error_rate.low > 3 * (plain.error_rate.high - plain.error_rate.low)
    rate = units.by_group[0].error_rate
    exact = binomtest(int(wrong[person < 20].sum() / 25), 20).proportion_ci(method="wilson")
    assert rate.low == pytest.approx(exact.low, abs=0.06)
    assert rate.high == pytest.approx(exact.high, abs=0.06)
    gaps = [each.difference["error_rate"] for each in (alone, units)]
    assert gaps[1].high - gaps[1].value > 3 * (gaps[0].high - gaps[0].value)
    with pytest.raises(ValueError, match="varies within"):
        measure_outcomes(
            table(wrong, np.where(np.arange(1000) % 2, "a", "b"), person=person), by="group", unit="person"
        )


def test_no_errors_and_nothing_but_errors() -> None:
    person = np.repeat(np.arange(12), 3)
    inputs = table(np.zeros(36), np.where(person % 2, "a", "b"), person=person)
    outcomes = measure_outcomes(inputs, by="group", unit="person")
    assert outcomes.by_group[0].error_rate.high == pytest.approx(binomtest(0, 6).proportion_ci(method="wilson").high)
    gap = outcomes.difference["error_rate"]
    assert (gap.value, gap.low, gap.high) == (0.0, None, None)
    assert outcomes.ratio["error_rate"].value is None
    assert outcomes.metrics == ("error_rate",)
    every = measure_outcomes(table(np.ones(36), np.where(person % 2, "a", "b")), by="group")
    assert every.ratio["error_rate"].value == 1.0


def test_intersections_small_groups_and_missing_values() -> None:
    age = np.array(["old"] * 20 + ["young"] * 20 + [""], dtype=object)
    sex = np.array((["f"] * 3 + ["m"] * 17) + ["f"] * 20 + ["m"], dtype=object)
    inputs = table(np.arange(41) % 3 == 0, age, sex=sex)
    prediction = inputs["prediction"].astype(float)
    prediction[25] = np.nan
    outcomes = measure_outcomes(inputs.with_columns(prediction=prediction), by=("group", "sex"))
    assert [o.group for o in outcomes.by_group] == ["old, m", "young, f"]
    assert outcomes.by_group[1].n == 19
    ((name, count, why),) = outcomes.excluded
    assert (name, count) == ("old, f", 3)
    assert "fewer than 5" in why
    assert dict(outcomes.left_out)["no label or prediction"] == 1


def test_activations_give_the_same_and_seeds_decide() -> None:
    rng = np.random.default_rng(0)
    inputs = table(rng.random(60) < 0.4, np.repeat([0, 1], 30), confidence=rng.random(60))
    rows = np.repeat(np.arange(60), 2)
    acts = tm.Activations(np.zeros((120, 2)), inputs, rows=rows)
    one, other = measure_outcomes(inputs, by="group").to_dict(), measure_outcomes(acts, by="group").to_dict()
    assert {**one, "provenance": 0} == {**other, "provenance": 0}
    again = measure_outcomes(inputs, by="group", seed=1).to_dict()
    assert again["difference"] != one["difference"]
    some = measure_outcomes(acts.select(np.arange(60) >= 10), by="group")
    assert [o.n for o in some.by_group] == [20, 30]


def test_words() -> None:
    inputs = table(np.arange(40) % 4 == 0, np.repeat(["a", "b"], 20), np.arange(40) % 2)
    outcomes = measure_outcomes(inputs, by="group", within="label")
    assert repr(outcomes).startswith("Outcomes(by group within label: wrong a 5/20, b 5/20; adjusted difference of")
    assert "Wilson" in outcomes.method_text()
    plain = measure_outcomes(table(np.arange(40) >= 30, np.arange(40) >= 24), by="group")
    # a ratio is never told as if it were the other way round
    assert repr(plain.difference["error_rate"]).endswith("(highest True; lowest False)")
    assert repr(plain.ratio["error_rate"]).startswith("0 [") and "lowest False" in repr(plain.ratio["error_rate"])
    assert "ratios (lowest over highest)" in plain.method_text()
    data = outcomes.to_xarray()
    assert data["value"].sel(metric="error_rate").values[:3].tolist() == [0.25, 0.25, 0.25]
    assert data.sizes["outcome"] == 1 + 2 + 4


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (tm.Inputs(np.arange(9), {"group": np.arange(9) % 2}), {}, "outcomes compare predictions with labels.*neither"),
        (table(np.ones(9), np.zeros(9)), {}, "every input is of one group"),
        (table(np.ones(9), np.arange(9)), {}, "large enough"),
        (table(np.ones(12), np.arange(12) % 2), {"n_bootstrap": 3}, "n_bootstrap must be at least 40"),
        (table(np.ones(12), np.arange(12) % 2).with_columns(prediction=np.full(12, np.nan)), {}, "no outcomes"),
        ({"label": [0]}, {}, "source must be of type"),
    ],
)
def test_bad_input(inputs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_outcomes(inputs, by="group", **options)


def test_overlapping_groups_are_refused() -> None:
    from scipy.sparse import csr_array

    groups = tm.Groups(("a", "b"), csr_array(np.ones((2, 12))))
    with pytest.raises(ValueError, match="overlap"):
        measure_outcomes(table(np.ones(12), np.arange(12) % 2), by=groups)


def test_attribute_that_is_the_class() -> None:
    label = np.arange(40) % 2
    outcomes = measure_outcomes(table(np.arange(40) % 5 == 0, label, label), by="group", within="label")
    gap = outcomes.adjusted_difference["error_rate"]
    assert gap.value is None
    assert "no class holds two groups" in repr(gap)
    assert outcomes.untested == ("0", "1")
    json.dumps(outcomes.to_dict(), allow_nan=False)
