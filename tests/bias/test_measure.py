"""measure_bias: what it reports, what it refuses, and how often it is wrong about random attributes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import topomap as tm
from topomap import Activations, Groups, Layout, measure_bias, measure_probe


def make(n: int = 200, n_neurons: int = 20, seed: int = 0, **columns: Any) -> Activations:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    values = rng.normal(size=(n, n_neurons)) + label[:, None]
    columns = {"label": label, "group": rng.integers(0, 2, n), **columns}
    return Activations.from_array(values, **columns)


def shifted(acts: Activations, where: NDArray[np.bool_], neurons: list[int], by: float = 1.0) -> Activations:
    values = np.array(acts.values)
    values[np.ix_(where, neurons)] += by
    return Activations.from_array(values, **acts.inputs.columns)


def grid(n: int) -> Layout:
    steps = np.linspace(-1, 1, n)
    return Layout(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), region="square")


def finite(thing: Any) -> bool:
    """Whether JSON holds it as it is, without NaN."""
    json.dumps(thing, allow_nan=False)
    return True


def test_planted_neurons_and_their_cluster_are_found() -> None:
    acts = make(n_neurons=64)
    planted = [9, 10, 17, 18]
    acts = shifted(acts, acts.column("group") == 1, planted, 0.8)
    report = measure_bias(acts, "group", "label", layout=grid(8), tfce=True)
    (contrast,) = report.contrasts
    assert (contrast.group, contrast.reference) == ("1", "0")
    assert set(planted) <= set(np.flatnonzero(contrast.p_family <= 0.05))
    cluster = report.clusters[0]
    assert set(planted) <= set(cluster.neurons.tolist()) and cluster.sign == 1 and cluster.peak in planted
    assert cluster.mass == pytest.approx(np.abs(contrast.statistic[cluster.neurons]).sum(), rel=1e-4)
    assert cluster.p == pytest.approx(1 / 1001)
    assert report.significant == report.clusters[:1]
    assert contrast.p_tfce is not None and set(planted) <= set(np.flatnonzero(contrast.p_tfce <= 0.05))
    assert (contrast.low < contrast.effect).all() and (contrast.effect < contrast.high).all()
    assert finite(report.to_dict())
    dataset = report.to_xarray()
    assert dataset["cluster"].values[0, cluster.neurons].tolist() == [1] * len(cluster)
    assert dataset["effect"].dims == ("contrast", "neuron")


def test_errors_are_those_of_welch() -> None:
    label, group = np.repeat([0, 1, 2], [40, 20, 2]), np.arange(62) % 2
    values = np.random.default_rng(0).normal(size=(62, 4)) * np.where(group == 1, 3, 1)[:, None]
    acts = Activations.from_array(values, label=label, group=group)
    found = measure_bias(acts, "group", "label", n_permutations=50)["1"]
    assert found.map_errors is not None and found.map_errors.shape == (3, 4)
    for c in (0, 1):
        a, b = values[(label == c) & (group == 1)], values[(label == c) & (group == 0)]
        wanted = np.sqrt((a.var(axis=0, ddof=1) + b.var(axis=0, ddof=1)) / len(a))
        np.testing.assert_allclose(found.map_errors[c] * found.deviation, wanted, rtol=1e-5)
    np.testing.assert_allclose(found.map_errors[2], np.sqrt(2))  # two inputs alone: the pooled deviation
    np.testing.assert_allclose(found.error * found.statistic, found.effect)


def test_signs_follow_the_group() -> None:
    acts = make()
    report = measure_bias(shifted(acts, acts.column("group") == 1, [3], -2.0), "group", "label")
    assert report["1"].effect[3] < -1 and report["1"].statistic[3] < -5 and report["1"].difference[3] < -1


def test_a_class_difference_is_not_called_bias() -> None:
    rng = np.random.default_rng(1)
    label = np.arange(400) % 2
    group = (rng.random(400) < np.where(label == 1, 0.8, 0.2)).astype(int)
    acts = Activations.from_array(rng.normal(size=(400, 10)) + label[:, None], label=label, group=group)
    assert (measure_bias(acts, "group")["1"].p_family <= 0.05).sum() >= 8
    assert (measure_bias(acts, "group", "label")["1"].p_family > 0.05).all()


def test_same_seed_same_report() -> None:
    acts = make(n_neurons=25)
    one, two, other = (
        measure_bias(acts, "group", "label", layout=grid(5), n_permutations=200, seed=seed) for seed in (1, 1, 2)
    )
    assert json.dumps(one.to_dict()) == json.dumps(two.to_dict())
    assert (one["1"].p != other["1"].p).any()


def test_true_against_false_and_a_group_by_name() -> None:
    acts = make(flag=np.arange(200) % 3 == 0)
    assert [(c.group, c.reference) for c in measure_bias(acts, "flag").contrasts] == [("True", "False")]
    assert [(c.group, c.reference) for c in measure_bias(acts, "flag", reference=True).contrasts] == [("False", "True")]
    assert [(c.group, c.reference) for c in measure_bias(acts, "flag", reference="True").contrasts] == [
        ("False", "True")
    ]


def test_several_groups_against_the_rest_share_one_correction() -> None:
    acts = make(n=300, site=np.arange(300) % 3)
    acts = shifted(acts, acts.column("site") == 2, [5], 1.0)
    report = measure_bias(acts, "site", "label", n_permutations=300)
    assert [(c.group, c.reference) for c in report.contrasts] == [("0", "rest"), ("1", "rest"), ("2", "rest")]
    assert report["2"].p_family[5] == pytest.approx(1 / 301)
    for contrast in report.contrasts:
        assert (contrast.p_family >= contrast.p - 1e-12).all()
    # alone, the second of two groups is one of fewer comparisons
    two = measure_bias(acts.select(where={"site": [0, 2]}), "site", "label", n_permutations=300)
    assert len(two.contrasts) == 1
    assert finite(report.to_dict())


def test_against_a_named_group_only_the_two_take_part() -> None:
    acts = make(n=300, site=np.array(["a", "b", "c"])[np.arange(300) % 3])
    acts = shifted(acts, acts.column("site") == "c", list(range(20)), 5.0)
    report = measure_bias(acts, "site", "label", reference="a", n_permutations=200)
    assert [(c.group, c.reference) for c in report.contrasts] == [("b", "a"), ("c", "a")]
    assert report["b"].n_group + report["b"].n_reference == 200
    assert "within classes, for each contrast among its two groups (seed 0)" in report.method_text()
    alone = measure_bias(acts.select(where={"site": ["a", "b"]}), "site", "label", n_permutations=200)
    np.testing.assert_allclose(report["b"].effect, alone["b"].effect, rtol=1e-5)
    assert (report["c"].p_family <= 0.05).all() and (report["b"].p > 0.005).all()


def test_overlapping_groups_against_the_rest() -> None:
    membership = np.zeros((2, 100))
    membership[0, :60], membership[1, 40:] = 1, 1
    acts = make(n=100)
    report = measure_bias(acts, Groups(("x", "y"), membership), n_permutations=100)
    assert [(c.group, c.reference, c.n_group, c.n_reference) for c in report.contrasts] == [
        ("x", "rest", 60, 40), ("y", "rest", 60, 40),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="groups overlap"):
        measure_bias(acts, Groups(("x", "y"), membership), reference="x")


def test_outcomes_where_predictions_are_known() -> None:
    acts = make()
    assert measure_bias(acts, "group", n_permutations=100).outcomes is None
    label, group = acts.column("label"), acts.column("group")
    acts = acts.with_labels(prediction=np.where((group == 1) & (np.arange(200) % 3 == 0), 1 - label, label))
    report = measure_bias(acts, "group", "label", n_permutations=100)
    assert report.outcomes is not None
    wanted = np.mean(np.arange(200)[group == 1] % 3 == 0)
    assert report.outcomes.difference["error_rate"].value == pytest.approx(wanted)
    assert finite(report.to_dict())
    assert measure_bias(acts, "correct", n_permutations=100).outcomes is None


def test_probe_where_it_is_asked_for() -> None:
    acts = make(80, 6)
    report = measure_bias(acts, "group", "label", probe=True, n_permutations=99, seed=4)
    expected = measure_probe(acts, "group", "label", seed=4)
    assert report.probe is not None
    assert report.probe.to_dict() == expected.to_dict() == report.to_dict()["probe"]
    assert measure_bias(acts, "group", "label", n_permutations=99).probe is None


def test_rows_of_an_input_move_together() -> None:
    rng = np.random.default_rng(0)
    inputs = tm.Inputs(np.arange(60), {"group": np.arange(60) % 2})
    values = np.repeat(rng.normal(size=(60, 4)), 9, axis=0).astype(np.float32)
    tokens = Activations(values, inputs, rows=np.repeat(np.arange(60), 9), reduce="tokens")
    found = measure_bias(tokens, "group", n_permutations=100)
    assert found.n_inputs == 60
    wanted = measure_bias(Activations(values[::9], inputs), "group", n_permutations=100)
    np.testing.assert_allclose(found["1"].p, wanted["1"].p)


def test_sparse_values_are_tested_as_dense_ones() -> None:
    from scipy import sparse

    acts = make()
    values = np.maximum(np.array(acts.values), 0).astype(np.float32)
    dense = Activations.from_array(values, **acts.inputs.columns)
    kept = Activations.from_array(sparse.csr_array(values), **acts.inputs.columns)
    one, two = (measure_bias(each, "group", "label", n_permutations=100) for each in (dense, kept))
    np.testing.assert_array_equal(one["1"].statistic, two["1"].statistic)


def test_missing_values_are_left_out_and_counted() -> None:
    group = np.array(["a", "b"] * 100, dtype=object)
    group[:7] = None
    label = np.arange(200) // 2 % 2 * 1.0
    label[[0, 50, 60]] = np.nan
    person = np.array([f"p{i // 5}{g}" for i, g in enumerate(group)], dtype=object)
    person[-4:] = ""
    acts = make(group=group, label=label, person=person)
    report = measure_bias(acts, "group", unit="person", n_permutations=100)
    assert report.left_out == (("no group", 7), ("no person", 4))
    report = measure_bias(make(group=group, label=label), "group", "label", n_permutations=100)
    assert report.left_out == (("no group", 7), ("no label", 2))
    assert report.n_inputs == 191
    assert "7 (no group)" in report.method_text()
    assert finite(report.to_dict())


def test_small_groups_are_excluded_with_the_reason() -> None:
    site = np.array(["a"] * 100 + ["b"] * 97 + ["c"] * 3)
    report = measure_bias(make(site=site), ("site",), n_permutations=100)
    assert report.names == ("a", "b") and report.n_inputs == 197
    assert report.excluded == (("c", 3, "3 inputs, fewer than 5"),)
    assert "c (3; 3 inputs, fewer than 5)" in report.method_text()
    crossed = measure_bias(make(site=site), ("site", "label"), n_permutations=100)
    assert crossed.names == ("a, 0", "a, 1", "b, 0", "b, 1")
    assert [name for name, _, _ in crossed.excluded] == ["c, 0", "c, 1"]


def test_classes_of_one_group_are_listed_as_untested() -> None:
    label = np.repeat([0, 1, 2], [100, 60, 40])
    group = np.where(label == 2, 1, np.arange(200) % 2)
    report = measure_bias(make(label=label, group=group), "group", "label", n_permutations=100)
    assert report.untested == (("1", "2", "no input of 0"),)
    cells = [(c.name, c.n_group, c.n_reference, c.tested) for c in report["1"].cells]
    assert cells == [("0", 50, 50, True), ("1", 30, 30, True), ("2", 40, 0, False)]
    assert report["1"].n_group == 80
    assert "Classes not tested: 2 (no input of 0)" in report.method_text()


def test_bootstrap_intervals_are_near_the_analytic_ones() -> None:
    acts = make(n=400)
    exact = measure_bias(acts, "group", "label", n_permutations=50)
    drawn = measure_bias(acts, "group", "label", n_permutations=50, interval="bootstrap")
    np.testing.assert_allclose(drawn["1"].low, exact["1"].low, atol=0.06)
    np.testing.assert_allclose(drawn["1"].high, exact["1"].high, atol=0.06)
    assert drawn["1"].interval == "bootstrap over inputs"
    label = np.repeat([0, 1], [394, 6])
    few = measure_bias(make(n=400, label=label), "group", "label", n_permutations=50, interval="bootstrap")
    assert [why for _, _, why in few.untested] == ["a cell of fewer than 5 inputs"]


def test_intervals_of_units_are_wider() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 10)
    values = rng.normal(size=(400, 8)) + rng.normal(size=(40, 8))[person]  # half of the variance is the person's
    acts = Activations.from_array(values, group=person % 2, person=person)
    rows, units = (measure_bias(acts, "group", unit=unit, n_permutations=100) for unit in (None, "person"))
    ratio = (units["1"].high - units["1"].low) / (rows["1"].high - rows["1"].low)
    assert (ratio > 1.5).all()
    assert units["1"].interval == "bootstrap over units"
    assert units.n_units == 40


def test_attribute_that_varies_within_a_unit() -> None:
    acts = make(person=np.arange(200) // 10)
    with pytest.raises(ValueError, match=r"varies within 20 of 20 units of person, '0' first"):
        measure_bias(acts, "group", unit="person")


def test_one_group_only() -> None:
    with pytest.raises(ValueError, match="every input is of one group of group, 'a'"):
        measure_bias(make(group=["a"] * 200), "group")


def test_group_of_one() -> None:
    with pytest.raises(ValueError, match="1 of 2 by group is large enough: b: 1 input, fewer than 5"):
        measure_bias(make(group=["a"] * 199 + ["b"]), "group")
    # asked for, a group of one has too few distinct permutations, or enough
    with pytest.raises(ValueError, match="have 10 distinct permutations, fewer than 1 / alpha = 20"):
        measure_bias(make(n=10, group=["a"] * 9 + ["b"]), "group", min_size=1)
    report = measure_bias(make(group=["a"] * 199 + ["b"]), "group", min_size=1)
    assert report.exact and report.n_permutations == 199 and finite(report.to_dict())


def test_attribute_identical_with_the_label() -> None:
    acts = make(group=np.arange(200) % 2)
    with pytest.raises(ValueError, match="no class of label holds inputs of two groups of group"):
        measure_bias(acts, "group", "label")


def test_ten_thousand_groups() -> None:
    values = np.zeros((20_000, 3), dtype=np.float32)
    acts = Activations.from_array(values, group=np.arange(20_000) // 2)
    with pytest.raises(ValueError, match=r"0 of 10,000 by group is large enough.*9,995 more"):
        measure_bias(acts, "group")
    with pytest.raises(ValueError, match="10,000 groups that are large enough; at most 100"):
        measure_bias(acts, "group", min_size=2)


def test_constant_neurons_are_dead() -> None:
    acts = make(n_neurons=9)
    values = np.array(acts.values)
    values[:, 4] = 7.7
    values[:, 5] = acts.column("label")
    acts = Activations.from_array(values, **acts.inputs.columns)
    report = measure_bias(acts, "group", "label", layout=grid(3), tfce=True, n_permutations=200)
    assert np.flatnonzero(report.dead).tolist() == [4, 5]
    contrast = report["1"]
    for name in ("effect", "low", "high", "difference", "statistic"):
        assert getattr(contrast, name)[[4, 5]].tolist() == [0, 0]
    for name in ("p", "p_family", "q", "p_tfce"):
        assert getattr(contrast, name)[[4, 5]].tolist() == [1, 1]
    assert finite(report.to_dict())
    everything = Activations.from_array(np.ones((200, 9)), **acts.inputs.columns)
    assert (measure_bias(everything, "group", layout=grid(3))["1"].p == 1).all()


def test_few_permutations_are_refused_with_their_count() -> None:
    six = make(n=6, label=[0, 0, 0, 1, 1, 1], group=[0, 1, 0, 1, 0, 0])
    with pytest.raises(ValueError, match="have 9 distinct permutations, fewer than 1 / alpha = 20"):
        measure_bias(six, "group", "label", min_size=2)
    assert measure_bias(six, "group", "label", min_size=2, alpha=0.2).n_permutations == 8
    with pytest.raises(ValueError, match="too few inputs per class to estimate a deviation"):
        measure_bias(make(n=6, label=[0, 0, 1, 1, 2, 2], group=[0, 1] * 3), "group", "label", min_size=3)
    persons = make(n=30, label=np.arange(30) // 3, group=np.arange(30) // 3 % 2, person=np.arange(30) // 3)
    with pytest.raises(ValueError, match="no class of label holds"):
        measure_bias(persons, "group", "label", unit="person")
    with pytest.raises(ValueError, match="n_permutations must be at least 1 / alpha - 1 = 19"):
        measure_bias(six, "group", n_permutations=10)
    with pytest.raises(ValueError, match="pass forming= of at least"):
        measure_bias(make(n=8, n_neurons=9, group=[0, 1] * 4), "group", layout=grid(3), min_size=2)


def test_wrong_parameters() -> None:
    acts = make()
    for wrong, message in [
        ({"by": "grup"}, "Did you mean 'group'"),
        ({"reference": "2"}, "reference must be one of 'rest', '0', '1'"),
        ({"layout": grid(3)}, "layout must have one entry per neuron: expected 20, got 9"),
        ({"tfce": True}, "tfce=True takes a layout"),
        ({"alpha": 5}, "alpha must lie between 0 and 1"),
        ({"interval": "exact"}, "interval must be one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            measure_bias(acts, **{"by": "group", **wrong})
    with pytest.raises(ValueError, match="acts must be of type Activations"):
        measure_bias(acts.values, "group")  # type: ignore[arg-type]


def test_a_layout_by_the_tested_groups_is_no_blind_one() -> None:
    acts = make(group=np.arange(200) % 5)
    layout = tm.embed(tm.correlate(tm.profile(acts, "group")), "pca")
    with pytest.warns(tm.TopomapWarning, match="made from profiles by group"):
        measure_bias(acts, "group", layout=layout, n_permutations=100)


def test_words_never_call_a_neuron_of_a_cluster_significant() -> None:
    acts = make(n_neurons=25)
    text = measure_bias(acts, "group", "label", layout=grid(5), n_permutations=100).method_text()
    assert "its single neurons are not tested" in text
    assert "100 random permutations of the labels within classes (seed 0)" in text
    assert f"0 ({(acts.column('group') == 0).sum()})" in text


def test_q_is_that_of_the_live_neurons_by_definition() -> None:
    acts = make(n_neurons=12)
    values = np.array(acts.values)
    values[:, 4] = 1.0
    contrast = measure_bias(dataclasses.replace(acts, values=values), "group", "label", n_permutations=99)["1"]
    live = np.flatnonzero(np.arange(12) != 4)
    p = contrast.p[live]
    wanted = [min(1.0, min(each * len(p) / (p <= each).sum() for each in p[p >= own])) for own in p]
    np.testing.assert_allclose(contrast.q[live], wanted)
    assert contrast.q[4] == 1


@pytest.mark.parametrize("setting", ["balanced", "imbalanced", "units"])
def test_random_attributes_are_called_biased_at_the_stated_rate(setting: str) -> None:
    n_runs, alpha = 200, 0.05
    wrong = np.zeros(2, dtype=int)
    naive = 0
    for seed in range(n_runs):
        rng = np.random.default_rng(1000 + seed)
        label = np.arange(48) % 2
        unit = np.arange(48) // 4
        values = rng.exponential(size=(48, 16)) + 1.5 * label[:, None]
        if setting == "units":
            values += 2 * rng.normal(size=(12, 16))[unit]
            group = rng.permutation(np.repeat([0, 1], 6))[unit]
        else:
            share = np.where(label == 1, 0.75, 0.25) if setting == "imbalanced" else 0.5
            group = (rng.random(48) < share).astype(int)
        acts = Activations.from_array(values, label=label, group=group, unit=unit)
        options: dict[str, Any] = {"n_permutations": 99, "seed": seed, "progress": False}
        report = measure_bias(
            acts, "group", "label", layout=grid(4), forming=0.05,
            unit="unit" if setting == "units" else None, **options,
        )  # fmt: skip
        wrong += [report["1"].p_family.min() <= alpha, bool(report.significant)]
        naive += bool(measure_bias(acts, "group", **options)["1"].p_family.min() <= alpha)
    low, high = stats.binom.interval(0.999, n_runs, alpha)
    assert low <= wrong[0] <= high
    assert wrong[1] <= high
    if setting != "balanced":  # differences of classes, or of persons, are taken for the attribute's
        assert naive > 2 * high


@pytest.mark.parametrize("cells", ["one class", "small cells"])
def test_a_wide_side_of_few_inputs_is_not_taken_for_a_difference(cells: str) -> None:
    n_neurons = 400
    classes = np.zeros(500, dtype=int) if cells == "one class" else np.arange(500) // 20
    group = np.arange(500) % 10 == 0  # 50 in all, 2 of the 20 of a class
    values = np.random.default_rng(0).normal(size=(500, n_neurons)) * np.where(group, 3, 1)[:, None]
    acts = Activations.from_array(values, label=classes, group=group)
    contrast = measure_bias(acts, "group", "label", n_permutations=199, progress=False)["True"]
    low, high = stats.binom.interval(0.999, n_neurons, 0.05)
    assert low <= (contrast.p <= 0.05).sum() <= high
    assert low <= ((contrast.low > 0) | (contrast.high < 0)).sum() <= high
    # one variance for both sides calls a third of them different
    n = np.array([[50], [450]])
    pooled = np.sqrt((values**2).mean(axis=0) * (1 / n).sum())
    assert (np.abs(values[group].mean(axis=0) - values[~group].mean(axis=0)) > 1.96 * pooled).mean() > 0.25


def test_a_group_that_is_small_where_it_is_compared() -> None:
    group = np.repeat([0, 1], 100)
    group[:4] = 1  # 104 inputs, of which only these are in a class with others
    with pytest.raises(ValueError, match="classes that hold both sides have 4 inputs of it, fewer than 5"):
        measure_bias(make(label=np.repeat([0, 1], 100), group=group), "group", "label")
    group[4] = 1
    report = measure_bias(make(label=np.repeat([0, 1], 100), group=group), "group", "label", n_permutations=50)
    assert (report["1"].n_group, report["1"].n_reference) == (5, 95)
    assert "Classes not tested: 1 (no input of 0); 5 and 95 inputs of the others were compared." in report.method_text()


def test_units_that_nobody_changes_places_with_are_counted() -> None:
    person = np.repeat(np.arange(20), 10)
    label = np.where(np.arange(200) % 10 < np.where(person < 12, 5, 1 + person // 2 % 4), 0, 1)
    label[person >= 18] = 0  # two persons of one class, of one side
    group = (person % 2) * (person < 18)
    report = measure_bias(make(label=label, group=group, person=person), "group", "label", unit="person")
    contrast = report["1"]
    alike = [np.bincount(label[person == p], minlength=2).tolist() for p in range(20)]
    sides = [group[person == p][0] for p in range(20)]
    wanted = sum(any(alike[p] == alike[o] and sides[p] != sides[o] for o in range(20)) for p in range(20))
    assert (contrast.n_movable, contrast.n_units) == (wanted, 20) and wanted == 18
    assert "Units that have one of the other side to change places with: 18 of 20." in report.method_text()


def test_units_of_all_compositions_are_refused_with_the_way_out() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(20), 40)
    acts = make(n=800, label=rng.random(800) < (person / 20), group=person % 2, person=person)
    with pytest.raises(ValueError, match=r"of the same proportions of label, of which there are .* coarser classes"):
        measure_bias(acts, "group", "label", unit="person")


def test_text_says_what_a_reader_would_get_wrong() -> None:
    three = measure_bias(make(group=np.arange(200) % 3), "group", n_permutations=50).method_text()
    assert "one that differs moves the reference of every other" in three
    assert "95 % intervals by formula" in three and "Each side has its own variance (Welch's t)" in three
    assert "holds but roughly" not in three
    few = measure_bias(make(group=np.arange(200) % 10 == 0), "group", "label", n_permutations=50).method_text()
    assert "holds but roughly for a small side whose spread is much the larger: True (20 inputs)." in few
    person = np.arange(200) // 5
    units = make(group=person % 2, person=person)
    assert "holds but roughly" not in measure_bias(units, "group", n_permutations=50).method_text()
    assert "1 (100 inputs)" in measure_bias(units, "group", unit="person", n_permutations=50).method_text()
    label = np.arange(200) // 20
    alone = measure_bias(make(label=label, group=np.arange(200) % 20 == 0), "group", "label", n_permutations=50)
    assert "No class holds two inputs of True, whose spread is taken to be that of the other" in alone.method_text()
    crossed = make(group=np.arange(200) % 2, other=np.arange(200) // 2 % 2)
    text = measure_bias(crossed, ("group", "other"), n_permutations=50, interval="bootstrap").method_text()
    assert "0, 0 (50); 0, 1 (50)" in text and "95 % intervals by bootstrap over inputs" in text


def test_a_neuron_counts_once_however_many_groups_differ() -> None:
    values = np.random.default_rng(0).normal(size=(90, 3))
    values[:, 1] += 9 * (np.arange(90) % 3)
    acts = Activations.from_array(values, group=np.arange(90) % 3)
    report = measure_bias(acts, "group", n_permutations=50)
    assert sum(int((c.p_family <= 0.05).sum()) for c in report.contrasts) > 1
    assert "1 at corrected p <= 0.05" in repr(report)


def test_fractions_of_permutations() -> None:
    with pytest.raises(ValueError, match=r"n_permutations must be a whole number of at least 0; got 99\.5"):
        measure_bias(make(), "group", n_permutations=99.5)  # type: ignore[arg-type]
