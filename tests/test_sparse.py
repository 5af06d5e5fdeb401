"""Sparse values against the same values as arrays, from activations to layouts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist

import topomap as tm
from topomap import _sparse
from topomap.quality.stability import measure_stability


def mostly_zero(n_rows=80, n_neurons=60, density=0.08, seed=0, signed=False):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_rows, n_neurons)) if signed else rng.exponential(size=(n_rows, n_neurons))
    values[rng.random(values.shape) >= density] = 0
    return values.astype(np.float32)


@st.composite
def tables(draw):
    """Small tables with empty rows and columns, constant columns and, at times, negative values."""
    shape = draw(st.integers(1, 25)), draw(st.integers(1, 20))
    values = mostly_zero(
        *shape, draw(st.sampled_from([0, 0.05, 0.3, 1])), draw(st.integers(0, 999)), draw(st.booleans())
    )
    if draw(st.booleans()):
        values[:, 0] = 3
    return values


def both(values, **columns):
    return (
        tm.Activations.from_array(sparse.csr_array(values), **columns),
        tm.Activations.from_array(values, **columns),
    )


# Activations


@settings(max_examples=60, deadline=None)
@given(tables())
def test_statistics_are_those_of_the_array(values):
    acts, dense = both(values)
    assert acts.sparse
    assert not dense.sparse
    np.testing.assert_allclose(acts.mean, dense.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(acts.std, dense.std, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(acts.dead, dense.dead)
    np.testing.assert_allclose(acts.scores, dense.scores, rtol=1e-5, atol=1e-5)
    assert acts.scores.dtype == np.float32
    np.testing.assert_array_equal(acts.scores_of([0, -1]), acts.scores[[0, -1]])
    np.testing.assert_array_equal(dense.scores_of(slice(0, 2)), dense.scores[:2])
    assert acts.density == np.count_nonzero(values) / values.size


def test_by_hand():
    acts = tm.Activations.from_array(sparse.coo_array([[0, 2, 0], [0, 0, 0], [0, 4, 1], [0, 0, 0]]), label=list("abab"))
    assert repr(acts) == "Activations(layer: 4 rows x 3 neurons, 25 % active, 1 dead)"
    assert acts.values.dtype == np.float32
    assert acts.mean.tolist() == [0, 1.5, 0.25]
    np.testing.assert_allclose(acts.std**2, [0, 2.75, 0.1875])
    assert acts.dead.tolist() == [True, False, False]
    assert acts.with_labels(label=list("bbbb")).labels.tolist() == list("bbbb")


def test_every_kind_of_sparse_becomes_clean_rows_and_stays_what_it_was():
    values = mostly_zero()
    for kind in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array, sparse.lil_array):
        np.testing.assert_array_equal(tm.Activations.from_array(kind(values)).values.toarray(), values)
    given_ = sparse.csr_array(([1.0, 2.0, 0.0, 5.0], [1, 1, 0, 0], [0, 3, 4]), shape=(2, 3))
    acts = tm.Activations.from_array(given_)
    assert acts.values.toarray().tolist() == [[0, 3, 0], [5, 0, 0]]
    assert acts.values.nnz == 2  # no zeros, no duplicates
    assert given_.nnz == 4
    assert tm.Activations.from_array(sparse.csr_array(np.eye(3, dtype=bool))).values.dtype == np.float32
    with pytest.raises(ValueError, match=r"shape \(n_inputs, n_neurons\)"):
        tm.Activations.from_array(sparse.coo_array(np.ones(4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    values = mostly_zero()
    values[3, 4] = bad
    acts = tm.Activations.from_array(sparse.csr_array(values))
    assert "dead" not in repr(acts)
    with pytest.raises(ValueError, match="NaN or infinite values in 1 neurons"):
        tm.correlate(acts, "cosine")


def test_rows_are_selected_and_averaged_as_sparse_ones(monkeypatch):
    monkeypatch.setattr(_sparse, "BLOCK_ENTRIES", 150)
    values = mostly_zero()
    acts, dense = both(values, label=np.arange(80) % 4)
    picked, expected = acts.select({"label": [1, 3]}, n=10, seed=3), dense.select({"label": [1, 3]}, n=10, seed=3)
    assert picked.sparse
    np.testing.assert_array_equal(picked.values.toarray(), expected.values)
    tokens, table = (replace(a, rows=np.repeat(np.arange(0, 80, 2), 2)[::-1]) for a in (acts, dense))
    averaged = tokens.per_input()
    assert averaged.sparse
    np.testing.assert_allclose(averaged.values.toarray(), table.per_input().values, rtol=1e-6)
    np.testing.assert_array_equal(averaged.rows, np.arange(0, 80, 2))
    parts = list(acts.sparse_blocks())
    assert len(parts) > 1
    np.testing.assert_array_equal(sparse.vstack([block for _, block in parts]).toarray(), values)
    blocks = list(acts.blocks())
    assert max(len(block) for _, block in blocks) == 2  # 150 entries of 60 neurons
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), values)
    np.testing.assert_allclose(acts.std, values.astype(float).std(axis=0), rtol=1e-9)
    with pytest.raises(ValueError, match="not sparse"):
        next(dense.sparse_blocks())


def test_nothing_large_is_filled_up_unasked(monkeypatch):
    monkeypatch.setattr(_sparse, "DENSE_ENTRIES", 1000)
    acts, _ = both(mostly_zero())
    with pytest.raises(ValueError, match=r"dense array of 80 x 60.* acts.scores_of\(rows\)"):
        _ = acts.scores
    assert acts.scores_of(np.arange(5)).shape == (5, 60)
    with pytest.raises(ValueError, match="Take fewer rows"):
        acts.scores_of(np.arange(40))
    similarity = tm.correlate(acts)
    for ask in (similarity.matrix, similarity.distance):
        with pytest.raises(ValueError, match=r"60 x 60.* Use neighbors\(k\), or distance_block"):
            ask()
    assert similarity.distance_block(3, 5).shape == (2, 60)


def test_as_xarray():
    acts, _ = both(mostly_zero())
    ds = acts.to_xarray()
    pointers = np.concatenate([[0], np.cumsum(ds["count"])])
    rebuilt = sparse.csr_array((ds["data"], ds["indices"], pointers), shape=(80, ds.attrs["n_neurons"]))
    np.testing.assert_array_equal(rebuilt.toarray(), acts.values.toarray())
    ds = tm.correlate(acts, "jaccard").to_xarray()
    assert int(ds["count"].sum()) == len(ds["data"]) == acts.values.nnz
    assert ds.attrs["metric"] == "jaccard"


# Similarity


def cosine_oracle(values):
    norms = np.linalg.norm(values.astype(float), axis=0)
    return (values.T.astype(float) @ values) / np.where(norms == 0, 1, norms) / np.where(norms == 0, 1, norms)[:, None]


def pearson_oracle(values):
    return cosine_oracle(values - values.mean(axis=0, dtype=float))


def jaccard_oracle(values):
    active = values.T > 0
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(1 - cdist(active, active, "jaccard")) * (active.any(1) & active.any(1)[:, None])


ORACLES = {"cosine": cosine_oracle, "pearson": pearson_oracle, "jaccard": jaccard_oracle}


@settings(max_examples=120, deadline=None)
@given(tables(), st.sampled_from(list(ORACLES)), st.booleans(), st.integers(1, 12))
def test_distances_and_neighbors_are_those_of_the_textbook(values, metric, absolute, k):
    absolute = absolute and metric != "jaccard"
    acts, dense = both(values)
    similarity = tm.correlate(acts, metric, absolute)
    n = values.shape[1]
    expected = ORACLES[metric](values) * ~dense.dead * ~dense.dead[:, None]
    expected = np.abs(expected) if absolute else expected
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(similarity.matrix(), expected, atol=2e-6)
    np.testing.assert_allclose(similarity.distance(), np.maximum(1 - expected, 0), atol=2e-6)
    np.testing.assert_allclose(tm.correlate(dense, metric, absolute).matrix(), expected, atol=2e-5)
    assert similarity.matrix().dtype == np.float32
    if k >= n:
        with pytest.raises(ValueError, match="k must be below"):
            similarity.neighbors(k)
        return
    indices, distances = similarity.neighbors(k)
    far = np.maximum(1 - expected, 0) + np.diag(np.full(n, np.inf))
    np.testing.assert_allclose(distances, np.sort(far, axis=1)[:, :k], atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(far, indices, axis=1), distances, atol=2e-6)
    assert all(len(set(row)) == k for row in indices.tolist())
    again = similarity.neighbors(k)
    np.testing.assert_array_equal(indices, again[0])


@pytest.mark.parametrize("metric", list(ORACLES))
def test_neighbors_do_not_depend_on_the_blocks(metric, monkeypatch):
    similarity = tm.correlate(both(mostly_zero(signed=True))[0], metric)
    whole = similarity.neighbors(15)
    monkeypatch.setattr(_sparse, "BLOCK_ENTRIES", 70)
    parts = similarity.neighbors(15)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[1], parts[1])


def test_jaccard_by_hand():
    values = np.array([[1, 5, 0, 0, 2], [2, 0, 0, -1, 2], [3, 1, 0, 0, 2], [0, 1, 0, -2, 2]], dtype=np.float32)
    for source in both(values):
        similarity = tm.correlate(source, "jaccard")
        third = similarity.matrix()[0, 1]
        assert third == pytest.approx(2 / 4)
        assert similarity.dead.tolist() == [False, False, True, True, True]  # never active, and never varying
        np.testing.assert_allclose(similarity.distance()[0], [0, 0.5, 1, 1, 1])
    with pytest.raises(ValueError, match="absolute=True needs"):
        tm.correlate(values, "jaccard", absolute=True)


def test_neurons_without_partners_have_a_fixed_random_draw_and_nobody_is_a_hub():
    values = np.eye(400, dtype=np.float32)  # no two are ever active together
    similarity = tm.correlate(sparse.csr_array(values), "jaccard")
    indices, distances = similarity.neighbors(10)
    assert (distances == 1).all()
    assert (indices != np.arange(400)[:, None]).all()
    assert np.bincount(indices.ravel(), minlength=400).max() < 30  # 10 on average
    np.testing.assert_array_equal(indices, similarity.neighbors(10)[0])


def test_correlations_of_neurons_far_from_zero_keep_their_digits():
    values = mostly_zero(200, 40)
    values[:, :5] = 1000 + np.random.default_rng(1).normal(size=(200, 5))
    similarity = tm.correlate(sparse.csr_array(values))
    np.testing.assert_allclose(similarity.matrix(), np.corrcoef(values.T.astype(float)), atol=1e-6)


@pytest.mark.parametrize("metric", list(ORACLES))
def test_components_are_those_of_the_filled_rows(metric):
    values = mostly_zero(50, 90, density=0.3)
    pairs = tm.correlate(sparse.csr_array(values), metric).coactivity
    rows = values - values.mean(axis=0) if metric == "pearson" else values > 0 if metric == "jaccard" else values
    rows = rows.T / np.linalg.norm(rows, axis=0)[:, None]
    centred = rows - rows.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred.astype(float), full_matrices=False)
    found = pairs.components(50)[:, :3]
    expected = (left * singular)[:, :3]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-4)
    assert (found[np.abs(found).argmax(axis=0), np.arange(3)] > 0).all()
    assert pairs.components(100).shape == (90, 100)
    np.testing.assert_allclose(pairs.pairs(np.arange(5), np.arange(1, 6)), pairs.block(0, 5)[range(5), range(1, 6)])


def test_some_of_the_neurons():
    similarity = tm.correlate(sparse.csr_array(mostly_zero()), "pearson")
    chosen = np.array([4, 1, 30])
    np.testing.assert_allclose(similarity.take(chosen).matrix(), similarity.matrix()[np.ix_(chosen, chosen)], atol=1e-6)
    assert repr(similarity) == "Similarity(pearson: 60 neurons, 0 dead, 80 inputs, 8.1 % active)"


@pytest.mark.parametrize("metric", ["spearman", "euclidean"])
def test_metrics_that_would_fill_the_values_are_refused(metric):
    acts = tm.Activations.from_array(sparse.csr_array(mostly_zero()))
    with pytest.raises(ValueError, match=r"one of 'pearson', 'cosine', 'jaccard', or pass few enough .*toarray"):
        tm.correlate(acts, metric)


# What is made of them


@settings(max_examples=25, deadline=None)
@given(tables(), st.integers(0, 99))
def test_profiles_are_those_of_the_array(values, seed):
    label = np.random.default_rng(seed).integers(0, 3, len(values))
    found, expected = (tm.profile(acts, "label", contrast="none") for acts in both(values, label=label))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.standard_errors, expected.standard_errors, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.noise_floor, expected.noise_floor, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("metric", list(ORACLES))
@pytest.mark.parametrize("method", ["spread", "tsne", "pca", "som", "mds"])
def test_layouts_stand_on_sparse_neurons(method, metric):
    rng = np.random.default_rng(0)
    topic = np.arange(90) % 3
    active = rng.random((150, 90)) < np.where(np.arange(150)[:, None] % 3 == topic, 0.25, 0.01)
    values = (active * rng.exponential(size=active.shape)).astype(np.float32)
    values[:, 7] = 0
    acts, dense = both(values)
    similarity = tm.correlate(acts, metric)
    layout = tm.embed(similarity, method)
    assert layout.dead.tolist() == dense.dead.tolist()
    live = ~layout.dead
    apart = cdist(layout.positions[live], layout.positions[live]) + np.diag(np.full(live.sum(), np.inf))
    same = topic[live][apart.argmin(axis=1)] == topic[live]
    assert same.mean() > 0.7  # chance is a third
    quality, reference = (tm.measure_layout(layout, tm.correlate(a, metric)) for a in (acts, dense))
    assert quality.trustworthiness == pytest.approx(reference.trustworthiness, abs=2e-3)
    np.testing.assert_array_equal(tm.embed(similarity, method).positions, layout.positions)


@pytest.mark.parametrize("n", range(1, 6))
@pytest.mark.parametrize("metric", list(ORACLES))
def test_few_neurons_and_no_activity(n, metric):
    for values in (mostly_zero(30, n, density=0.5), np.zeros((30, n), dtype=np.float32)):
        similarity = tm.correlate(sparse.csr_array(values), metric)
        assert similarity.dead.all() == (not values.any())
        if n < 4 or not values.any():
            with pytest.warns(tm.TopomapWarning, match="has no meaning"):
                layout = tm.embed(similarity)
        else:
            layout = tm.embed(similarity)
        assert np.isfinite(layout.positions).all()


def test_stability_resamples_sparse_rows():
    acts, dense = both(mostly_zero(60, 30))
    found, expected = (measure_stability(a, "pca", n=3, metric="cosine", progress=False) for a in (acts, dense))
    np.testing.assert_allclose(found.disparities, expected.disparities, atol=0.02)


def test_maps_of_sparse_inputs():
    acts, dense = both(mostly_zero(12, 30))
    layout = tm.embed(tm.correlate(acts, "cosine"), "pca")
    for a in (acts, dense):
        figure = tm.plot_inputs(a, layout, [0, 4])
        assert len(figure.axes) >= 2
