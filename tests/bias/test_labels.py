"""Label errors: exact scores of tiny maps, and planted swaps of labels found in trained nets."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

import topomap as tm
from topomap.bias.labels import LabelError, find_label_errors
from topomap.datasets import ArrayData, digits, fashion_mnist, loader
from topomap.datasets.bundled import FASHION_MNIST
from topomap.demo import mlp, train


def two_heaps(**columns: Any) -> tm.Activations:
    """Twenty inputs of label 0 around one place and ten of label 1 around another, well apart."""
    rng = np.random.default_rng(0)
    values = np.repeat([[0.0, 9.0], [9.0, 0.0]], [20, 10], axis=0) + rng.normal(size=(30, 2))
    return tm.Activations.from_array(values, label=np.repeat([0, 1], [20, 10]), **columns)


def called(*rows: int) -> np.ndarray:
    """Predictions: right but for these inputs of label 0, which are called 1."""
    prediction = np.repeat([0, 1], [20, 10])
    prediction[list(rows)] = 1
    return prediction


def test_score_is_the_share_called_otherwise_against_the_map() -> None:
    confidence = np.linspace(0.5, 0.9, 30)
    acts = two_heaps(prediction=called(2, 7, 11, 13, 17), confidence=confidence)
    (error,) = find_label_errors(acts)
    # every neighbour is of the input's own label, so that the evidence is the confidence
    assert (error.label, error.prediction, error.n, error.n_label, error.share) == (0, 1, 5, 20, 0.25)
    assert (error.own, error.other) == (1.0, 0.0)
    assert error.inputs.tolist() == [17, 13, 11, 7, 2]
    np.testing.assert_allclose(error.evidence, confidence[[17, 13, 11, 7, 2]])
    assert error.score == pytest.approx(confidence[[2, 7, 11, 13, 17]].sum() / 20)
    assert error.confidence == pytest.approx(confidence[[2, 7, 11, 13, 17]].mean())


def test_lower_bound_is_wilsons() -> None:
    from scipy.stats import binomtest

    (error,) = find_label_errors(two_heaps(prediction=called(*range(5))))
    assert error.score == 0.25
    wilson = binomtest(5, 20, alternative="greater").proportion_ci(method="wilson")
    assert error.low == pytest.approx(wilson.low, rel=1e-4)


def test_mistakes_that_the_map_explains_are_no_evidence() -> None:
    acts = two_heaps(prediction=called(*range(5)))
    moved = acts.values.copy()
    moved[:5] = acts.values[20:25] + 0.01  # they lie among those that they are taken for
    (error,) = find_label_errors(replace(acts, values=moved), n_neighbors=3)
    assert error.own < 0.5 < error.other
    assert not error.strong
    assert error.score < 0.05


def test_neighbours_count_by_the_size_of_their_class() -> None:
    # label 0 three times, label 1 twice, all in one direction: four others are the neighbours of each
    acts = tm.Activations.from_array(
        [[1.0, 1.0], [1.1, 1.1], [1.2, 1.2], [1.3, 1.3], [1.4, 1.4], [-9.0, -9.0]],
        label=[0, 0, 0, 1, 1, 2],
        prediction=[1, 0, 0, 1, 1, 2],
    )
    (error,) = find_label_errors(acts, min_size=1, n_neighbors=5)
    # 2 of 2 others of label 0, 2 of 2 of label 1, 1 of 1 of label 2
    assert (error.own, error.other) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert error.score == 0.0


def test_names_missing_values_and_places() -> None:
    base = two_heaps()
    label = np.array(["cat"] * 20 + ["dog"] * 10, dtype=object)
    prediction = np.array(["cow"] * 9 + [None] + ["cat"] * 10 + ["dog"] * 10, dtype=object)
    acts = base.with_labels(label=label, prediction=prediction)
    (error,) = find_label_errors(acts)
    assert (error.label, error.prediction, error.n, error.other) == ("cat", "cow", 9, 0.0)
    rows = np.repeat(np.arange(30), 2)
    (again,) = find_label_errors(replace(acts, values=acts.values[rows], rows=rows))
    assert again.inputs.tolist() == error.inputs.tolist()
    some = find_label_errors(acts.select(np.arange(30) >= 3))[0]
    assert set(some.inputs.tolist()) == set(range(3, 9))


def test_says_what_it_found() -> None:
    inputs = tm.Inputs(np.arange(30), dict(two_heaps().inputs.columns), classes=("cat", "dog"))
    acts = replace(two_heaps(), inputs=inputs.with_columns(prediction=called(*range(18))))
    (error,) = find_label_errors(acts)
    assert repr(error) == (
        "LabelError(cat -> dog: 18 of 20; neighbours 100% cat, 0% dog; score 0.90: labels swapped in training?)"
    )
    assert json.loads(json.dumps(error.to_dict(), allow_nan=False))["prediction"] == "dog"
    assert error.to_xarray().position.values.tolist() == error.inputs.tolist()
    weak = find_label_errors(acts, threshold=0.95)[0]
    assert "weak" in repr(weak)


def test_many_labels_taken_for_one_are_named() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 15)
    values = 9 * np.eye(4)[label] + rng.normal(size=(60, 4))
    prediction = np.where(np.arange(60) % 15 < 9, 3, label)  # a mark on most inputs of all labels, say
    acts = tm.Activations.from_array(values, label=label, prediction=prediction)
    found = find_label_errors(acts, n=2)
    assert [(error.prediction, error.strong) for error in found] == [(3, True)] * 2
    assert [set(error.alike) | {error.names[0]} for error in found] == [{"0", "1", "2"}] * 2
    assert "as of 3 labels, a net that leans there?" in repr(found[0])
    assert found[0].to_dict()["alike"] == list(found[0].alike)
    one = find_label_errors(acts.with_labels(prediction=np.where(label == 0, prediction, label)))
    assert [(error.names, error.alike) for error in one] == [(("0", "3"), ())]


def test_nothing_is_confused() -> None:
    assert find_label_errors(two_heaps(prediction=called())) == ()
    assert find_label_errors(two_heaps(prediction=called(1, 2)), min_size=3) == ()


def test_constant_neurons_are_no_map() -> None:
    acts = two_heaps(prediction=called(*range(6)))
    (error,) = find_label_errors(replace(acts, values=np.ones((30, 4), dtype=np.float32)))
    assert np.isfinite(error.score)
    assert not error.strong


@pytest.mark.parametrize(
    ("acts", "options", "message"),
    [
        (tm.Activations.from_array(np.eye(4)), {}, "the inputs have no label"),
        (tm.Activations.from_array(np.eye(4), label=[0, 0, 1, 1]), {}, "the inputs have no prediction"),
        (tm.Activations.from_array(np.eye(2), label=["a", "b"], prediction=[0, 1]), {}, "both be codes or both"),
        (tm.Activations.from_array(np.eye(2), label=[np.nan, 1], prediction=[0, np.nan]), {}, "nothing to compare"),
        (two_heaps(prediction=called()), {"min_size": 0}, "min_size must be at least 1"),
        (two_heaps(prediction=called()), {"min_size": 2.5}, "min_size must be a whole number of at least 1; got 2.5"),
        (two_heaps(prediction=called()), {"n": 2.5}, "n must be a whole number"),
        (two_heaps(prediction=called()), {"n_neighbors": 2.5}, "n_neighbors must be a whole number"),
        (np.eye(3), {}, "acts must be of type Activations"),
    ],
)
def test_bad_input(acts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_label_errors(acts, **options)


def swapped(data: ArrayData, label: int, other: int, rate: float, seed: int = 0) -> ArrayData:
    """Give a share of one class the label of another."""
    y = np.array(data.y)
    at = np.flatnonzero(y == label)
    y[np.random.default_rng(seed).permutation(at)[: round(rate * len(at))]] = other
    return replace(data, y=y)


def learnt(net: Any, data: ArrayData, test: ArrayData, layer: str, epochs: int) -> tm.Activations:
    model = train(net, data, epochs=epochs, progress=False)
    acts = tm.record(model, loader(test), layers=[layer], progress=False, thumbnails=False)[layer]
    assert isinstance(acts, tm.Activations)
    return acts


def found(net: Any, data: ArrayData, test: ArrayData, layer: str, epochs: int) -> tuple[LabelError, ...]:
    return find_label_errors(learnt(net, data, test, layer, epochs))


def test_digits_swapped_and_clean() -> None:
    data, test = digits("train"), digits("test")
    acts = learnt(mlp, swapped(data, 0, 1, 0.9), test, "relu2", 12)
    first, *others = find_label_errors(acts)
    assert (first.label, first.prediction, first.strong) == (0, 1, True)
    assert first.score > 0.7
    assert set(test.y[first.inputs]) == {0}
    assert not any(error.strong for error in others)
    assert not any(error.strong for error in found(mlp, data, test, "relu2", 12))
    # the confusion matrix of maps names the pair: the one cell beside the diagonal with many inputs, whose map is not
    # that of the class it is taken for
    maps = tm.profile(acts, by=("label", "prediction"))
    wrong = sorted((i for i, key in enumerate(maps.keys) if key[0] != key[1]), key=lambda i: -maps.counts[i])
    assert maps.keys[wrong[0]] == (0, 1)
    assert maps.counts[wrong[0]] > 5 * maps.counts[wrong[1]]
    assert np.corrcoef(maps.values[[wrong[0], maps.keys.index((1, 1))]])[0, 1] < 0.8


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="the package dataset-fashion-mnist is not installed")
def test_clothes_swapped_and_clean() -> None:
    data, test = fashion_mnist("train").take(np.arange(6000)), fashion_mnist("test").take(np.arange(2000))

    def net() -> nn.Module:
        layers = {"flatten": nn.Flatten(), "fc1": nn.Linear(784, 128), "relu1": nn.ReLU(), "out": nn.Linear(128, 10)}
        return nn.Sequential(OrderedDict[str, nn.Module](layers))

    for label, prediction in ((7, 9), (0, 1)):
        first, second = found(net, swapped(data, label, prediction, 0.9), test, "relu1", 4)[:2]
        assert (first.label, first.prediction, first.strong) == (label, prediction, True)
        assert first.score > 4 * second.score
        assert not second.strong
    assert not any(error.strong for error in found(net, data, test, "relu1", 4))
