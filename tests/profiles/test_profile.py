import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist

import topomap as tm
from topomap.run import GroupMoments


def by_hand():
    return tm.Activations.from_array(
        [[0.0, 1.0, 7.0], [2.0, 1.0, 7.0], [4.0, 4.0, 7.0], [6.0, 8.0, 7.0], [8.0, 0.0, 7.0]],
        label=["a", "a", "b", "b", "c"],
        prediction=["a", "b", "b", "b", "b"],
    )


def test_means_counts_and_errors_by_hand():
    plain = tm.profile(by_hand(), by="label", contrast="none")
    np.testing.assert_allclose(plain.values, [[1, 1, 7], [5, 6, 7], [8, 0, 7]])
    np.testing.assert_array_equal(plain.counts, [2, 2, 1])
    # deviations of (0, 2) and (1, 1) are sqrt(2) and 0, over sqrt(2) inputs
    np.testing.assert_allclose(plain.standard_errors[0], [1, 0, 0], atol=1e-12)
    assert np.isnan(plain.standard_errors[2]).all()
    np.testing.assert_array_equal(plain.dead, [False, False, True])


def test_contrast_to_the_mean_over_groups_or_over_inputs():
    equal = tm.profile(by_hand(), by="label")
    np.testing.assert_allclose(equal.values[:, 0], np.array([1, 5, 8]) - 14 / 3)
    np.testing.assert_allclose(equal.values.sum(axis=0), 0, atol=1e-12)
    size = tm.profile(by_hand(), by="label", weights="size")
    np.testing.assert_allclose(size.values[:, 0], np.array([1, 5, 8]) - 4)


def test_scaled_values_are_in_deviations_and_dead_neurons_zero():
    acts = by_hand()
    profiles = tm.profile(acts, by="label")
    np.testing.assert_allclose(profiles.scaled[:, 0], profiles.values[:, 0] / np.std([0, 2, 4, 6, 8]))
    np.testing.assert_array_equal(profiles.scaled[:, 2], 0)
    np.testing.assert_array_equal(profiles.scaled_noise[:, 2], 0)


def test_tuples_callables_columns_and_groups_are_the_same_grouping():
    acts = by_hand()
    modes = tm.profile(acts, by=("label", "correct"))
    assert modes.names == ("a, wrong", "a, correct", "b, correct", "c, wrong")
    np.testing.assert_allclose(
        tm.profile(acts, by=lambda inputs: inputs.label).values, tm.profile(acts, by="label").values
    )
    column = np.array([0, 0, 1, 1, 2])
    np.testing.assert_allclose(tm.profile(acts, by=column).values, tm.profile(acts, by="label").values)
    groups = tm.Groups(("a", "all"), np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]))
    np.testing.assert_allclose(tm.profile(acts, by=groups, contrast="none").values[:, 0], [1, 4])


@pytest.mark.parametrize("contrast", ["none", "mean"])
@pytest.mark.parametrize("weights", ["equal", "size"])
def test_noise_floor_is_what_shuffled_labels_show(contrast, weights):
    rng = np.random.default_rng(0)
    acts = tm.Activations.from_array(rng.gamma(1.0, size=(60, 3)).astype(np.float32))
    membership = np.zeros((3, 60))
    membership[0, :30] = membership[1, 10:45] = membership[2, 45:] = 1  # the first two overlap
    groups = tm.Groups(("x", "y", "z"), membership)
    options = {"contrast": contrast, "weights": weights}
    floor = tm.profile(acts, by=groups, **options).noise_floor
    shuffled = []
    for _ in range(1000):
        order = rng.permutation(60)
        shuffled.append(tm.profile(acts, by=tm.Groups(groups.names, membership[:, order]), **options).values)
    # 1,000 shuffles know a deviation to 2.2 % (one standard error); 10 % is over four of them
    np.testing.assert_allclose(1.96 * np.std(shuffled, axis=0), floor, rtol=0.1)


def test_moments_give_the_profiles_of_the_values():
    acts = by_hand()
    groups = acts.groups("label")
    variance = [np.var(acts.values[groups.rows_of(g)], axis=0, ddof=1) if n > 1 else np.zeros(3)
                for g, n in zip(groups.names, groups.counts, strict=True)]  # fmt: skip
    grouping = GroupMoments(
        groups.by, groups.names, groups.keys, groups.counts, groups.means(acts.values), np.array(variance)
    )
    moments = tm.Moments(5, acts.mean, np.var(acts.values, axis=0, ddof=1), groupings=(grouping,))
    for options in ({}, {"contrast": "none"}, {"weights": "size"}):
        ours, theirs = tm.profile(moments, by="label", **options), tm.profile(acts, by="label", **options)
        for name in ("values", "scaled", "standard_errors", "noise_floor", "counts"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-12)
    with pytest.raises(ValueError, match=r"recorded by 'label'; record with by=\('label', 'correct'\)"):
        tm.profile(moments, by=("label", "correct"))
    with pytest.raises(ValueError, match="keep='values'"):
        tm.profile(moments, by="label", n_per_group=3)
    with pytest.raises(ValueError, match="record reduce='mean' as well"):
        tm.profile(replace(moments, reduce="tokens"), by="label")
    with pytest.raises(ValueError, match=r"one layer, run\['layer'\]"):
        tm.profile(tm.Run(acts.inputs, {("fc", "none"): acts}), by="label")


def test_positions_of_one_input_count_once():
    inputs = tm.Inputs(np.arange(3), {"label": np.array(["a", "a", "b"])})
    values = np.array([[0.0], [2.0], [4.0], [10.0], [20.0]])
    acts = tm.Activations(values, inputs, "conv", "positions", np.array([0, 0, 1, 2, 2]), np.arange(5)[:, None])
    profiles = tm.profile(acts, by="label", contrast="none")
    np.testing.assert_allclose(profiles.values.ravel(), [(1 + 4) / 2, 15])
    assert profiles.n_rows == 3


def test_one_group_has_nothing_to_differ_from():
    acts = by_hand()
    with pytest.warns(tm.TopomapWarning, match="contrast='none'"):
        alone = tm.profile(acts, by=np.zeros(5, dtype=int))
    np.testing.assert_array_equal(alone.values, 0)
    plain = tm.profile(acts, by=np.zeros(5, dtype=int), contrast="none")
    np.testing.assert_allclose(plain.values[0], acts.mean)


def test_what_is_given_goes_before_the_preset():
    acts = by_hand()
    plain = tm.profile(acts, by="label", contrast="none", preset="krug2023")
    np.testing.assert_allclose(plain.scaled, [[1, 1, 7], [5, 6, 7], [8, 0, 7]])
    assert (plain.contrast, plain.weights, plain.preset) == ("none", "equal", "krug2023")
    assert plain.provenance["parameters"]["n_per_group"] == 200
    size = tm.profile(acts, by="label", weights="size", n_per_group=1, preset="krug2023")
    assert size.weights == "size" and size.counts.tolist() == [1, 1, 1]
    assert tm.profile(acts, by="label", preset="krug2023").contrast == "mean"


def test_draws_are_seeded_and_no_larger_than_asked():
    rng = np.random.default_rng(0)
    acts = tm.Activations.from_array(rng.normal(size=(100, 4)), label=np.repeat([0, 1], [90, 10]))
    first = tm.profile(acts, by="label", n_per_group=20, seed=3)
    np.testing.assert_array_equal(first.counts, [20, 10])
    np.testing.assert_array_equal(first.values, tm.profile(acts, by="label", n_per_group=20, seed=3).values)
    assert not np.array_equal(first.values, tm.profile(acts, by="label", n_per_group=20, seed=4).values)


def test_order_puts_similar_groups_side_by_side():
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(3, 40))
    label = np.arange(300) % 6
    acts = tm.Activations.from_array(centers[label % 3] + 0.1 * rng.normal(size=(300, 40)), label=label)
    profiles = tm.profile(acts, by="label")
    kinds = profiles.order % 3
    assert (np.diff(kinds) != 0).sum() == 2  # three runs of two
    heights = cophenet(linkage(pdist(profiles.scaled, "cosine"), "average"))
    assert heights.shape == (15,) and sorted(profiles.order) == list(range(6))


def test_crossed_columns_are_told_by_their_numbers():
    label = np.repeat(["a", "b", "c"], 5)
    acts = tm.Activations.from_array(np.random.default_rng(0).normal(size=(15, 2)), label=label)
    acts = acts.with_labels(old=np.arange(15) % 5 < 2, all=np.repeat("x", 15))
    crossed = tm.profile(acts, by=("label", "old"), min_size=3)
    assert repr(crossed) == (
        "Profiles(layer by label (3) x old (2): 6 groups of 2 to 3 inputs; 3 of fewer than 3 inputs; 2 neurons)"
    )
    even = tm.profile(acts, by=("label", "all"))
    assert repr(even) == "Profiles(layer by label (3) x all (1): 3 groups of 5 inputs; 2 neurons)"
    assert repr(tm.profile(acts, by="label")) == "Profiles(layer by label: a (5), b (5), c (5); 2 neurons)"


def test_errors_name_the_fix():
    acts = by_hand()
    with pytest.raises(ValueError, match="Did you mean 'label'"):
        tm.profile(acts, by="lable")
    with pytest.raises(ValueError, match="contrast must be one of"):
        tm.profile(acts, by="label", contrast="rest of them")
    with pytest.raises(ValueError, match="contrast must be one of 'mean', 'none', 'rest', 'a', 'b', 'c'; got 'd'"):
        tm.profile(acts, by="label", contrast="d")
    with pytest.raises(ValueError, match="missing value"):
        tm.profile(acts.with_labels(group=[None] * 5), by="group")
    with pytest.raises(ValueError, match="one entry per row"):
        tm.profile(acts, by=np.arange(4))
    for options, message in (
        ({"min_size": "3"}, "min_size must be a whole number of at least 0; got '3'"),
        ({"min_size": -1}, "min_size must be at least 0; got -1"),
        ({"n_per_group": 2.5}, "n_per_group must be a whole number of at least 1; got 2.5"),
        ({"n_per_group": True}, "n_per_group must be a whole number"),
        ({"seed": None}, "seed must be a whole number of at least 0; got None"),
    ):
        with pytest.raises(ValueError, match=message):
            tm.profile(acts, by="label", **options)
    assert tm.profile(acts, by="label", min_size=np.int32(3)).min_size == 3


def test_contrasts_to_the_rest_and_to_a_group_by_hand():
    first = {"rest": [1 - 6.5, 5 - 4.5, 8 - 3], "b": [-4, 0, 3], ("rest", "size"): [1 - 6, 5 - 10 / 3, 8 - 3]}
    for key, expected in first.items():
        contrast, weights = key if isinstance(key, tuple) else (key, "equal")
        profiles = tm.profile(by_hand(), by="label", contrast=contrast, weights=weights)
        np.testing.assert_allclose(profiles.values[:, 0], expected)
        np.testing.assert_array_equal(profiles.values[:, 2], 0)
        assert profiles.contrast == contrast
    to_b = tm.profile(by_hand(), by="label", contrast="b")
    assert not to_b.values[1].any() and not to_b.noise_floor[1].any()
    # weights 1/2 twice and -1/2 twice: spread 1; neuron 0 has values 0, 2, 4, 6, 8
    np.testing.assert_allclose(to_b.noise_floor[0, 0], 1.96 * np.std([0, 2, 4, 6, 8], ddof=1))


def test_two_groups_differ_from_the_rest_as_from_each_other():
    acts = by_hand().select({"label": ["a", "b"]})
    rest, other = tm.profile(acts, by="label", contrast="rest"), tm.profile(acts, by="label", contrast="b")
    np.testing.assert_allclose(rest.values[0], other.values[0], atol=1e-12)
    np.testing.assert_allclose(rest.values[1], -other.values[0], atol=1e-12)


@pytest.mark.parametrize("word", ["mean", "none", "rest"])
def test_a_group_that_is_named_like_a_contrast_is_never_guessed(word):
    acts = by_hand().with_labels(group=[word, word, "x", "x", "y"])
    with pytest.raises(ValueError, match=f"contrast='{word}' could mean the group of that name: rename the group"):
        tm.profile(acts, by="group", contrast=word)
    assert tm.profile(acts, by="group").contrast == "mean"
    assert tm.profile(acts, by="group", contrast="x").contrast == "x"


def test_small_groups_are_flagged_and_kept():
    rng = np.random.default_rng(0)
    acts = tm.Activations.from_array(rng.normal(size=(20, 3)), label=np.repeat([0, 1, 2], [15, 4, 1]))
    profiles = tm.profile(acts, by="label", contrast="none")
    assert profiles.small.tolist() == [False, True, True] and profiles.counts.tolist() == [15, 4, 1]
    np.testing.assert_allclose(profiles.values[2], acts.values[19], rtol=1e-6)
    assert np.isfinite(profiles.values).all() and np.isfinite(profiles.noise_floor).all()
    assert "2 of fewer than 5 inputs" in repr(profiles)
    assert profiles.to_xarray()["small"].values.tolist() == [False, True, True]
    assert not tm.profile(acts, by="label", min_size=1).small.any()
    assert tm.profile(acts, by="label", n_per_group=4).small.all()


def test_inputs_in_no_group_are_counted():
    acts = by_hand().with_labels(site=["x", "", "y", "y", ""])
    profiles = tm.profile(acts, by="site", contrast="none")
    assert profiles.n_ungrouped == 2 and profiles.n_rows == 5
    assert profiles.provenance["n_ungrouped"] == 2 and profiles.provenance["n_dead"] == 1
    assert "2 inputs in none" in repr(profiles)
    drawn = tm.profile(acts, by="site", contrast="none", n_per_group=1)
    assert drawn.counts.tolist() == [1, 1] and drawn.n_ungrouped == 2  # those not drawn are in a group


def test_groups_without_inputs_are_kept_and_say_nothing():
    groups = tm.Groups(("a", "gone", "b"), np.array([[1, 1, 0, 0, 0], [0] * 5, [0, 0, 1, 1, 0]]))
    for contrast in ("none", "mean", "rest", "a"):
        profiles = tm.profile(by_hand(), by=groups, contrast=contrast)
        assert profiles.names[1] == "gone" and profiles.counts[1] == 0 and profiles.small[1]
        assert not profiles.values[1].any() and not profiles.noise_floor[1].any()
        assert np.isfinite(profiles.values).all()
    with pytest.raises(ValueError, match="group 'gone' has no inputs here"):
        tm.profile(by_hand(), by=groups, contrast="gone")
    with pytest.raises(ValueError, match="no input is in any of the groups"):
        tm.profile(by_hand(), by=groups.take([1]))


@pytest.mark.parametrize("contrast", ["mean", "rest", "all"])
def test_a_single_group_is_spoken_of(contrast):
    groups = tm.Groups(("all",), np.ones((1, 5)))
    with pytest.warns(tm.TopomapWarning, match="one group alone"):
        alone = tm.profile(by_hand(), by=groups, contrast=contrast)
    assert not alone.values.any() and not alone.noise_floor.any()


def test_ten_thousand_groups():
    rng = np.random.default_rng(0)
    label = rng.permutation(np.repeat(np.arange(10_000), 2))
    values = rng.normal(size=(20_000, 8))
    acts = tm.Activations.from_array(values, label=label)
    tracemalloc.start()
    profiles = tm.profile(acts, by="label", contrast="rest", weights="size")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # a table of groups x groups alone would take 800 MB
    assert profiles.small.all() and len(profiles.names) == 10_000
    own = label == 4321
    np.testing.assert_allclose(profiles.values[4321], values[own].mean(axis=0) - values[~own].mean(axis=0))


def test_constant_neurons_are_zero_in_raw_units_too():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(50, 3)), np.full((50, 1), 0.1), np.full((50, 1), 1e6 / 3)], axis=1)
    acts = tm.Activations.from_array(values.astype(np.float32), label=rng.integers(0, 3, 50))
    for contrast in ("mean", "rest", "1"):
        profiles = tm.profile(acts, by="label", contrast=contrast, weights="size", preset="krug2023")
        assert not profiles.scaled[:, 3:].any() and not profiles.noise_floor[:, 3:].any()
        assert tm.correlate(profiles, preset="krug2023").dead.tolist() == [False] * 3 + [True] * 2
