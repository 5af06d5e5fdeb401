"""project_inputs(): inputs in the plane."""

from __future__ import annotations

import numpy as np
import pytest

import topomap as tm
from topomap.layout import TSNE, project_inputs


def three_blobs(n: int = 90, n_neurons: int = 12, far: float = 8.0) -> tm.Activations:
    rng = np.random.default_rng(0)
    label = np.arange(n) % 3
    values = far * rng.normal(size=(3, n_neurons))[label] + rng.normal(size=(n, n_neurons))
    return tm.Activations.from_array(values, label=label, layer="fc")


def test_pca_is_the_principal_components_of_the_scores() -> None:
    acts = three_blobs()
    projection = project_inputs(acts, "pca")
    u, s, _ = np.linalg.svd(acts.scores - acts.scores.mean(axis=0), full_matrices=False)
    for axis in (0, 1):
        r = np.corrcoef(projection.positions[:, axis], u[:, axis] * s[axis])[0, 1]
        assert abs(r) > 1 - 1e-5
    spread = projection.positions.std(axis=0)
    assert spread[1] / spread[0] == pytest.approx(s[1] / s[0], rel=1e-3)  # both axes have one scale


def test_neighbourhoods_show_planted_groups() -> None:
    acts = three_blobs()
    projection = project_inputs(acts, TSNE(perplexity=10), seed=1)
    gaps = np.linalg.norm(projection.positions[:, None] - projection.positions, axis=2)
    np.fill_diagonal(gaps, np.inf)
    nearest = np.argsort(gaps, axis=1)[:, :5]
    labels = acts.inputs["label"]
    assert np.mean(labels[nearest] == labels[:, None]) > 0.95
    again = project_inputs(acts, TSNE(perplexity=10), seed=1)
    assert again.positions.tobytes() == projection.positions.tobytes()


def test_scale_and_dead_neurons_do_not_matter() -> None:
    acts = three_blobs()
    grown = np.column_stack([acts.values * 10.0 ** np.arange(12), np.ones((90, 2))])
    moved = project_inputs(tm.Activations.from_array(grown, layer="fc"), "pca")
    np.testing.assert_allclose(moved.positions, project_inputs(acts, "pca").positions, atol=1e-3)
    assert moved.provenance["n_dead"] == 2 and moved.provenance["n_inputs"] == 90


def test_components_before_neighbours() -> None:
    acts = three_blobs(60, 30)
    whole = project_inputs(acts, "mds", n_components=None)
    reduced = project_inputs(acts, "mds", n_components=5)
    assert whole.provenance["parameters"]["n_components"] is None
    assert reduced.provenance["parameters"]["n_components"] == 5
    assert project_inputs(acts, "mds", n_components=30).provenance["parameters"]["n_components"] is None
    assert not np.allclose(whole.positions, reduced.positions)
    with pytest.raises(ValueError, match="n_components must be at least 2"):
        project_inputs(acts, n_components=1)


def test_places_of_an_input_are_averaged_and_rows_are_kept() -> None:
    acts = three_blobs()
    chosen = np.flatnonzero(np.arange(90) % 2 == 0)
    twice = tm.Activations(
        np.concatenate([acts.values[chosen] + 1, acts.values[chosen] - 1]), acts.inputs, "fc", rows=np.tile(chosen, 2)
    )
    projection = project_inputs(twice, "pca")
    assert projection.rows.tolist() == chosen.tolist() and len(projection) == 45
    half = project_inputs(acts.select(where=np.arange(90) % 2 == 0), "pca")
    np.testing.assert_allclose(projection.positions, half.positions, atol=1e-4)
    assert projection.groups("label").counts.tolist() == [15, 15, 15]
    dataset = projection.to_xarray()
    assert dataset["position"].dims == ("input", "axis") and dataset["id"].values.tolist() == chosen.tolist()
    assert repr(projection) == "Projection(pca: 45 inputs of fc, seed 0)"


def test_too_little_to_project_is_said() -> None:
    with pytest.raises(ValueError, match="at least 4 inputs; got 3"):
        project_inputs(tm.Activations.from_array(np.eye(3)))
    with pytest.raises(ValueError, match="copies of 1"):
        project_inputs(tm.Activations.from_array(np.ones((9, 5))))
    with pytest.raises(ValueError, match="9 inputs of layer 'layer' are copies of 3"):
        project_inputs(tm.Activations.from_array(np.tile(np.eye(3), (3, 1))))
    with pytest.raises(ValueError, match="acts must be of type Activations; got ndarray"):
        project_inputs(np.eye(9))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Did you mean 'umap'"):
        project_inputs(three_blobs(), "umpa")
