"""Profiles against their definition: one weight per group and input, written out and multiplied in float64."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import topomap as tm
from topomap.recording.moments import MomentAccumulator
from topomap.run import GroupMoments
from topomap.store import open_run, save_run

ERROR_MODES = ("correct", ("label", "correct"), ("label", "prediction"))
CLASSES = ("cat", "dog", "fox")


def make_values(rng, n, n_neurons):
    values = rng.gamma(0.5, size=(n, n_neurons)) * (rng.random((n, n_neurons)) < 0.6)
    values[:, -1] = 3.5  # a constant neuron
    return values.astype(np.float32)


def make_acts(seed=0, n=90, n_neurons=7):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    prediction = np.where(rng.random(n) < 0.6, label, rng.integers(0, 3, n))
    site = rng.choice(["", "a", "b"], n)
    inputs = tm.Inputs(np.arange(n), {"label": label, "prediction": prediction, "site": site}, CLASSES)
    return tm.Activations(make_values(rng, n, n_neurons), inputs, "fc")


def weights_of(members, n, contrast, weights, reference=None):
    """What every input weighs in every profile; `members` are sets of inputs."""
    own = np.array([[(i in m) / max(len(m), 1) for i in range(n)] for m in members])
    filled = [g for g, m in enumerate(members) if m]
    out = np.zeros((len(members), n))
    grouped = set().union(*members)
    for g in filled:
        if contrast == "none":
            against = np.zeros(n)
        elif contrast == "group":
            against = own[reference]
        elif contrast == "rest" and weights == "size":
            rest = grouped - members[g]
            if not rest:
                continue
            against = np.array([(i in rest) / len(rest) for i in range(n)])
        else:
            others = [h for h in filled if contrast == "mean" or h != g]
            if not others:
                continue
            each = [len(members[h]) if weights == "size" else 1 for h in others]
            against = np.average(own[others], axis=0, weights=each)
        out[g] = own[g] - against
    return out


def floor_of(weight, values):
    spread = ((weight - weight.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return 1.96 * np.sqrt(spread)[:, None] * values.std(axis=0, ddof=1)


def errors_of(members, values):
    out = np.full((len(members), values.shape[1]), np.nan)
    for g, member in enumerate(members):
        if len(member) > 1:
            out[g] = values[sorted(member)].std(axis=0, ddof=1) / np.sqrt(len(member))
    return out


def assert_profiles(profiles, values, members, contrast, weights, reference=None):
    values = values.astype(np.float64)
    weight = weights_of(members, len(values), contrast, weights, reference)
    np.testing.assert_array_equal(profiles.counts, [len(member) for member in members])
    np.testing.assert_allclose(profiles.values, weight @ values, atol=1e-10)
    np.testing.assert_allclose(profiles.noise_floor, floor_of(weight, values), atol=1e-7)
    np.testing.assert_allclose(profiles.standard_errors, errors_of(members, values), atol=1e-7)
    np.testing.assert_allclose(profiles.scale, values.std(axis=0) * ~profiles.dead, atol=1e-10)
    np.testing.assert_array_equal(profiles.dead, values.min(axis=0) == values.max(axis=0))
    assert np.isfinite(profiles.values).all() and np.isfinite(profiles.noise_floor).all()


def members_by(acts, by):
    """The inputs of every combination of values, found by a loop."""
    names = (by,) if isinstance(by, str) else by
    found = {}
    for i, key in enumerate(zip(*(acts.inputs[name].tolist() for name in names), strict=True)):
        if "" not in key:
            found.setdefault(key, set()).add(i)
    return dict(sorted(found.items()))


@pytest.mark.parametrize("by", [*ERROR_MODES, "label", "site", ("site", "label", "correct")], ids=str)
@pytest.mark.parametrize("weights", ["equal", "size"])
@pytest.mark.parametrize("contrast", ["none", "mean", "rest", "group"])
def test_every_error_mode_and_contrast(by, contrast, weights):
    acts = make_acts()
    members = members_by(acts, by)
    groups = acts.groups(by)
    assert groups.keys == tuple(members)
    profiles = tm.profile(acts, by=by, contrast=groups.names[1] if contrast == "group" else contrast, weights=weights)
    assert profiles.names == groups.names and profiles.keys == tuple(members)
    assert profiles.n_ungrouped == len(acts.inputs) - len(set().union(*members.values()))
    assert_profiles(profiles, acts.values, list(members.values()), contrast, weights, 1)


def test_a_confusion_matrix_can_be_laid_out_by_its_keys():
    profiles = tm.profile(make_acts(), by=("label", "prediction"))
    assert set(profiles.keys) == set(itertools.product(range(3), repeat=2))
    assert profiles.names[profiles.keys.index((0, 2))] == "cat, fox"
    assert len(set(profiles.names)) == 9


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_membership(data):
    n, k = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 6))
    table = np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=k, max_size=k)))
    values = make_values(np.random.default_rng(data.draw(st.integers(0, 99))), n, 4)
    groups = tm.Groups(tuple(f"g{i}" for i in range(k)), table.astype(float))
    contrast = data.draw(st.sampled_from(["none", "mean", "rest", "group"]))
    weights = data.draw(st.sampled_from(["equal", "size"]))
    reference = data.draw(st.integers(0, k - 1))
    acts = tm.Activations.from_array(values)
    members = [set(np.flatnonzero(row).tolist()) for row in table]
    filled = [member for member in members if member]
    options = {"contrast": f"g{reference}" if contrast == "group" else contrast, "weights": weights}
    if not filled or (contrast == "group" and not members[reference]):
        with pytest.raises(ValueError, match=r"no input is in any|has no inputs here"):
            tm.profile(acts, by=groups, **options)
        return
    grouped = set().union(*members)
    alone = contrast != "none" and len(filled) == 1
    whole = contrast == "rest" and weights == "size" and any(member == grouped for member in filled)
    if alone or whole:
        with pytest.warns(tm.TopomapWarning, match="one group alone" if alone else "leaves no rest"):
            profiles = tm.profile(acts, by=groups, **options)
    else:
        profiles = tm.profile(acts, by=groups, **options)
    assert_profiles(profiles, values, members, contrast, weights, reference)
    assert profiles.n_ungrouped == n - len(grouped)


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """The same layer as an array, sparse, on disk, and on disk and sparse."""
    acts = make_acts(n=3000)
    rows = sparse.csr_array(acts.values)
    thin = tm.Activations(rows, acts.inputs, "fc")
    folder = tmp_path_factory.mktemp("routes")
    for name, each in (("array", acts), ("sparse", thin)):
        save_run(tm.Run(acts.inputs, {("fc", "none"): each}), folder / name)
    return {"array": acts, "sparse": thin}, folder


def moments_of(acts, *groupings):
    found = []
    for by in groupings:
        groups = acts.groups(by)
        parts = [acts.values[groups.rows_of(name)].astype(np.float64) for name in groups.names]
        variance = [np.var(part, axis=0, ddof=1) if len(part) > 1 else np.zeros(acts.n_neurons) for part in parts]
        means = groups.means(acts.values)
        found.append(GroupMoments(groups.by, groups.names, groups.keys, groups.counts, means, np.array(variance)))
    values = acts.values.astype(np.float64)
    extremes = {"minimum": values.min(axis=0), "maximum": values.max(axis=0)}
    return tm.Moments(acts.n_rows, acts.mean, values.var(axis=0, ddof=1), groupings=tuple(found), **extremes)


def assert_same(one, other, rtol=1e-6):
    assert (one.names, one.keys, one.by) == (other.names, other.keys, other.by)
    np.testing.assert_array_equal(one.counts, other.counts)
    assert one.n_ungrouped == other.n_ungrouped and one.n_rows == other.n_rows
    for name in ("values", "scale", "standard_errors", "noise_floor"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("options", [{}, {"contrast": "rest", "weights": "size"}, {"contrast": "cat, dog"}], ids=str)
def test_values_sparse_ones_and_a_store_give_the_same(routes, options):
    memory, folder = routes
    by = ("label", "prediction")
    expected = tm.profile(memory["array"], by=by, **options)
    for name in memory:
        for acts in (memory[name], open_run(folder / name)["fc"]):
            assert acts.sparse == (name == "sparse")
            assert_same(tm.profile(acts, by=by, **options), expected)


@pytest.mark.parametrize("recorded", [("label", "prediction"), ("prediction", "label")], ids=str)
@pytest.mark.parametrize("by", [("label", "prediction"), ("prediction", "label"), "label", ("prediction",)], ids=str)
def test_moments_give_coarser_groups_in_any_order(recorded, by):
    acts = make_acts()
    moments = moments_of(acts, recorded)
    for options in ({"contrast": "none"}, {"weights": "size"}, {"contrast": "rest", "weights": "size"}):
        assert_same(tm.profile(moments, by=by, **options), tm.profile(acts, by=by, **options))


def test_moments_are_not_merged_where_inputs_would_be_lost():
    acts = make_acts()
    moments = moments_of(acts, ("label", "site"))
    lost = int((acts.inputs["site"] == "").sum())
    with pytest.raises(ValueError, match=rf"{lost} inputs have a missing value there.*record with by='label'"):
        tm.profile(moments, by="label")
    assert_same(tm.profile(moments, by=("site", "label")), tm.profile(acts, by=("site", "label")))
    assert tm.profile(moments, by=("site", "label")).n_ungrouped == lost
    both = moments_of(acts, ("label", "site"), "label")
    assert_same(tm.profile(both, by="label"), tm.profile(acts, by="label"))


def test_streamed_moments_give_the_groups_of_the_values():
    acts = make_acts()
    accumulator = MomentAccumulator(acts.n_neurons, by=(("label", "prediction"), ("site", "correct")))
    for part in (slice(0, 31), slice(31, 90)):
        columns = {name: column[part] for name, column in acts.inputs.columns.items()}
        accumulator.update(acts.values[part], columns)
    moments = accumulator.finish("fc", "none", classes=CLASSES)
    for by in (("prediction", "label"), "prediction", ("correct", "site")):
        for options in ({}, {"contrast": "rest", "weights": "size"}):
            assert_same(tm.profile(moments, by=by, **options), tm.profile(acts, by=by, **options))


def test_merged_groups_with_commas_in_their_names_fall_back_on_their_values():
    acts = tm.Activations.from_array(np.eye(4), label=["a, b", "a, b", "c", "c"], site=["x", "y", "x", "y"])
    merged = tm.profile(moments_of(acts, ("label", "site")), by="label", contrast="none")
    assert merged.names == ("a, b", "c") and merged.counts.tolist() == [2, 2]


def test_what_holds_groups_of_the_inputs_is_passed_on_to_rows():
    acts = make_acts()
    groups = acts.groups("label")
    some = acts.select(np.arange(90) % 3 > 0)
    held = tm.profile(some, by=SimpleNamespace(groups=groups))
    assert_same(held, tm.profile(some, by="label"))
    reordered = tm.Activations(acts.values[::-1], acts.inputs, "fc", rows=np.arange(90)[::-1])
    assert_same(tm.profile(reordered, by=SimpleNamespace(groups=groups)), tm.profile(acts, by="label"))


def test_a_store_is_read_once(routes, monkeypatch):
    memory, folder = routes
    fresh, expected = open_run(folder / "array")["fc"], memory["array"]
    seen = []
    read = type(fresh.values).__getitem__

    def counted(self, part):
        seen.append(part)
        return read(self, part)

    monkeypatch.setattr(type(fresh.values), "__getitem__", counted)
    profiles = tm.profile(fresh, by="label", contrast="rest")
    assert [(part.start, part.stop) for part in seen] == [(0, 1024), (1024, 2048), (2048, 3000)]
    np.testing.assert_allclose(fresh.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(fresh.std, expected.std, rtol=1e-12)
    np.testing.assert_array_equal(fresh.dead, profiles.dead)
    assert len(seen) == 3  # mean, deviation and dead neurons came with the profiles


def test_offsets_do_not_cancel():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5000, 3)) + np.array([0.0, 1e7, -1e9])
    values[:1500] += 1e6  # the first blocks are far from all that follow
    label = rng.integers(0, 4, 5000)
    profiles = tm.profile(tm.Activations.from_array(values, label=label), by="label")
    for g in range(4):
        error = values[label == g].std(axis=0, ddof=1) / np.sqrt((label == g).sum())
        np.testing.assert_allclose(profiles.standard_errors[g], error, rtol=1e-8)
