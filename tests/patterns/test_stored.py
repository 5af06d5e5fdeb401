"""Patterns in a run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import topomap as tm
from topomap.patterns import Patterns, find_patterns, measure_patterns
from topomap.patterns.stored import list_patterns
from topomap.run import Activations, Inputs, Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 20)
    values = 3 * rng.normal(size=(3, 8))[group] + rng.normal(size=(60, 8)) * np.where(group == 2, 3, 0.2)[:, None]
    inputs = Inputs(np.array([f"image {i}" for i in range(60)]), {"label": group})
    records = {
        ("conv/1", reduce): Activations(part, inputs, "conv/1", reduce)
        for reduce, part in (("mean", values), ("std", np.abs(values)))
    }
    return tm.save_run(Run(inputs, records), tmp_path / "run")


def same(one: Patterns, other: Patterns) -> None:
    for name in ("labels", "persistence", "rows"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in ("probabilities", "outlier_scores", "features"):  # principal components are rounded otherwise
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-12, err_msg=name)
    assert (one.layer, one.reduce, one.unit) == (other.layer, other.reduce, other.unit)
    assert one.parameters == other.parameters
    assert one.names == other.names and one.counts.tolist() == other.counts.tolist()


@pytest.mark.parametrize(
    "options",
    [{}, {"reduce": "mean+std"}, {"reduce": "mean", "unit": 3}, {"reduce": "mean", "n_components": 2, "seed": 1}],
)
def test_what_is_read_is_what_was_written(run: Run, options: dict[str, object]) -> None:
    found = find_patterns(run, "conv/1", min_cluster_size=8, **options)
    assert run.path is not None and len(found)
    found.save(run.path)
    reopened = tm.open_run(run.path)
    read = Patterns.load(reopened, "conv/1", unit=found.unit)
    same(read, found)
    assert read.stability is None and read.provenance["n_inputs"] == 60
    assert list_patterns(reopened) == [("conv/1", found.reduce, found.unit)]
    # a clustering made again predicts as the one that was found
    same(read.assign(reopened), found.assign(reopened))


def test_stability_is_kept_and_patterns_are_replaced(run: Run) -> None:
    found = find_patterns(run, "conv/1", min_cluster_size=8)
    assert run.path is not None
    measure_patterns(found, n_bootstrap=2).patterns.save(run.path)
    assert Patterns.load(run, "conv/1").stability is not None
    found.save(run.path)
    assert Patterns.load(run, "conv/1").stability is None
    find_patterns(run, "conv/1", reduce="mean+std", min_cluster_size=8).save(run.path)
    with pytest.raises(ValueError, match="several reductions: pass reduce= one of 'mean', 'mean\\+std'"):
        Patterns.load(run, "conv/1")
    assert Patterns.load(run, "conv/1", "mean+std").reduce == "mean+std"


def test_patterns_of_new_inputs_take_no_further_ones(run: Run) -> None:
    found = find_patterns(run, "conv/1", min_cluster_size=8)
    assert run.path is not None
    assigned = found.assign(run)
    assigned.save(run.path)
    read = Patterns.load(run, "conv/1")
    np.testing.assert_array_equal(read.labels, assigned.labels)
    with pytest.raises(ValueError, match="assigned to patterns found elsewhere"):
        read.assign(run)


def test_what_is_not_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no patterns of conv/1, any reduction: there are none"):
        Patterns.load(run, "conv/1")
    found = find_patterns(run, "conv/1", min_cluster_size=8)
    assert run.path is not None
    found.save(run.path)
    with pytest.raises(ValueError, match="unit 3: there are those of 'conv/1, mean'"):
        Patterns.load(run, "conv/1", unit=3)
    with pytest.raises(ValueError, match="no folder"):
        Patterns.load(Run(run.inputs, run.records), "conv/1")
    other = tm.save_run(Run(run.inputs, {("conv/1", "mean"): run["conv/1", "mean"].select(n=30)}), tmp_path / "less")
    assert other.path is not None
    found.save(other.path)
    with pytest.raises(ValueError, match="other inputs than the patterns"):
        Patterns.load(other, "conv/1")
