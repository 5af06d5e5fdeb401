"""Planted truth: a shortcut that networks learnt is found, and silencing what was found takes it out again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import topomap as tm
from topomap.datasets import digits, loader
from topomap.demo import mlp, train

#: The class of which half the pictures are marked in training, and none of the others.
SHORTCUT = 3


def mark(data, classes, seed):
    """Put a bright corner on half of the pictures of some classes."""
    rng = np.random.default_rng(seed)
    x, marked = data.x.copy(), np.zeros(len(data), dtype=bool)
    for one in classes:
        members = rng.permutation(np.flatnonzero(data.y == one))
        marked[members[: len(members) // 2]] = True
    x[marked, :, :2, :2] = 16
    return replace(data, x=x, columns={"marked": marked})


@pytest.fixture(scope="module", params=[0, 1])
def planted(request):
    """A network, pictures of which half of every class are marked, their activations, and a report."""
    model = train(mlp, mark(digits("train"), [SHORTCUT], request.param), seed=request.param, progress=False)
    test = mark(digits("test"), range(10), 100 + request.param)
    acts = tm.record(model, loader(test), "relu2", progress=False)["relu2"].with_labels(**test.columns)
    layout = tm.embed(tm.correlate(acts), seed=0)
    report = tm.measure_bias(acts, "marked", "label", layout=layout, n_permutations=500, seed=0, progress=False)
    return model, test, acts, [cluster for cluster in report.clusters if cluster.p <= report.alpha]


def gap(model, test, neurons=None, layer="relu2"):
    """Error rate of the marked pictures less that of the others."""
    x = torch.from_numpy(np.stack([test[i][0] for i in range(len(test))]))
    with torch.inference_mode():
        if neurons is None:
            predicted = model(x).argmax(1)
        else:
            with tm.ablate(model, layer, neurons):
                predicted = model(x).argmax(1)
    wrong, marked = predicted.numpy() != test.y, test.columns["marked"]
    return wrong[marked].mean() - wrong[~marked].mean()


def test_the_shortcut_was_learnt_and_is_found(planted):
    model, test, acts, clusters = planted
    assert gap(model, test) > 0.3
    assert {cluster.sign for cluster in clusters} == {-1, 1}
    # marked pictures of other classes are taken for the one that was marked in training
    taken = (acts.inputs.prediction == SHORTCUT) & (acts.inputs.label != SHORTCUT)
    assert (acts.inputs["marked"][taken]).mean() > 0.9


@pytest.mark.parametrize("which", ["all", "raised"])
def test_silencing_the_clusters_closes_the_gap_and_random_neurons_do_not(planted, which):
    model, test, acts, clusters = planted
    neurons = np.concatenate([one.neurons for one in clusters if which == "all" or one.sign > 0])
    live = np.flatnonzero(~acts.dead)
    rng = np.random.default_rng(0)
    before, after = gap(model, test), abs(gap(model, test, neurons))
    others = [abs(gap(model, test, rng.choice(live, len(neurons), replace=False))) for _ in range(20)]
    assert after < before / 3
    assert after < np.mean(others) / 2
    if which == "raised":  # all are nine in ten of the live neurons, and so are most of a random draw
        assert sum(one <= after for one in others) <= 2
    assert gap(model, test) == before
