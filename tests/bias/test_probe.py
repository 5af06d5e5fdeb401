"""The probe: against scikit-learn by hand, chance where there is nothing, and planted differences within classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

import topomap as tm
from topomap.bias.decoding import Design
from topomap.bias.probe import measure_probe
from topomap.bias.sample import draw_sample


def imbalanced(n: int = 240, shift: float = 0.0, seed: int = 0, n_neurons: int = 4) -> tm.Activations:
    """Two classes far apart, in which one group is rare and frequent; groups differ by `shift` in one neuron."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    group = (rng.random(n) < np.where(label == 1, 0.75, 0.25)).astype(int)
    values = rng.normal(size=(n, n_neurons)) + 3 * label[:, None]
    values[:, 1] += shift * group
    return tm.Activations.from_array(values, label=label, group=group)


def test_equals_scikit_learn_where_there_are_no_classes() -> None:
    acts = imbalanced(150, 1.0)
    group = acts.inputs["group"]
    probe = measure_probe(acts, by="group", n_components=None, n_permutations=20, cv=4)
    design, untested = Design.of(draw_sample(acts, "group", None, None, 5), 4, 0)
    assert untested == ()
    said = np.zeros(150, dtype=int)
    for fold in range(4):
        test = design.fold == fold
        assert abs(test.sum() - 150 / 4) < 1
        scaler = StandardScaler().fit(acts.values[~test])
        model = LogisticRegression(class_weight="balanced").fit(scaler.transform(acts.values[~test]), group[~test])
        said[test] = model.predict(scaler.transform(acts.values[test]))
        expected = balanced_accuracy_score(group[test], said[test])
        assert probe.folds[0, fold] == pytest.approx(expected, abs=0.03)
    assert probe.accuracy[0] == pytest.approx(balanced_accuracy_score(group, said), abs=0.01)
    assert probe.chance == 0.5


def test_the_class_is_not_taken_for_the_group() -> None:
    acts = imbalanced()
    plain = measure_probe(acts, by="group", n_permutations=19)
    inside = measure_probe(acts, by="group", within="label", n_permutations=19)
    assert plain.accuracy[0] > 0.65
    assert plain.p[0] == 0.05
    assert abs(inside.accuracy[0] - 0.5) < 0.12
    assert inside.p[0] > 0.05


def test_chance_and_p_of_random_groups() -> None:
    probes = [
        measure_probe(imbalanced(80, seed=seed, n_neurons=3), "group", "label", n_permutations=19, cv=2)
        for seed in range(20)
    ]
    assert np.mean([probe.accuracy[0] for probe in probes]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([probe.p[0] for probe in probes]) == pytest.approx(0.52, abs=0.2)
    assert sum(probe.p[0] <= 0.05 for probe in probes) <= 4


def test_finds_a_difference_within_classes() -> None:
    # opposite to what the classes suggest: the group that class 1 has more of is lower where classes are higher
    probe = measure_probe(imbalanced(300, -2.0), by="group", within="label", n_permutations=39)
    # the best that a threshold between two normal groups 2 deviations apart can do
    assert probe.accuracy[0] == pytest.approx(0.84, abs=0.06)
    assert probe.p.tolist() == [1 / 40]
    assert np.all(probe.folds[0] > 0.6)
    assert probe.ceiling[0] < 0.65
    assert probe.baseline[0] == pytest.approx(0.5, abs=0.05)


def test_components_are_enough_where_they_hold_the_difference() -> None:
    acts = imbalanced(200, n_neurons=12)
    acts.values[:, :6] += 2 * acts.inputs["group"][:, None]
    few = measure_probe(acts, "group", "label", n_components=2, n_permutations=19)
    every = measure_probe(acts, "group", "label", n_components=None, n_permutations=19)
    assert abs(few.accuracy[0] - every.accuracy[0]) < 0.08


def test_curve_over_layers_and_steps() -> None:
    nothing, something = imbalanced(200), imbalanced(200, 2.0)
    inputs = nothing.inputs
    records = {
        (name, "none"): tm.Activations(acts.values, inputs, layer=name)
        for name, acts in (("early", nothing), ("late", something))
    }
    run = tm.Run(inputs, records)
    curve = measure_probe(run, "group", "label", n_permutations=24, cv=3)
    assert (curve.layers, curve.steps, len(curve)) == (("early", "late"), None, 2)
    assert curve.p[0] > 0.05 > curve.p[1]
    assert np.all(curve.p_family >= curve.p)
    alone = measure_probe(run["late"], "group", "label", n_permutations=24, cv=3)
    assert curve.accuracy[1] == alone.accuracy[0]
    np.testing.assert_array_equal(curve.null[1], alone.null[0])
    steps = measure_probe({0: run["early"], 100: run["late"]}, "group", "label", n_permutations=24, cv=3)
    np.testing.assert_array_equal(steps.accuracy, curve.accuracy)
    assert steps.steps == (0, 100)
    both = measure_probe(tm.Run.from_snapshots({1: run, 2: run}), "group", "label", n_permutations=19, cv=2)
    assert (both.layers, both.steps) == (("early", "late") * 2, (1, 1, 2, 2))
    some = measure_probe(run, "group", "label", layers="late", n_permutations=24, cv=3)
    assert (some.layers, some.accuracy[0]) == (("late",), alone.accuracy[0])


def test_several_groups_not_all_in_every_class() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [90, 60, 30])
    group = np.concatenate([np.arange(90) % 3, np.arange(60) % 2, np.full(30, 2)])
    acts = tm.Activations.from_array(np.eye(3)[group] * 3 + rng.normal(size=(180, 3)), label=label, group=group)
    probe = measure_probe(acts, "group", "label", n_permutations=19)
    assert probe.untested == ("2",)
    assert probe.counts == (60, 60, 30)
    # class 0: three groups of 30, weight 10, chance 1/3; class 1: two groups of 30, weight 15, chance 1/2
    assert probe.chance == pytest.approx((10 / 3 + 15 / 2) / 25)
    assert probe.accuracy[0] > 0.85
    nothing = tm.Activations.from_array(rng.normal(size=(180, 3)), label=label, group=group)
    chance = measure_probe(nothing, "group", "label", n_permutations=19)
    assert chance.accuracy[0] == pytest.approx(probe.chance, abs=0.12)


def test_units_are_kept_together() -> None:
    person = np.repeat(np.arange(24), 10)
    alone, units = [], []
    for seed in range(5):  # values tell persons apart, not groups
        rng = np.random.default_rng(1000 + seed)
        values = 3 * rng.normal(size=(24, 16))[person] + rng.normal(size=(240, 16))
        acts = tm.Activations.from_array(values, person=person, group=np.where(person % 2, "a", "b"))
        alone.append(measure_probe(acts, "group", n_permutations=19, cv=4).p[0])
        probe = measure_probe(acts, "group", unit="person", n_permutations=19, cv=4)
        units.append(probe.p[0])
    assert alone == [0.05] * 5
    assert np.mean(units) > 0.2
    assert "whole units (person)" in probe.method_text()
    design, _ = Design.of(draw_sample(acts, "group", None, "person", 5), 4, 0)
    assert all(len(set(design.fold[person == who])) == 1 for who in range(24))
    assert [len(set(person[design.fold == fold])) for fold in range(4)] == [6, 6, 6, 6]


def test_permutations_keep_folds_and_classes() -> None:
    acts = imbalanced(60)
    design, _ = Design.of(draw_sample(acts, "group", "label", None, 5), 5, 0)
    observed = design.shuffle.codes[design.unit_of]
    for labels in next(iter(design.shuffle.draw(10, [0])))[:, design.unit_of]:
        assert not np.array_equal(labels, observed)
        for cell in set(zip(design.fold.tolist(), design.classes.tolist(), strict=True)):
            at = (design.fold == cell[0]) & (design.classes == cell[1])
            assert labels[at].sum() == observed[at].sum()


def test_same_seed_same_result_and_words() -> None:
    acts = imbalanced(100, 1.0)
    probe, again = (measure_probe(acts, "group", "label", n_permutations=19, seed=4) for _ in range(2))
    np.testing.assert_array_equal(probe.null, again.null)
    assert not np.array_equal(probe.null, measure_probe(acts, "group", "label", n_permutations=19, seed=5).null)
    assert repr(probe).startswith("Probe(group within label: layer 0.")
    data = json.loads(json.dumps(probe.to_dict(), allow_nan=False))
    assert data["rows"][0]["step"] is None
    assert len(data["rows"][0]["null"]) == 19
    assert probe.to_xarray()["null"].shape == (1, 19)
    assert "19 permutations" in probe.method_text()


def test_constant_layer_and_places() -> None:
    acts = imbalanced(60)
    still = tm.Activations(np.ones((60, 3)), acts.inputs)
    probe = measure_probe(still, "group", "label", n_permutations=19)
    assert probe.accuracy[0] == 0.5
    assert probe.p[0] == 1.0
    rows = np.repeat(np.arange(60), 2)
    double = tm.Activations(acts.values[rows], acts.inputs, rows=rows)
    one, other = (measure_probe(each, "group", n_permutations=19).accuracy[0] for each in (acts, double))
    assert one == pytest.approx(other, abs=0.02)


FEW = tm.Activations.from_array(np.eye(8), group=np.arange(8) % 2)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (imbalanced(40), {"by": "label", "within": "label"}, "no class of label holds two groups"),
        (imbalanced(40), {"by": "group", "cv": 1}, "cv must be at least 2"),
        (imbalanced(40), {"by": "group", "layers": ["a"]}, "layers= chooses among those of a run"),
        (imbalanced(40).with_labels(group=np.zeros(40)), {"by": "group"}, "every input is of one group"),
        (FEW, {"by": "group", "min_size": 2, "cv": 8}, "distinct permutation"),
        ({}, {"by": "group"}, "the mapping from steps holds nothing"),
        ({0: imbalanced(40), 1: imbalanced(50)}, {"by": "group"}, "recorded of other inputs"),
        (np.eye(3), {"by": "group"}, "source must be of type"),
    ],
)
def test_bad_input(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_probe(source, **options)
