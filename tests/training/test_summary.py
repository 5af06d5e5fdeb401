from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import topomap as tm
from topomap.run import Activations, Run


def test_planted_training(training: Run) -> None:
    summary = tm.summarize_training(training, "fc", progress=False)
    assert summary.n_dead.tolist() == [1, 1, 1, 6, 6]
    assert summary.deaths == dict.fromkeys(range(35, 40), 4)
    np.testing.assert_allclose(summary.convergence[-1], 1)
    assert (np.diff(summary.convergence, axis=0) > 0).all()
    assert (np.diff(summary.explained) > 0).all()
    assert (np.diff(summary.separation, axis=0) >= 0).all()
    assert (summary.separation[-1] > 1).all()
    assert summary.role(12) == "dog"
    assert summary.role(0) is None
    assert "5 steps" not in repr(summary)
    assert "steps 0 to 8" in repr(summary)


def test_by_hand() -> None:
    """Two groups of two inputs, two neurons, of which the second dies; all numbers by hand."""
    runs = {}
    for step, values in enumerate(([[0, 0], [2, 2], [4, 0], [6, 2]], [[0, 1], [0, 1], [4, 1], [4, 1]])):
        acts = Activations.from_array(np.array(values, dtype=float), layer="fc", label=list("aabb"))
        runs[step] = Run(acts.inputs, {("fc", "none"): acts})
    summary = tm.summarize_training(Run.from_snapshots(runs), "fc", min_size=1, progress=False)
    # neuron 0 at step 0: means 1 and 5, deviation sqrt(5); neuron 1: means 1 and 1, deviation 1
    square = ((4**2 / 5) + 0) / 2 - (1 / 2 + 1 / 2)
    np.testing.assert_allclose(summary.separation[0], np.sqrt(square), rtol=1e-6)
    np.testing.assert_allclose(summary.explained, [(16 / 20 + 0) / 2, 1.0], rtol=1e-6)
    # at step 1 neuron 0 has deviation 2, and lies 2 deviations apart
    np.testing.assert_allclose(summary.separation[1], np.sqrt(2**2 - 1), rtol=1e-6)
    assert summary.deaths == {1: 1}
    assert summary.separated == {"a": 1, "b": 1}


def test_convergence_is_the_correlation_of_maps(training: Run) -> None:
    summary = tm.summarize_training(training, "fc", progress=False)
    live = ~training["fc"].dead
    early, last = (tm.profile(training.at(step)["fc"], by="label").scaled for step in (1, 8))
    for g, name in enumerate(summary.groups):
        row = ("cat", "dog", "emu").index(name)
        expected = np.corrcoef(early[row, live], last[row, live])[0, 1]
        assert summary.convergence[1, g] == pytest.approx(expected, abs=1e-6)


def test_groups_that_mean_nothing_explain_and_separate_nothing() -> None:
    rng, runs = np.random.default_rng(0), {}
    for step in (0, 1):
        acts = Activations.from_array(rng.normal(size=(400, 50)), layer="fc", label=np.arange(400) % 4)
        runs[step] = Run(acts.inputs, {("fc", "none"): acts})
    summary = tm.summarize_training(Run.from_snapshots(runs), "fc", progress=False)
    assert summary.separation.max() < 0.06
    assert summary.explained.max() < 0.02
    assert (summary.roles >= 0).mean() < 0.2


def test_a_revived_neuron_did_not_die() -> None:
    summary = tm.TrainingSummary(
        steps=np.array([0, 5, 9]), groups=("a",), convergence=np.ones((3, 1)),
        dead=np.array([[False, False], [True, True], [False, True]]), separation=np.ones((3, 1)),
        explained=np.ones(3), roles=np.zeros((3, 2), dtype=int),
    )  # fmt: skip
    assert summary.deaths == {1: 5}
    assert summary.separated == {"a": None}
    assert summary.role_since.tolist() == [0, 0]


def test_xarray(training: Run) -> None:
    data = tm.summarize_training(training, "fc", progress=False).to_xarray()
    assert data["convergence"].dims == ("step", "group")
    assert data.sel(step=8)["metric_loss"] == 0.5


def test_figure(training: Run) -> None:
    figure = tm.plot_training(tm.summarize_training(training, "fc", progress=False))
    assert len(figure.axes) == 4
    np.testing.assert_allclose(figure.axes[3].lines[0].get_ydata(), [1, 1, 1, 6, 6])
    with pytest.raises(ValueError, match="summary must be of type TrainingSummary"):
        tm.plot_training(training)  # type: ignore[arg-type]


def test_what_diverged_is_left_out_and_told(training: Run) -> None:
    about = {"training": {"diverged": {"6": "layer 'fc' has NaN", "1000": "layer 'fc' has NaN"}}}
    run = replace(training, provenance=about)
    found, same = (
        tm.summarize_training(run, "fc", progress=False),
        tm.summarize_training(training, "fc", progress=False),
    )
    assert found.diverged == (6, 1000)
    assert same.diverged == ()
    np.testing.assert_array_equal(found.convergence, same.convergence)
    text = " ".join(one.get_text() for one in tm.plot_training(found).texts)
    assert "Left out: 2 steps from 6 to 1,000, at which the training had diverged." in " ".join(text.split())
    with pytest.raises(ValueError, match="at step 6, as the training had diverged: layer 'fc' has NaN"):
        tm.summarize_training(run, "fc", steps=[0, 6], progress=False)
    first = {0: training.at(0)}
    with pytest.raises(ValueError, match="got 1, without step 7, at which the training had diverged"):
        tm.summarize_training(Run.from_snapshots(first, None, {"training": {"diverged": {"7": "NaN"}}}), "fc")
