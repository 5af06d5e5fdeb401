"""New inputs in known patterns: hdbscan's approximate prediction, and what it cannot do."""

from dataclasses import replace

import numpy as np
import pytest
from hdbscan import HDBSCAN, approximate_predict
from hdbscan.prediction import approximate_predict_scores
from test_find import groups_of_inputs, run_of

import topomap as tm
from topomap.run import Activations


@pytest.mark.parametrize("d", [8, 90])
def test_assignment_is_that_of_hdbscan(d):
    values = groups_of_inputs(n=260, d=d)
    old, new = values[:200], values[150:]  # some of the new are old
    patterns = tm.find_patterns(Activations.from_array(old))
    assigned = patterns.assign(Activations.from_array(new))
    model = HDBSCAN(min_cluster_size=5, min_samples=5, cluster_selection_method="leaf", prediction_data=True)
    model.fit(patterns.features)
    divisor = np.abs(old.astype(np.float64)).max(axis=0)
    features = np.divide(new, divisor, out=np.zeros(new.shape), where=divisor > 0)
    labels, probabilities = approximate_predict(model, features)
    order = np.argsort(-model.cluster_persistence_, kind="stable").tolist()
    np.testing.assert_array_equal(assigned.labels, [order.index(k) if k >= 0 else -1 for k in labels])
    np.testing.assert_allclose(assigned.probabilities, probabilities, atol=1e-12)
    scores = np.clip(approximate_predict_scores(model, features), 0, 1)
    np.testing.assert_allclose(assigned.outlier_scores, scores, atol=1e-12)
    np.testing.assert_array_equal(assigned.features, features)
    assert len(set(assigned.labels)) > 2
    assert len(assigned) == len(patterns)
    assert assigned.groups.n_rows == len(new)


def test_assigned_patterns_assign_again():
    values = groups_of_inputs()
    patterns = tm.find_patterns(Activations.from_array(values), n_components=3)
    once = patterns.assign(Activations.from_array(values[:50]))
    twice = once.assign(Activations.from_array(values[:50]))
    np.testing.assert_array_equal(once.labels, twice.labels)
    np.testing.assert_allclose(once.features, patterns.features[:50], atol=1e-12)


def test_two_reductions_are_assigned_from_a_run():
    values = groups_of_inputs()
    run = run_of({"mean": values, "std": values**2})
    patterns = tm.find_patterns(run, "conv", reduce="mean+std")
    np.testing.assert_array_equal(patterns.assign(run).features, patterns.features)
    with pytest.raises(ValueError, match=r"needs a recording that has it.*reduce=\['mean', 'std'\]"):
        patterns.assign(run["conv", "mean"])


@pytest.mark.parametrize("n", [3, 12, 40])
def test_without_patterns_all_is_noise(n):
    values = np.random.default_rng(0).normal(size=(n, 2))
    with pytest.warns(tm.TopomapWarning, match="no pattern"):
        patterns = tm.find_patterns(Activations.from_array(values), min_cluster_size=25)
    assigned = patterns.assign(Activations.from_array(values))
    assert (assigned.labels == -1).all()
    assert not assigned.probabilities.any()
    assert (assigned.outlier_scores == 1).all()


def test_what_does_not_fit_is_refused():
    patterns = tm.find_patterns(Activations.from_array(groups_of_inputs(), layer="fc"))
    with pytest.raises(ValueError, match="patterns are of layer 'fc'; got activations of 'layer'"):
        patterns.assign(Activations.from_array(groups_of_inputs()))
    with pytest.raises(ValueError, match="found in 8 values per input of layer 'fc'; got 7"):
        patterns.assign(Activations.from_array(groups_of_inputs(d=7), layer="fc"))
    with pytest.raises(ValueError, match="source must be of type"):
        patterns.assign(groups_of_inputs())
    many = replace(patterns, parameters={**patterns.parameters, "min_samples": 80})
    with pytest.raises(ValueError, match=r"looks at 160 neighbours.*in 150 inputs alone"):
        many.assign(Activations.from_array(groups_of_inputs(), layer="fc"))
