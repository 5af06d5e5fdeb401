"""Inputs, activations, moments and runs: small tables by hand, statistics against NumPy."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from topomap.groups import Groups
from topomap.run import Activations, GroupMoments, Inputs, Moments, Run, constant, take_rows, versions


def make_inputs():
    return Inputs(
        ["a", "b", "c", "d"],
        {"label": [0, 1, 1, 0], "prediction": [0, 0, 1, 1], "site": ["x", "y", "x", ""]},
        classes=("cat", "dog"),
    )


class Lazy:
    """An array that can only be read by slices and by ``oindex``, as one on disk."""

    def __init__(self, values):
        self.values, self.shape, self.size, self.reads = values, values.shape, values.size, []
        self.oindex = self

    def __getitem__(self, key):
        self.reads.append(key)
        return self.values[key]


# Inputs


def test_inputs_know_what_is_correct():
    inputs = make_inputs()
    assert inputs.correct.tolist() == [True, False, True, False]
    assert inputs.correct.dtype == bool
    assert (len(inputs), inputs.confidence) == (4, None)
    assert inputs.label.tolist() == [0, 1, 1, 0]
    assert inputs.prediction.tolist() == [0, 0, 1, 1]
    assert inputs["site"].tolist() == ["x", "y", "x", ""]
    assert repr(inputs) == "Inputs(4: label, prediction, site, correct)"
    assert repr(Inputs([1])) == "Inputs(1: no columns)"


@pytest.mark.parametrize(
    ("label", "prediction", "correct"),
    [
        ([1.0, np.nan, 0.0], [1, 1, 1], [1.0, np.nan, 0.0]),
        ([1, 2, 0], [1.0, np.nan, 1.0], [1.0, np.nan, 0.0]),
        (["a", "", "b"], ["a", "a", "a"], [1.0, np.nan, 0.0]),
        (np.array(["a", None, "b"], dtype=object), ["a", "a", "a"], [1.0, np.nan, 0.0]),
        (["a", "c", "b"], ["a", "a", "a"], [True, False, False]),
    ],
)
def test_there_is_no_answer_where_label_or_prediction_is_missing(label, prediction, correct):
    got = Inputs(np.arange(3), {"label": label, "prediction": prediction}).correct
    assert got.dtype == np.asarray(correct).dtype
    np.testing.assert_array_equal(got, correct)


def test_replaced_labels_are_judged_anew():
    inputs = make_inputs()
    assert inputs.with_columns(label=[0, 0, 0, 0]).correct.tolist() == [True, True, False, False]
    assert inputs.with_columns(age=[1, 2, 3, 4]).correct.tolist() == inputs.correct.tolist()
    assert inputs.with_columns(label=[0] * 4, correct=[False] * 4).correct.tolist() == [False] * 4
    assert "age" not in inputs.columns


def test_columns_named():
    inputs = make_inputs()
    assert inputs.named("label").tolist() == ["cat", "dog", "dog", "cat"]
    assert inputs.named("site").tolist() == ["x", "y", "x", ""]
    assert inputs.named("correct").tolist() == ["correct", "wrong", "correct", "wrong"]
    same = Inputs([0, 1], {"label": [0, 1]}, classes=("cat", "cat"))
    assert same.named("label").tolist() == ["cat", "cat (2)"]
    assert Inputs([0], {"site": [""]}).named("site").tolist() == [""]


def test_inputs_errors():
    with pytest.raises(ValueError, match="column 'label' must have one entry per input: expected 3, got 2"):
        Inputs([1, 2, 3], {"label": [0, 1]})
    with pytest.raises(ValueError, match="column 'site' must have one entry per input; got 'here' alone"):
        Inputs([1, 2, 3]).with_columns(site="here")
    with pytest.raises(ValueError, match="Did you mean 'label'"):
        make_inputs()["lable"]
    for extra, value in [("texts", ["a"]), ("thumbnails", np.zeros((3, 2, 2)))]:
        with pytest.raises(ValueError, match=f"{extra} must have one entry per input"):
            Inputs([1, 2], **{extra: value})


def test_inputs_to_xarray():
    inputs = Inputs([7, 8], {"label": [0, 1]}, ("a", "b"), np.zeros((2, 3, 4, 3), dtype=np.uint8), np.array(["t", "u"]))
    ds = inputs.to_xarray()
    assert ds.thumbnail.dims == ("input", "y", "x", "channel")
    assert ds.id.values.tolist() == [7, 8]
    assert ds.text.values.tolist() == ["t", "u"]
    assert ds.attrs == {"classes": ["a", "b"]}
    assert dataclasses.replace(inputs, thumbnails=np.zeros((2, 3, 4))).to_xarray().thumbnail.dims == ("input", "y", "x")


# Activations


def test_statistics_by_hand():
    acts = Activations.from_array([[0, 1, -1], [2, 1, 0], [4, 1, 1]])
    assert acts.mean.tolist() == [2, 1, 0]
    np.testing.assert_allclose(acts.std, [np.sqrt(8 / 3), 0, np.sqrt(2 / 3)])
    assert acts.dead.tolist() == [False, True, False]
    root = np.sqrt(1.5)
    np.testing.assert_allclose(acts.scores, [[-root, 0, -root], [0, 0, 0], [root, 0, root]], rtol=1e-6)
    assert acts.scores.dtype == np.float32
    assert acts.values.dtype == np.float32
    assert (acts.n_rows, acts.n_neurons, acts.labels) == (3, 3, None)
    assert repr(acts) == "Activations(layer: 3 rows x 3 neurons, 1 dead)"


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 5),
    st.sampled_from(["float16", "float32", "float64"]),
    st.sampled_from([0.0, 1.0, 1000.0]),
    st.integers(0, 99),
)
def test_statistics_equal_numpy(n_rows, n_neurons, dtype, offset, seed):
    rng = np.random.default_rng(seed)
    values = (offset + rng.normal(size=(n_rows, n_neurons))).astype(dtype)
    values[:, 0] = values[0, 0]
    lazy = Lazy(values)
    acts = Activations(lazy, Inputs(np.arange(n_rows)))
    reference = values.astype(np.float64)
    np.testing.assert_allclose(acts.mean, reference.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(acts.std, reference.std(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(acts.dead, reference.min(axis=0) == reference.max(axis=0))
    assert acts.dead[0]
    alive = ~acts.dead
    want = (reference - reference.mean(axis=0))[:, alive] / reference.std(axis=0)[alive]
    np.testing.assert_allclose(acts.scores[:, alive], want, rtol=1e-5, atol=1e-5)
    assert not acts.scores[:, ~alive].any()


def test_values_are_read_in_blocks():
    lazy = Lazy(np.arange(50.0).reshape(25, 2))
    acts = Activations(lazy, Inputs(np.arange(25)))
    parts = list(acts.blocks(10))
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 10), (10, 20), (20, 25)]
    np.testing.assert_array_equal(np.concatenate([block for _, block in parts]), lazy.values)
    assert take_rows(lazy, np.array([3, 1])).tolist() == [[6, 7], [2, 3]]
    assert take_rows(lazy.values, np.array([3, 1])).tolist() == [[6, 7], [2, 3]]


def test_a_value_that_never_varies_beyond_rounding_is_dead():
    next_up = np.nextafter(np.float32(1000), np.float32(2000))
    values = np.array([[1000, 1000, 0, 1e-30], [next_up, 1001, 0, 2e-30]], dtype=np.float32)
    assert Activations.from_array(values).dead.tolist() == [True, False, True, False]
    assert constant(np.array([-1.0, 0.0]), np.array([1.0, 0.0])).tolist() == [False, True]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_statistics_refuse_what_is_not_finite(bad):
    acts = Activations.from_array([[1.0, 2.0], [bad, 3.0]])
    with pytest.raises(ValueError, match=r"layer 'layer' has NaN or infinite values in 1 neurons.*nonfinite='mask'"):
        _ = acts.mean
    assert "2 rows x 2 neurons" in repr(acts)  # what is bad can still be looked at


def test_activations_errors():
    inputs = Inputs([1, 2])
    for call, message in [
        (lambda: Activations(np.zeros(2), inputs), r"shape \(n_rows, n_neurons\); got \(2,\)"),
        (lambda: Activations(np.zeros((3, 1)), inputs), "values must have one entry per input: expected 2, got 3"),
        (lambda: Activations(np.zeros((3, 1)), inputs, rows=[0, 1]), "rows must have one entry per row"),
        (lambda: Activations(np.zeros((2, 1)), inputs, places=[[0]]), "places must have one entry per row"),
        (
            lambda: Activations(np.zeros((2, 1)), inputs, rows=[0, 2]),
            "expected 0 to 1, got 0 to 2",
        ),
        (lambda: Activations.from_array([1.0, 2.0]), "got"),
        (lambda: Activations.from_array([[1.0]], label=[1, 2]), "column 'label' must have one entry"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def make_rows():
    """Two inputs with three rows each, one with one, one with none."""
    rows = np.array([0, 0, 0, 2, 2, 2, 1])
    places = np.arange(7)[:, None]
    return Activations(np.arange(14.0).reshape(7, 2), make_inputs(), "conv", "positions", rows, places)


def test_rows_know_their_input():
    acts = make_rows()
    assert acts.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert acts.column("site").tolist() == ["x"] * 6 + ["y"]
    groups = acts.groups(("label", "correct"))
    assert groups.names == ("cat, correct", "dog, wrong", "dog, correct")
    assert groups.counts.tolist() == [3, 1, 3]


def test_every_way_to_group():
    acts = make_rows()
    assert acts.groups("label").counts.tolist() == [3, 4]
    assert acts.groups(lambda inputs: inputs["site"]).names == ("x", "y")
    assert acts.groups(np.array([5, 5, 6, 6])).counts.tolist() == [4, 3]  # one entry per input
    assert acts.groups([0, 1, 0, 1, 0, 1, 1]).counts.tolist() == [3, 4]  # one entry per row
    ready = Groups(("all",), np.ones((1, 7)))
    assert acts.groups(ready) is ready
    of_inputs = Groups(("first", "all"), np.array([[1, 0, 0, 0], [1, 1, 1, 1]]))
    assert acts.groups(of_inputs).counts.tolist() == [3, 7]
    assert acts.groups(SimpleNamespace(groups=of_inputs)).rows_of("first").tolist() == [0, 1, 2]
    assert Activations(np.ones((4, 1)), make_inputs(), rows=np.array([3, 0, 1, 2])).groups(
        SimpleNamespace(groups=of_inputs)
    ).rows_of("first").tolist() == [1]  # as many rows as inputs, in another order
    for by, message in [
        (Groups(("all",), np.ones((1, 5))), "over the 4 inputs or the 7 rows .* membership has 5 rows"),
        ([1, 2], "by must have one entry per row: expected 7, got 2"),
        (None, "by must be a column of the inputs, a tuple .* or groups; got None"),
        (["label", "correct"], r"given as a tuple, by=\('label', 'correct'\); got a list"),
        (("label", np.arange(4)), r"a tuple holds names of columns; got str, ndarray. Add .*with_labels"),
        (lambda inputs: 1, r"must return a column, one value per input; got an array of shape \(\)"),
        (lambda inputs: [1], "the values that by= returned must have one entry per input"),
        ("lable", "Did you mean 'label'"),
        ((), "at least one column"),
    ]:
        with pytest.raises(ValueError, match=message):
            acts.groups(by)


def test_select_by_value_mask_and_callable():
    acts = make_rows()
    assert acts.select({"label": 1}).values[:, 0].tolist() == [6, 8, 10, 12]
    assert acts.select({"label": [0, 1], "correct": True}).places.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert acts.select(np.array([False, True, False, True])).rows.tolist() == [1]
    chosen = acts.select(lambda inputs: inputs["site"] == "x")
    assert chosen.rows.tolist() == [0, 0, 0, 2, 2, 2]
    assert (chosen.layer, chosen.reduce) == ("conv", "positions")
    assert chosen.inputs is acts.inputs
    for where, message in [
        ({"label": 7}, "no input is left"),
        (np.array([False, False, False, True]), "no input is left"),  # an input without rows
        (np.array([True]), "where must have one entry per input"),
        ({"lable": 1}, "Did you mean 'label'"),
    ]:
        with pytest.raises(ValueError, match=message):
            acts.select(where)
    for n in (0, -1, 1.5):
        with pytest.raises(ValueError, match=r"n must be (at least|a whole number of at least) 1"):
            acts.select(n=n)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(1, 30), st.integers(1, 4), st.integers(1, 40))
def test_balance_takes_equally_many_and_n_at_most_that_many(seed, n_inputs, n_labels, n):
    label = np.random.default_rng(seed).integers(0, n_labels, n_inputs)
    acts = Activations.from_array(np.arange(n_inputs)[:, None], label=label)
    some = acts.select(n=n, seed=seed)
    assert some.n_rows == min(n, n_inputs)
    assert len(set(some.rows.tolist())) == some.n_rows
    assert some.values[:, 0].tolist() == some.rows.tolist() == sorted(some.rows)
    assert acts.select(n=n, seed=seed).rows.tolist() == some.rows.tolist()
    even = acts.select(balance="label", seed=seed)
    counts = np.bincount(even.labels, minlength=n_labels)
    fewest = np.bincount(label)[np.unique(label)].min()
    assert counts[np.unique(label)].tolist() == [fewest] * len(np.unique(label))
    if n >= len(np.unique(label)):
        both = acts.select(balance="label", n=n, seed=seed)
        assert both.n_rows <= n
        assert len(set(np.bincount(both.labels)[np.unique(label)])) == 1


def test_balance_looks_at_what_where_left():
    acts = Activations.from_array(np.arange(6)[:, None], label=[0, 0, 0, 0, 1, 1], keep=[1, 0, 0, 0, 1, 1])
    assert acts.select({"keep": 1}, balance="label").labels.tolist() == [0, 1]


def test_select_reads_only_the_rows_it_keeps():
    lazy = Lazy(np.arange(8.0).reshape(4, 2))
    acts = Activations(lazy, make_inputs())
    assert acts.select({"label": 1}).values.tolist() == [[2, 3], [4, 5]]
    assert [list(read) for read in lazy.reads] == [[1, 2]]


def test_with_labels():
    acts = make_rows().with_labels(label=[1, 1, 1, 1], mood=["a", "b", "c", "d"])
    assert acts.labels.tolist() == [1] * 7
    assert acts.column("mood").tolist() == ["a"] * 3 + ["c"] * 3 + ["b"]
    assert acts.inputs.correct.tolist() == [False, False, True, True]


def test_activations_to_xarray():
    ds = make_rows().to_xarray()
    assert isinstance(ds, xarray.Dataset)
    assert (ds["values"].dims, ds["input"].dims, ds["place"].dims) == (("row", "neuron"), ("row",), ("row", "axis"))
    assert ds.attrs == {"layer": "conv", "reduce": "positions"}
    assert "place" not in Activations.from_array([[1.0]]).to_xarray()


# Moments


def make_moments(**more):
    labels = GroupMoments(("label",), ("cat", "dog"), ((0,), (1,)), np.array([1, 2]), np.ones((2, 2)), np.zeros((2, 2)))
    both = dataclasses.replace(labels, by=("label", "correct"))
    return Moments(3, np.array([2.0, 1.0]), np.array([4.0, 0.0]), groupings=(labels, both), layer="fc", **more)


def test_moments_by_hand():
    moments = make_moments()
    np.testing.assert_allclose(moments.std, [np.sqrt(4 * 2 / 3), 0])  # ddof 0, as of activations
    assert moments.dead.tolist() == [False, True]
    assert (moments.n_rows, moments.n_neurons) == (3, 2)
    assert moments.grouping("label").names == ("cat", "dog")
    assert moments.grouping(("label", "correct")).by == ("label", "correct")
    assert repr(moments) == "Moments(fc: 3 rows x 2 neurons, 1 dead, by label; label x correct)"
    assert Moments(1, np.ones(2), np.zeros(2)).std.tolist() == [0, 0]


def test_extremes_decide_who_is_dead():
    # One row in a million differs: far less deviation than float32 would tell, and yet not dead.
    mean, variance = np.array([1000.0, 1000.0]), np.array([1e-10, 1e-10])
    assert Moments(10**6, mean, variance).dead.tolist() == [True, True]
    extremes = {"minimum": np.array([1000.0, 1000.0]), "maximum": np.array([1000.01, 1000.0])}
    assert Moments(10**6, mean, variance, **extremes).dead.tolist() == [False, True]


def test_unrecorded_groupings_say_what_was_recorded():
    with pytest.raises(ValueError, match=r"recorded by 'label', \('label', 'correct'\); record with by='site'"):
        make_moments().grouping("site")
    with pytest.raises(ValueError, match=r"recorded by nothing; record with by=\('a', 'b'\)"):
        Moments(1, np.ones(2), np.zeros(2)).grouping(("a", "b"))


def test_moments_to_xarray():
    ds = make_moments(covariance=np.eye(2), minimum=np.zeros(2), maximum=np.ones(2)).to_xarray()
    assert ds.covariance.dims == ("neuron", "other")
    assert ds["mean_by_label"].dims == ("by_label", "neuron")
    assert ds["count_by_label_correct"].values.tolist() == [1, 2]
    assert ds.attrs == {"layer": "fc", "reduce": "none", "count": 3}
    assert make_moments(sketch=np.ones((2, 5))).to_xarray().sketch.dims == ("neuron", "feature")


# Runs


def make_run():
    inputs = make_inputs()

    def acts(layer, reduce):
        return Activations(np.zeros((4, 2)), inputs, layer, reduce)

    keys = [("conv1", "mean"), ("conv1", "max"), ("fc", "none"), ("conv2", "std")]
    return Run(inputs, {key: acts(*key) for key in keys}, {"n_inputs": 4})


def test_run_is_a_mapping():
    run = make_run()
    assert run.layers == ("conv1", "fc", "conv2")
    assert run.reductions("conv1") == ("mean", "max")
    assert list(run) == [("conv1", "mean"), ("conv1", "max"), "fc", "conv2"]
    assert len(run) == 4
    assert [record.layer for record in run.values()] == ["conv1", "conv1", "fc", "conv2"]
    assert run["conv1", "max"].reduce == "max"
    assert run["conv2"].reduce == "std"
    assert run["fc", "mean"] is run["fc", "none"] is run["fc"]
    assert ("conv1", "max") in run
    assert "conv1" not in run  # ambiguous
    assert "nothing" not in run
    assert 3 not in run
    assert None not in run
    assert repr(run) == "Run(4 inputs, 3 layers: conv1, fc, conv2)"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("conv", "layer must be one of 'conv1', 'fc', 'conv2'; got 'conv'. Did you mean"),
        ("conv1", r"use run\['conv1', 'mean'\] or run\['conv1', 'max'\]"),
        (("conv1", "min"), "the reduction of layer 'conv1' must be one of 'mean', 'max'; got 'min'"),
        (("fc", "std"), "the reduction of layer 'fc' must be one of 'none'"),
        (("fc", "foo"), "the reduction of layer 'fc' must be one of 'none', 'mean', .*'aligned'; got 'foo'"),
        (("fc", "maxx"), "Did you mean 'max'"),
    ],
)
def test_run_errors(key, message):
    with pytest.raises(ValueError, match=message):
        make_run()[key]


def test_one_value_per_input_is_the_same_under_every_reduction_that_exists():
    from topomap.recording.reduce import REDUCTIONS

    run = make_run()
    assert [way for way in REDUCTIONS if ("fc", way) not in run] == ["std"]
    assert all(run["fc", way] is run["fc"] for way in REDUCTIONS if way != "std")


def test_run_to_xarray():
    run = make_run()
    tree = run.to_xarray()
    assert tree["layers/conv1/max"].attrs["reduce"] == "max"
    assert tree["inputs"]["label"].values.tolist() == [0, 1, 1, 0]
    root = Run(run.inputs, {("", "none"): run["fc"], ("a/b", "none"): run["fc"]})
    assert len(root.to_xarray()["layers"].children) == 2


def test_versions_name_what_results_depend_on():
    assert {"python", "numpy", "torch"} <= set(versions())


# Trainings


def make_training(steps=(0, 10, 40)):
    inputs = make_inputs()
    runs = {}
    for step in steps:
        acts = Activations(np.arange(8.0).reshape(4, 2) * step, inputs, "fc")
        runs[step] = Run(inputs, {("fc", "none"): acts}, {"step": step})
    return Run.from_snapshots(runs, {"loss": [float(step) for step in steps]})


def test_a_training_is_that_of_its_last_step():
    run = make_training()
    assert run.steps == (0, 10, 40)
    assert run["fc"].values[1].tolist() == [80.0, 120.0]
    assert run.at(10)["fc"].values[1].tolist() == [20.0, 30.0]
    assert run.at(10).steps == () and run.at(np.int64(10)) is run.at(10)
    assert run.metrics["loss"].tolist() == [0.0, 10.0, 40.0]
    assert repr(run) == "Run(4 inputs, 1 layer: fc, 3 snapshots, steps 0 to 40)"
    assert run.to_xarray()["metrics"]["loss"].sel(step=10).item() == 10.0


def test_snapshots_come_in_order_of_steps():
    run = make_training((40, 0, 10))
    assert run.steps == (0, 10, 40)
    assert run.metrics["loss"].tolist() == [0.0, 10.0, 40.0]
    assert run["fc"].values[1].tolist() == [80.0, 120.0]


def test_a_step_that_is_not_there_names_the_nearest():
    with pytest.raises(ValueError, match=r"no snapshot at step 12; the nearest are 0 and 10 \(run.steps has all 3\)"):
        make_training().at(12)
    with pytest.raises(ValueError, match="the nearest is 5"):
        make_training((5,)).at(4)
    with pytest.raises(ValueError, match="it is not a recorded training"):
        make_training().at(10).at(10)


def test_snapshots_and_metrics_must_fit():
    with pytest.raises(ValueError, match="at least one snapshot"):
        Run.from_snapshots({})
    run = make_training()
    with pytest.raises(ValueError, match="metric 'loss' must have one entry per snapshot: expected 3, got 2"):
        Run.from_snapshots(run.snapshots, {"loss": [1, 2]})
