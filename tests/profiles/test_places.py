"""Profiles in which places are kept apart: every place by hand, and what the 2023 preset makes of them."""

import numpy as np
import pytest

import topomap as tm

N_INPUTS, N_PLACES, N_NEURONS = 40, 6, 5


def make_maps(seed=0, masked=False):
    """Feature maps of 2 x 3 places; returns the activations and the maps, NaN where a place is masked."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, N_INPUTS)
    maps = rng.normal(size=(N_INPUTS, N_PLACES, N_NEURONS)) + rng.normal(size=(3, N_PLACES, N_NEURONS))[label]
    kept = rng.random((N_INPUTS, N_PLACES)) < (0.7 if masked else 2)
    kept[:, 0] = True
    maps[~kept] = np.nan
    rows, place = np.nonzero(kept)
    places = np.stack([place // 3, place % 3], axis=1)
    inputs = tm.Inputs(np.arange(N_INPUTS), {"label": label})
    return tm.Activations(maps[kept], inputs, "conv", "positions", rows, places), maps


def at_place(acts, i):
    here = (acts.places == [i // 3, i % 3]).all(axis=1)
    inputs = acts.inputs
    return tm.Activations(acts.values[here], inputs, "conv", "positions", acts.rows[here])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("contrast", ["none", "mean", "rest", "1"])
@pytest.mark.parametrize("overlap", [False, True])
def test_every_place_is_the_profile_of_its_rows(masked, contrast, overlap):
    acts, maps = make_maps(masked=masked)
    label = acts.inputs.label
    by = "label"
    if overlap:
        table = np.array([label == 0, label >= 0, label != 2], dtype=float)
        table[1, :3] = 0
        by = tm.Groups(("0", "1", "2"), table)
    for weights in ("equal", "size"):
        options = {"by": by, "contrast": contrast, "weights": weights}
        profiles = tm.profile(acts, places=True, **options)
        assert profiles.values.shape == (3, N_PLACES, N_NEURONS) and profiles.n_neurons == N_NEURONS
        np.testing.assert_array_equal(profiles.places, [[y, x] for y in range(2) for x in range(3)])
        for i in range(N_PLACES):
            alone = tm.profile(at_place(acts, i), **options)
            np.testing.assert_array_equal(profiles.place_counts[:, i], alone.counts)
            for name in ("values", "standard_errors", "noise_floor"):
                np.testing.assert_allclose(getattr(profiles, name)[:, i], getattr(alone, name), atol=1e-10)
        if contrast == "none" and not overlap:
            expected = [np.nanmean(maps[label == g], axis=0) for g in range(3)]
            np.testing.assert_allclose(profiles.values, expected, atol=1e-10)
        pooled, plain = profiles.over_places(), tm.profile(acts, **options)
        np.testing.assert_array_equal(pooled.values, plain.values)
        np.testing.assert_allclose(plain.scale, np.nanmean(maps, axis=1).std(axis=0), rtol=1e-12)
        if not masked:
            np.testing.assert_allclose(pooled.values, profiles.values.mean(axis=1), atol=1e-12)
        assert pooled.over_places() is pooled


@pytest.mark.parametrize("masked", [False, True])
def test_one_place_is_a_profile_that_can_be_painted(masked):
    acts, _ = make_maps(masked=masked)
    profiles = tm.profile(acts, by="label", places=True, min_size=4)
    for i, place in enumerate([(y, x) for y in range(2) for x in range(3)]):
        one, alone = profiles.at_place(place), tm.profile(at_place(acts, i), by="label", min_size=4)
        for name in ("values", "standard_errors", "noise_floor"):
            np.testing.assert_allclose(getattr(one, name), getattr(alone, name), atol=1e-10)
        np.testing.assert_array_equal(one.counts, alone.counts)
        np.testing.assert_array_equal(one.small, alone.small)
        np.testing.assert_allclose(one.scaled, alone.values / profiles.scale, atol=1e-10)
        np.testing.assert_array_equal(profiles.at_place(i).values, one.values)
        assert one.place == place and one.places is None and one.over_places() is one
        assert f"Profiles(conv, positions, place {place} by label" in repr(one)
        assert one.to_xarray().attrs["place"] == list(place)


def test_a_place_that_is_not_there_names_those_that_are():
    acts, _ = make_maps()
    profiles = tm.profile(acts, by="label", places=True)
    for wrong, told in (
        ((2, 0), "; got (2, 0)."),
        ((0,), "; got (0,)."),
        (6, ", or the index of one, 0 to 5; got 6."),
        (-1, ", or the index of one, 0 to 5; got -1."),
        ("0", ", or the index of one, 0 to 5; got '0'."),
        (1.0, ", or the index of one, 0 to 5; got 1.0."),
    ):
        with pytest.raises(ValueError, match=r"one of the 6 places") as error:
            profiles.at_place(wrong)
        assert str(error.value) == f"place must be one of the 6 places (0, 0) to (1, 2){told}"
    kept = ~(acts.places == [0, 1]).all(axis=1)
    holed = tm.Activations(acts.values[kept], acts.inputs, "conv", "positions", acts.rows[kept], acts.places[kept])
    with pytest.raises(ValueError, match=r"one of \(0, 0\), \(0, 2\), \(1, 0\), \(1, 1\), \(1, 2\); got"):
        tm.profile(holed, by="label", places=True).at_place((0, 1))
    with pytest.raises(ValueError, match=r"keep no places: make them with tm.profile\(acts, by, places=True\)"):
        profiles.over_places().at_place(0)


def test_they_are_scaled_and_ordered_and_have_a_data_set():
    acts, _ = make_maps()
    profiles = tm.profile(acts, by="label", places=True)
    np.testing.assert_allclose(profiles.scaled, profiles.values / acts.values.std(axis=0), rtol=1e-12)
    assert sorted(profiles.order) == [0, 1, 2]
    data = profiles.to_xarray()
    assert data["values"].dims == ("group", "place", "neuron") and data["place_count"].shape == (3, N_PLACES)
    assert "6 places" in repr(profiles)


def test_correlate_flattens_places_and_groups_per_channel():
    acts, maps = make_maps()
    profiles = tm.profile(acts, by="label", preset="krug2023")
    label = acts.inputs.label
    means = np.array([maps[label == g].mean(axis=0) for g in range(3)])
    rows = (means - means.mean(axis=0)).reshape(-1, N_NEURONS).T  # channels x (groups x places)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(tm.correlate(profiles, preset="krug2023").matrix(), unit @ unit.T, atol=1e-5)
    np.testing.assert_allclose(profiles.over_places().scaled, means.mean(axis=1) - means.mean(axis=(0, 1)), atol=1e-9)
    assert profiles.places is not None and tm.profile(acts, by="label").places is None
    assert tm.profile(acts, by="label", preset="krug2023", places=False).values.shape == (3, N_NEURONS)


def test_places_that_no_input_of_a_group_has_are_no_observations():
    values = np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 1.0], [2.0, 2.0, 5.0], [0.0, 4.0, 1.0], [7.0, 1.0, 2.0]])
    rows, places = np.array([0, 0, 1, 2, 2]), np.array([[0], [1], [0], [0], [1]])
    inputs = tm.Inputs(np.arange(3), {"label": np.array(["a", "b", "c"])})
    acts = tm.Activations(values, inputs, "conv", "positions", rows, places)
    profiles = tm.profile(acts, by="label", contrast="none", places=True)
    np.testing.assert_array_equal(profiles.place_counts, [[1, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(profiles.values[1, 1], 0)
    np.testing.assert_allclose(tm.correlate(profiles).matrix(), np.corrcoef(values.T), atol=1e-5)
    to_b = tm.profile(acts, by="label", contrast="b", places=True)
    np.testing.assert_array_equal(to_b.values[:, 1], 0)  # at place 1 there is no b to differ from
    np.testing.assert_allclose(to_b.values[0, 0], values[0] - values[2])


def test_draws_are_of_inputs():
    acts, _ = make_maps()
    profiles = tm.profile(acts, by="label", places=True, n_per_group=4, seed=2)
    assert profiles.counts.tolist() == [4, 4, 4] and (profiles.place_counts == 4).all()
    np.testing.assert_allclose(profiles.values.mean(axis=1), profiles.over_places().values, atol=1e-12)


def test_rows_of_an_input_need_not_lie_side_by_side():
    acts, _ = make_maps(masked=True)
    order = np.random.default_rng(1).permutation(acts.n_rows)
    mixed = tm.Activations(acts.values[order], acts.inputs, "conv", "positions", acts.rows[order], acts.places[order])
    one, other = (tm.profile(each, by="label", places=True) for each in (acts, mixed))
    np.testing.assert_allclose(one.values, other.values, atol=1e-9)
    np.testing.assert_allclose(one.over_places().values, other.over_places().values, atol=1e-6)  # float32 on the way


def test_what_cannot_be_kept_apart_is_refused():
    acts, _ = make_maps()
    with pytest.raises(ValueError, match="keeps no places: record reduce='positions'"):
        tm.profile(acts.per_input(), by="label", places=True)
    with pytest.raises(ValueError, match="several rows for one place"):
        tm.profile(
            tm.Activations(acts.values, acts.inputs, "conv", "positions", acts.rows, acts.places * 0),
            by="label",
            places=True,
        )
    with pytest.raises(ValueError, match="these are of rows"):
        tm.profile(acts, by=tm.Groups(("all",), np.ones((1, acts.n_rows))), places=True)
    moments = tm.Moments(4, np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="moments keep no places"):
        tm.profile(moments, by="label", places=True)
