"""Patterns: what they hold, and that they are HDBSCAN's on values scaled as published."""

import numpy as np
import pytest
from hdbscan import HDBSCAN
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import topomap as tm
from topomap.patterns import Patterns
from topomap.run import Activations, Inputs, Moments, Run


def groups_of_inputs(n=150, d=8, n_groups=5, seed=0, relu=True):
    """Draw groups of unlike density, and some inputs of none."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-0.5, 2, size=(n_groups, d))
    width = rng.uniform(0.05, 0.3, n_groups)
    group = rng.integers(n_groups, size=n)
    values = centre[group] + rng.normal(size=(n, d)) * width[group, None]
    values[: n // 10] = rng.normal(size=(n // 10, d)) * 2
    return (np.maximum(values, 0) if relu else values).astype(np.float32)


def reference(features, **settings):
    """Fit hdbscan itself, and return its results with clusters by descending persistence."""
    model = HDBSCAN(**{"min_cluster_size": 5, "min_samples": 5, "cluster_selection_method": "leaf", **settings})
    model.fit(features)
    order = sorted(range(len(model.cluster_persistence_)), key=lambda k: -model.cluster_persistence_[k])
    labels = np.array([order.index(k) if k >= 0 else -1 for k in model.labels_])
    return labels, model.probabilities_, model.outlier_scores_, model.cluster_persistence_[order]


def same(patterns, expected, atol=0.0):
    labels, probabilities, scores, persistence = expected
    np.testing.assert_array_equal(patterns.labels, labels)
    np.testing.assert_allclose(patterns.probabilities, probabilities, rtol=0, atol=atol)
    np.testing.assert_allclose(patterns.outlier_scores, scores, rtol=0, atol=atol)
    np.testing.assert_allclose(patterns.persistence, persistence, rtol=0, atol=atol)
    assert len(patterns) > 1  # nothing is shown where there is nothing


def run_of(recorded, n=None, layer="conv"):
    """Make a run from values per reduction."""
    n = len(next(iter(recorded.values()))) if n is None else n
    inputs = Inputs(np.arange(n), {"label": np.arange(n) % 3})
    return Run(inputs, {(layer, way): Activations(v, inputs, layer, way) for way, v in recorded.items()})


def kept(maps):
    """Activations with the places of maps, shape (n, places, units), as rows."""
    n, places, units = maps.shape
    where = np.stack(np.unravel_index(np.tile(np.arange(places), n), (2, places // 2)), axis=1)
    rows = np.repeat(np.arange(n), places)
    inputs = Inputs(np.arange(n))
    return Activations(maps.reshape(-1, units), inputs, "conv", "positions", rows, where)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("d", [8, 90])  # above 60 features, products take the place of hdbscan's own search
def test_results_are_those_of_hdbscan(d, relu):
    values = groups_of_inputs(d=d, relu=relu)
    wide = values.astype(np.float64)
    largest = np.abs(wide).max(axis=0)
    features = wide / np.where(largest == 0, 1, largest)
    patterns = tm.find_patterns(Activations.from_array(values))
    np.testing.assert_array_equal(patterns.features, features)
    same(patterns, reference(features), atol=1e-12)


def test_an_hdbscan_that_takes_no_tree_gives_the_same(monkeypatch):
    acts = Activations.from_array(groups_of_inputs(d=70))
    before = tm.find_patterns(acts)
    monkeypatch.delattr("hdbscan._hdbscan_linkage.label")
    with pytest.warns(tm.TopomapWarning, match="many times longer. Install 'hdbscan>=0.8.42,<0.9'") as said:
        after = tm.find_patterns(acts)
    assert said[0].filename == __file__
    same(after, (before.labels, before.probabilities, before.outlier_scores, before.persistence), atol=1e-12)
    np.testing.assert_array_equal(after.assign(acts).labels, before.assign(acts).labels)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_cluster_size": 8},
        {"min_samples": 2},
        {"cluster_selection_epsilon": 0.4},
        {"metric": "manhattan"},
        {"selection": "eom"},
    ],
)
@pytest.mark.parametrize("d", [6, 70])
def test_parameters_reach_hdbscan(settings, d):
    values = groups_of_inputs(d=d, seed=2)
    patterns = tm.find_patterns(Activations.from_array(values), **settings)
    own = {"cluster_selection_method" if k == "selection" else k: v for k, v in settings.items()}
    same(patterns, reference(patterns.features, **own), atol=1e-12)
    assert {**patterns.parameters, **settings} == patterns.parameters


def test_scalings_are_the_published_ones():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(40, 3)), rng.uniform(size=(40, 3))
    low, high = rng.normal(size=(40, 3)) - 3, rng.normal(size=(40, 3)) + 3
    mean[:, 2] = std[:, 2] = 0
    run = run_of({"mean": mean, "std": std, "min": low, "max": high})
    options = {"min_cluster_size": 2, "min_samples": 1}
    top = np.abs(mean).max(axis=0)
    top[2] = 1
    found = tm.find_patterns(run, "conv", **options)
    assert found.reduce == "mean"
    np.testing.assert_array_equal(found.features, mean / top)
    both = tm.find_patterns(run, "conv", reduce="mean+std", **options)
    np.testing.assert_array_equal(both.features, np.hstack([mean / top, std / np.sqrt(top)]))
    assert not both.features[:, [2, 5]].any()
    reach = tm.find_patterns(run, "conv", reduce="min+max", **options)
    np.testing.assert_array_equal(
        reach.features, np.hstack([low / np.abs(low).max(axis=0), high / np.abs(high).max(axis=0)])
    )
    assert np.abs(reach.features).max() == 1


def test_places_give_what_reductions_record():
    rng = np.random.default_rng(3)
    maps = np.maximum(rng.normal(size=(30, 6, 4)), 0).astype(np.float32)
    wide = maps.astype(np.float64)
    acts = kept(maps)
    shuffled = rng.permutation(acts.n_rows)
    mixed = Activations(
        acts.values[shuffled], acts.inputs, "conv", "positions", acts.rows[shuffled], acts.places[shuffled]
    )
    recorded = run_of(
        {"mean": wide.mean(axis=1), "std": wide.std(axis=1), "max": wide.max(axis=1), "min": wide.min(axis=1)}
    )
    options = {"min_cluster_size": 2, "min_samples": 1}
    for reduce in ("mean", "mean+std", "max", "min+max"):
        one = tm.find_patterns(mixed, reduce=reduce, **options)
        np.testing.assert_allclose(
            one.features, tm.find_patterns(recorded, "conv", reduce=reduce, **options).features, atol=1e-12
        )
    beside = tm.find_patterns(mixed, reduce="none", **options)
    flat = (wide / wide.max(axis=(0, 1))).reshape(30, -1)  # a unit has one scale for all its places
    np.testing.assert_array_equal(beside.features, flat)
    assert beside.rows.tolist() == list(range(30))


def test_shifted_maps_lie_side_by_side_and_give_no_statistics():
    acts = kept(np.random.default_rng(5).normal(size=(40, 6, 4)))
    shifted = Activations(acts.values, acts.inputs, "conv", "aligned", acts.rows, acts.places)
    options = {"min_cluster_size": 2, "min_samples": 1}
    assert tm.find_patterns(shifted, **options).reduce == "none"
    with pytest.raises(ValueError, match="needs a recording that has it; it was recorded as 'aligned'"):
        tm.find_patterns(shifted, reduce="mean")
    run = Run(acts.inputs, {("conv", "aligned"): shifted, ("conv", "positions"): acts})
    assert tm.find_patterns(run, "conv", **options).reduce == "mean"


def test_unit_is_its_map_where_places_were_kept_and_else_its_value():
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(40, 6, 4))
    maps[:20, :, 2] += 9
    acts = kept(maps)
    patterns = tm.find_patterns(acts, unit=2)
    np.testing.assert_array_equal(patterns.features, maps[:, :, 2] / np.abs(maps[:, :, 2]).max())
    assert (patterns.unit, patterns.reduce) == (2, "none")
    assert set(patterns.labels[:20]) & set(patterns.labels[20:]) <= {-1}
    value = tm.find_patterns(acts, unit=2, reduce="mean")
    assert value.features.shape == (40, 1)
    both = tm.find_patterns(acts, unit=2, reduce="mean+std")
    np.testing.assert_allclose(both.features[:, 0], value.features[:, 0])
    assert both.features.shape == (40, 2)
    assert "unit 2" in repr(value)


def test_layers_without_places_are_taken_as_they_are():
    values = groups_of_inputs()
    run = run_of({"none": values}, layer="fc")
    plain = tm.find_patterns(Activations.from_array(values))
    for reduce in (None, "mean", "mean+std", "max", "none"):
        patterns = tm.find_patterns(run, "fc", reduce=reduce)
        np.testing.assert_array_equal(patterns.labels, plain.labels)
        assert patterns.reduce == "none"


def test_many_layers_give_one_result_each():
    values = groups_of_inputs()
    inputs = Inputs(np.arange(len(values)))
    layers = ("conv1", "conv2", "fc")
    run = Run(inputs, {(layer, "none"): Activations(values, inputs, layer) for layer in layers})
    assert tuple(tm.find_patterns(run)) == layers
    assert tuple(tm.find_patterns(run, "conv*")) == ("conv1", "conv2")
    assert tuple(tm.find_patterns(run, ["fc"])) == ("fc",)
    assert isinstance(tm.find_patterns(run, "fc"), Patterns)
    with pytest.raises(ValueError, match=r"layer must be one of 'conv1', 'conv2', 'fc'; got 'conv9'.*Did you mean"):
        tm.find_patterns(run, "conv9")
    with pytest.raises(ValueError, match="layer= is empty"):
        tm.find_patterns(run, [])


def test_what_was_not_recorded_is_said_with_the_way_out():
    run = run_of({"mean": groups_of_inputs()})
    with pytest.raises(ValueError, match=r"recorded as 'mean'. Record with reduce=\['mean', 'std'\]\.$"):
        tm.find_patterns(run, "conv", reduce="mean+std")
    with pytest.raises(ValueError, match=r"pass the run: find_patterns\(run, 'conv', reduce='min\+max'\)"):
        tm.find_patterns(run["conv"], reduce="min+max")
    with pytest.raises(ValueError, match=r"reduce='positions' \(or 'tokens'\)"):
        tm.find_patterns(run, "conv", reduce="none")
    with pytest.raises(ValueError, match=r"reduce must be one of 'mean', 'mean.std'.*got 'median'"):
        tm.find_patterns(run, "conv", reduce="median")
    moments = Run(run.inputs, {("conv", "mean"): Moments(3, np.zeros(2), np.ones(2))})
    with pytest.raises(ValueError, match="keep='values'"):
        tm.find_patterns(moments, "conv")
    several = run_of({"max": groups_of_inputs(), "min": groups_of_inputs()})
    with pytest.raises(ValueError, match="recorded as 'max', 'min': say which reduce="):
        tm.find_patterns(several, "conv")
    assert tm.find_patterns(several, "conv", reduce="max").reduce == "max"


def test_members_counts_and_groups_tell_the_same_story():
    values = groups_of_inputs()
    acts = Activations.from_array(values, label=np.arange(len(values)) % 2).select(where={"label": 1})
    patterns = tm.find_patterns(acts)
    assert (np.diff(patterns.persistence) <= 0).all()
    assert patterns.names == (*[f"pattern {k}" for k in range(len(patterns))], "noise")
    assert patterns.counts.sum() == patterns.n_rows == acts.n_rows
    assert patterns.noise == np.mean(patterns.labels == -1) > 0
    groups = patterns.groups
    assert groups.n_rows == len(acts.inputs)
    assert groups.names == patterns.names
    np.testing.assert_array_equal(groups.counts, patterns.counts)
    probability = dict(zip(patterns.rows.tolist(), patterns.probabilities, strict=True))
    for k in patterns.ids:
        members = patterns.members(k)
        np.testing.assert_array_equal(np.sort(members), groups.rows_of(patterns.names[k]))
        assert (members % 2 == 1).all()  # positions in the whole table
        assert (np.diff([probability[i] for i in members.tolist()]) <= 0).all()
    with pytest.raises(ValueError, match="pattern must be one of 0 to"):
        patterns.members(len(patterns))


def test_permuted_inputs_give_permuted_patterns():
    values = groups_of_inputs(d=70, relu=False)
    order = np.random.default_rng(1).permutation(len(values))
    one, other = (
        tm.find_patterns(Activations.from_array(values)),
        tm.find_patterns(Activations.from_array(values[order])),
    )
    np.testing.assert_array_equal(one.labels[order], other.labels)
    np.testing.assert_allclose(one.probabilities[order], other.probabilities, atol=1e-12)
    np.testing.assert_allclose(one.outlier_scores[order], other.outlier_scores, atol=1e-12)
    np.testing.assert_allclose(one.persistence, other.persistence, atol=1e-12)


def test_sparse_and_stored_values_give_the_same(tmp_path):
    values = groups_of_inputs(d=20)
    plain = tm.find_patterns(Activations.from_array(values))
    acts = Activations.from_array(sparse.csr_array(values))
    same(tm.find_patterns(acts), (plain.labels, plain.probabilities, plain.outlier_scores, plain.persistence))
    folder = tmp_path / "run"
    tm.save_run(Run(acts.inputs, {("fc", "none"): Activations(values, acts.inputs, "fc")}), folder)
    stored = tm.find_patterns(tm.open_run(folder), "fc")
    same(stored, (plain.labels, plain.probabilities, plain.outlier_scores, plain.persistence))


def test_principal_components_are_said():
    values = groups_of_inputs(d=40)
    patterns = tm.find_patterns(Activations.from_array(values), n_components=4)
    again = tm.find_patterns(Activations.from_array(values), n_components=4)
    assert patterns.features.tobytes() == again.features.tobytes()
    assert patterns.features.shape == (150, 4)
    assert "4 principal components" in repr(patterns)
    assert patterns.provenance["parameters"]["n_components"] == 4
    assert 0.5 < patterns.provenance["explained"] < 1
    scaled = tm.find_patterns(Activations.from_array(values)).features
    centred = scaled - scaled.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(patterns.features, axis=0), singular[:4], rtol=1e-6)
    same(patterns, reference(patterns.features))
    for bad in (0, 41):
        with pytest.raises(ValueError, match="n_components must be at"):
            tm.find_patterns(Activations.from_array(values), n_components=bad)


@given(st.integers(1, 14), st.integers(1, 3), st.sampled_from(["drawn", "equal", "zero", "twins"]), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::topomap.TopomapWarning")
def test_few_equal_and_constant_inputs_give_finite_results(n, d, kind, seed):
    values = np.random.default_rng(seed).normal(size=(n, d))
    if kind == "twins":
        values = values[np.arange(n) % 2]
    elif kind != "drawn":
        values[:] = 0 if kind == "zero" else 3
    acts = Activations.from_array(values)
    for patterns in (tm.find_patterns(acts), tm.find_patterns(acts, min_cluster_size=2, min_samples=1)):
        assert patterns.n_rows == n == patterns.groups.counts.sum()
        for column in (patterns.probabilities, patterns.outlier_scores, patterns.persistence):
            assert np.isfinite(column).all() and (column >= 0).all() and (column <= 1).all()
        assert patterns.labels.max(initial=-1) == len(patterns) - 1


def test_warnings_say_what_helps():
    rng = np.random.default_rng(0)
    with pytest.warns(tm.TopomapWarning, match="no pattern found in layer 'layer': 7 inputs are too few for two of 5"):
        assert len(tm.find_patterns(Activations.from_array(rng.normal(size=(7, 3))))) == 0
    with pytest.warns(tm.TopomapWarning, match="no two groups stand apart"):
        tm.find_patterns(Activations.from_array(np.ones((30, 3))))
    values = rng.normal(size=(300, 20)) * np.exp(rng.uniform(1, 6, (300, 1)))  # thins out, without a second group
    values[:20] = np.repeat([[0.3], [-0.3]], 10, axis=0) + rng.normal(size=(20, 20)) * 0.01
    with pytest.warns(tm.TopomapWarning, match="% of the inputs of layer 'layer' are noise"):
        patterns = tm.find_patterns(Activations.from_array(values))
    assert len(patterns) > 0
    assert patterns.noise > 0.9


def test_equal_inputs_have_infinite_density_and_finite_scores():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full((9, 3), 5.0), rng.normal(-3, 0.3, (25, 3)), rng.normal(3, 0.3, (25, 3))])
    acts = Activations.from_array(values)
    with pytest.warns(tm.TopomapWarning, match="more than min_samples=5 inputs.*persistence 1"):
        patterns = tm.find_patterns(acts)
    assert patterns.provenance["infinite_density"]
    assert (patterns.persistence == 1).all()
    assert (np.diff(patterns.counts[: len(patterns)]) <= 0).all()  # then by size
    assert not patterns.outlier_scores[:9].any()
    raw = HDBSCAN(min_cluster_size=5, min_samples=5, cluster_selection_method="leaf").fit(patterns.features)
    np.testing.assert_array_equal(patterns.outlier_scores, np.nan_to_num(raw.outlier_scores_, nan=1))
    back = patterns.assign(acts)
    np.testing.assert_array_equal(back.labels[:9], patterns.labels[:9])
    assert (back.probabilities[:9] == 1).all()
    assert not back.outlier_scores[:9].any()
    assert np.isfinite(back.outlier_scores).all()


def test_bad_values_and_parameters_are_refused_in_words():
    values = groups_of_inputs()
    broken = values.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite values in 1 neurons"):
        tm.find_patterns(Activations.from_array(broken))
    acts = Activations.from_array(values)
    for options, message in [
        ({"min_cluster_size": 1}, "min_cluster_size must be at least 2; got 1"),
        ({"min_cluster_size": 5.5}, "min_cluster_size must be a whole number of at least 2; got 5.5"),
        ({"min_samples": "5"}, "min_samples must be a whole number of at least 1; got '5'"),
        ({"n_components": 2.5}, "n_components must be a whole number of at least 1; got 2.5"),
        ({"seed": None}, "seed must be a whole number of at least 0; got None"),
        ({"cluster_selection_epsilon": "1"}, "cluster_selection_epsilon must be a number of at least 0; got '1'"),
        ({"min_samples": 0}, "min_samples must be at least 1"),
        ({"cluster_selection_epsilon": -1}, "cluster_selection_epsilon must be at least 0"),
        ({"selection": "leaves"}, "selection must be one of 'leaf', 'eom'.*Did you mean 'leaf'"),
        ({"metric": "cosine"}, "metric must be one of 'euclidean'"),
        ({"unit": 8}, "unit of layer 'layer' must be one of 0 to 7; got 8"),
        ({"unit": -1}, "must be one of 0 to 7"),
        ({"layer": "conv"}, "these are the activations of layer 'layer'"),
    ]:
        with pytest.raises(ValueError, match=message):
            tm.find_patterns(acts, **options)
    with pytest.raises(ValueError, match="source must be of type Activations or Run; got ndarray"):
        tm.find_patterns(values)
    with pytest.raises(ValueError, match="0 rows x 4 neurons: nothing to cluster"):
        tm.find_patterns(Activations.from_array(np.zeros((0, 4))))
    with pytest.raises(ValueError, match="reduce='positions' keeps several rows of each input"):
        tm.find_patterns(kept(np.ones((9, 4, 2))), reduce="positions")
    ragged = kept(np.ones((9, 4, 2)))
    ragged = Activations(ragged.values[1:], ragged.inputs, "conv", "positions", ragged.rows[1:], ragged.places[1:])
    with pytest.raises(ValueError, match=r"from 3 to 4 places.*reduce='mean'"):
        tm.find_patterns(ragged, reduce="none")


def test_to_xarray_holds_everything():
    data = tm.find_patterns(Activations.from_array(groups_of_inputs(relu=False)), unit=3).to_xarray()
    assert data["features"].shape == (150, 1)
    assert int(data["count"].sum()) == int((data["label"] >= 0).sum())
    assert data.attrs["unit"] == 3
    assert data.attrs["selection"] == "leaf"
