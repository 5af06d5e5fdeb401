from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topomap as tm
from topomap.patterns import top as module
from topomap.patterns import top_inputs


def by_brute_force(values, inputs, places, unit, n, allowed):
    """Go through all rows one by one: input, value and place of the n largest, ties by input, then by place."""
    best = {}
    for row in sorted(range(len(values)), key=lambda r: (inputs[r], tuple(places[r]))):
        i, value = int(inputs[row]), values[row, unit]
        if i in allowed and (i not in best or value > best[i][0]):
            best[i] = (value, tuple(places[row]))
    table = sorted(best)
    order = np.argsort([-best[i][0] for i in table], kind="stable")[:n]
    return [table[k] for k in order], [best[table[k]][0] for k in order], [best[table[k]][1] for k in order]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 3), st.booleans(), st.integers(1, 7))
def test_equal_to_brute_force_under_shuffles_and_filters(seed, n, n_places, sparse, block):
    rng = np.random.default_rng(seed)
    used = np.sort(rng.permutation(20)[:12])  # some inputs of the table have no row
    inputs, places = np.repeat(used, n_places), np.tile(np.arange(n_places), 12)[:, None]
    values = rng.integers(-2, 3, (len(inputs), 4)).astype(np.float32)  # many ties
    shuffle = rng.permutation(len(inputs))
    table = tm.Inputs(rng.permutation(1000)[:20], {"kind": rng.integers(0, 2, 20)})
    stored = values[shuffle]
    if sparse:
        from scipy.sparse import csr_array

        stored = csr_array(stored)
    acts = tm.Activations(stored, table, rows=inputs[shuffle], places=places[shuffle])
    kept = acts.select(n=9, seed=seed)
    where = {"kind": 1}
    allowed = set(used[table["kind"][used] == 1].tolist())
    before = module.BLOCK_ROWS
    module.BLOCK_ROWS = block
    try:
        every = top_inputs(acts, n=n)
        some = top_inputs(acts, n=n, where=where) if allowed else None
        drawn = top_inputs(kept, unit=[2, 0], n=n)
    finally:
        module.BLOCK_ROWS = before
    cases = [(every, range(4), set(used.tolist())), (drawn, (2, 0), set(kept.rows.tolist()))]
    cases += [(some, range(4), allowed)] if some is not None else []
    for found, units, possible in cases:
        for i, unit in enumerate(units):
            which, value, place = by_brute_force(values, inputs, places, unit, n, possible)
            assert found.inputs[i].tolist() == which
            assert found.values[i].tolist() == value
            assert [tuple(p) for p in found.places[i]] == place
            # ids are looked up by position, and belong to the values
            np.testing.assert_array_equal(found.ids[i], table.ids[which])


def test_one_row_per_input_is_argsort():
    values = np.random.default_rng(0).normal(size=(300, 7))
    values[::5] = values[0]
    acts = tm.Activations.from_array(values)
    order = np.argsort(-values, axis=0, kind="stable").T
    found = top_inputs(acts, n=100)
    np.testing.assert_array_equal(found.inputs, order[:, :100])
    np.testing.assert_array_equal(found.values, np.take_along_axis(values.T, order[:, :100], 1))
    assert found.places is None
    one = top_inputs(acts, unit=3)
    np.testing.assert_array_equal(one.inputs, order[3, :10])
    assert one.units.tolist() == [3]
    assert (len(one), len(top_inputs(acts, unit=3, n=1000))) == (10, 300)


def test_values_on_disk_are_the_same(tmp_path):
    table = tm.Inputs(np.arange(50), {"label": np.arange(50) % 3})
    acts = tm.Activations(np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32), table, "fc")
    tm.save_run(tm.Run(table, {("fc", "none"): acts}), tmp_path / "run")
    stored = tm.open_run(tmp_path / "run")["fc"]
    np.testing.assert_array_equal(
        top_inputs(stored, n=7, where={"label": [0, 2]}).inputs, top_inputs(acts, n=7, where={"label": [0, 2]}).inputs
    )


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.2, (30, 20)), rng.normal(0, 0.2, (30, 20)), rng.uniform(-3, 3, (15, 20))])
    values[:30, :10] += 4
    values[30:60, 10:] += 4
    shuffle = rng.permutation(75)
    acts = tm.Activations.from_array(values[shuffle], group=np.repeat([0, 1, 2], [30, 30, 15])[shuffle])
    return tm.find_patterns(acts, min_cluster_size=10), acts


def test_members_of_a_pattern_by_its_typical_units(planted):
    patterns, acts = planted
    k = next(k for k in range(len(patterns)) if (acts.inputs["group"][patterns.members(k)] == 0).mean() > 0.9)
    found = top_inputs(acts, pattern=k, patterns=patterns, n=8)
    assert found.units.tolist() == list(range(10))
    members = np.sort(patterns.members(k))
    means = acts.scores[members][:, :10].mean(axis=1)
    np.testing.assert_array_equal(found.inputs, members[np.argsort(-means, kind="stable")[:8]])
    np.testing.assert_allclose(found.values, np.sort(means)[::-1][:8], rtol=1e-5)
    assert repr(found) == f"TopInputs(layer, pattern {k}: 8 inputs)"


def test_members_of_a_pattern_by_a_unit(planted):
    patterns, acts = planted
    for k in patterns.ids:
        found = top_inputs(acts, unit=12, pattern=k, patterns=patterns, n=5)
        members = np.sort(patterns.members(k))
        order = np.argsort(-acts.values[members, 12], kind="stable")[:5]
        np.testing.assert_array_equal(found.inputs, members[order])
    half = np.arange(75) % 2 == 0
    some = top_inputs(acts, unit=12, pattern=0, patterns=patterns, n=75, where=half)
    assert set(some.inputs) == set(patterns.members(0)) & set(np.flatnonzero(half))


def test_xarray_and_repr(planted):
    _, acts = planted
    many, one = top_inputs(acts, n=4).to_xarray(), top_inputs(acts, unit=2, n=4)
    assert many["input"].dims == ("unit", "rank")
    assert many["unit"].values.tolist() == list(range(20))
    assert one.to_xarray()["value"].dims == ("rank",)
    assert repr(one) == "TopInputs(layer, unit 2: 4 inputs)"
    assert repr(top_inputs(acts, n=4)) == "TopInputs(layer, each of 20 units: 4 inputs)"
    assert one.provenance["parameters"] == {"unit": 2, "pattern": None, "n": 4}


def test_bad_input(planted):
    patterns, acts = planted
    for asked, match in (
        ({"unit": 20}, "unit must be 0 to 19; got 20"),
        ({"unit": -1}, "unit must be 0 to 19; got -1"),
        ({"unit": []}, "a number, several, or None"),
        ({"unit": 1.5}, "a number, several, or None"),
        ({"n": 0}, "n must be at least 1"),
        ({"pattern": 0}, "pass patterns="),
        ({"pattern": 9, "patterns": patterns}, "pattern must be one of 0 to 2"),
        ({"where": np.zeros(75, dtype=bool)}, "no input is left"),
        ({"pattern": 0, "patterns": patterns, "where": patterns.groups.membership.toarray()[1] > 0}, "no member"),
    ):
        with pytest.raises(ValueError, match=match):
            top_inputs(acts, **asked)
    with pytest.raises(ValueError, match="acts must be of type Activations"):
        top_inputs(patterns)
    with pytest.raises(ValueError, match="NaN or infinite"):
        top_inputs(tm.Activations.from_array(np.array([[np.nan], [1.0]])), unit=0)


def test_patterns_of_another_table_are_refused(planted):
    patterns, acts = planted
    turned = replace(acts, inputs=replace(acts.inputs, ids=acts.inputs.ids[::-1]))
    with pytest.raises(ValueError, match="their ids differ"):
        top_inputs(turned, pattern=0, patterns=patterns)
    with pytest.raises(ValueError, match=r"lack \d+ of the \d+ members"):
        top_inputs(acts.select(n=10), pattern=0, patterns=patterns)
