"""Groups: names, keys and members by hand, and every operator against loops over the rows."""

import itertools

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from topomap.groups import Groups


def members(groups):
    return {name: groups.rows_of(name).tolist() for name in groups.names}


def test_one_column():
    groups = Groups.from_columns({"label": [2, 0, 2, 10, 0]})
    assert groups.names == ("0", "2", "10")
    assert groups.keys == ((0,), (2,), (10,))
    assert [type(key[0]) for key in groups.keys] == [int] * 3
    assert groups.by == ("label",)
    assert members(groups) == {"0": [1, 4], "2": [0, 2], "10": [3]}
    assert groups.counts.tolist() == [2, 2, 1]
    assert (len(groups), groups.n_rows) == (3, 5)


def test_intersections_that_occur_in_the_order_of_their_values():
    groups = Groups.from_columns(
        {"label": [1, 0, 1, 1], "correct": np.array([True, True, False, True])}, {"label": ["cat", "dog"]}
    )
    assert groups.names == ("cat, correct", "dog, wrong", "dog, correct")
    assert groups.keys == ((0, True), (1, False), (1, True))
    assert members(groups) == {"cat, correct": [1], "dog, wrong": [2], "dog, correct": [0, 3]}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["b", "", "a"], {"a": [2], "b": [0]}),
        ([1.5, np.nan, 2.0], {"1.5": [0], "2": [2]}),
        ([None, "x", np.nan, ""], {"x": [1]}),
        (np.array(["x", ""], dtype=np.dtypes.StringDType()), {"x": [0]}),
        (np.array([b"x", b""]), {"b'x'": [0]}),
        ([True, False, True], {"False": [1], "True": [0, 2]}),
        (np.array(["a", 1, 1.0, True, None], dtype=object), None),
    ],
    ids=str,
)
def test_missing_values_belong_to_no_group(column, expected):
    groups = Groups.from_columns({"c": column})
    if expected is None:
        assert sorted(itertools.chain(*members(groups).values())) == [0, 1, 2, 3]
        assert groups.rows_of("a").tolist() == [0]
    else:
        assert members(groups) == expected


def test_a_value_missing_in_one_column_is_enough():
    groups = Groups.from_columns({"a": [0, 0, 1], "b": ["", "x", "y"]})
    assert members(groups) == {"0, x": [1], "1, y": [2]}


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ([0, 1, 2], ("cat", "dog", "2")),
        ([-1, 0, 5], ("-1", "cat", "5")),
        ([0.0, np.nan, 1.0], ("cat", "dog")),
        ([0.5, np.inf, 1.0], ("0.5", "dog", "inf")),
        (["0", "1", "1"], ("0", "1")),
    ],
)
def test_codes_are_named_where_there_is_a_name(column, names):
    assert Groups.from_columns({"label": column}, {"label": ("cat", "dog")}).names == names
    assert Groups.from_columns({"other": [0, 1]}, {"label": ("cat", "dog")}).names == ("0", "1")


def test_correct_is_spelled_out_when_it_is_a_number_too():
    assert Groups.from_columns({"correct": [1.0, np.nan, 0.0]}).names == ("wrong", "correct")


def test_equal_names_are_told_apart():
    groups = Groups.from_columns({"label": [0, 1, 2, 3]}, {"label": ["cat", "cat", "dog", "cat"]})
    assert groups.names == ("cat", "cat (2)", "dog", "cat (3)")
    assert groups.keys == ((0,), (1,), (2,), (3,))
    mixed = Groups.from_columns({"c": np.array([1, "1", 1], dtype=object)})
    assert mixed.names == ("1", "1 (2)")
    assert mixed.counts.sum() == 3
    assert Groups.from_columns({"l": [0, 1, 2, 3]}, {"l": ["a", "a", "a (2)", "a"]}).names == (
        "a",
        "a (3)",
        "a (2)",
        "a (4)",
    )
    clash = Groups.from_columns({"label": [0, 1, 2]}, {"label": ["cat", "cat", "cat (2)"]})
    assert len(set(clash.names)) == 3


def test_errors():
    for call, message in [
        (
            lambda: Groups.from_columns({"a": [1, 2], "b": [1]}),
            "column 'b' must have one entry per row: expected 2, got 1",
        ),
        (lambda: Groups.from_columns({"a": ["", ""], "b": [1, 2]}), "every row has a missing value in a x b"),
        (lambda: Groups.from_columns({"a": []}), "every row"),
        (lambda: Groups.from_columns({}), "at least one column"),
        (lambda: Groups.from_columns({"a": [[1], [2]]}), "must have one dimension"),
        (lambda: Groups.from_columns({"a": ["x"]}).rows_of("y"), "group must be one of 'x'; got 'y'"),
        (lambda: Groups(("a",), np.array([[2.0, 0.0]])), "zeros and ones only"),
        (lambda: Groups(("a", "b"), np.array([[1, 0]])), "names must have one entry per group"),
        (lambda: Groups(("a", "a"), np.eye(2)), "unique"),
        (lambda: Groups.from_columns({"a": [1, 2]}).sums([1.0]), "values must have one entry per row"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_overlapping_and_empty_groups():
    groups = Groups(("all", "first", "none"), np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]]))
    assert groups.counts.tolist() == [3, 1, 0]
    assert groups.keys == (("all",), ("first",), ("none",))
    values = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    assert groups.sums(values).tolist() == [[9, 90], [1, 10], [0, 0]]
    assert groups.means(values).tolist() == [[3, 30], [1, 10], [0, 0]]
    assert groups.rows_of("none").tolist() == []
    np.testing.assert_allclose(groups.weights @ values, groups.means(values), rtol=1e-15)


def test_repeated_entries_of_a_sparse_matrix_are_not_zeros_and_ones():
    twice = sparse.coo_array(([1.0, 1.0], ([0, 0], [1, 1])), shape=(1, 2))
    with pytest.raises(ValueError, match="zeros and ones"):
        Groups(("a",), twice)


def test_stored_zeros_are_no_members():
    stored = sparse.csr_array(([0.0, 1.0], [0, 1], [0, 2]), shape=(1, 2))
    assert members(Groups(("a",), stored)) == {"a": [1]}
    assert stored.nnz == 2  # the caller's own is left as it was


def test_take_and_sample():
    groups = Groups.from_columns({"label": np.arange(30) % 3})
    two = groups.take([2, 0])
    assert (two.names, two.keys, two.by) == (("2", "0"), ((2,), (0,)), ("label",))
    assert members(two) == {"2": list(range(2, 30, 3)), "0": list(range(0, 30, 3))}
    state = np.random.get_state()[1].copy()  # noqa: NPY002  # that it is left alone is what is tested
    sample = groups.sample(4, seed=1)
    assert sample.counts.tolist() == [4, 4, 4]
    for name in groups.names:
        assert set(sample.rows_of(name)) <= set(groups.rows_of(name))
    assert members(groups.sample(4, seed=1)) == members(sample)
    assert members(groups.sample(4, seed=2)) != members(sample)
    assert members(groups.sample(99)) == members(groups)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_picture_and_xarray():
    groups = Groups.from_columns({"label": np.arange(8), "ok": [True] * 8})
    assert repr(groups).startswith("Groups(8 by label x ok over 8 rows: 0, True (1); 1, True (1); ")
    assert repr(groups).endswith("5, True (1); ... 2 more)")
    assert repr(Groups(("a",), np.array([[1, 1]]))) == "Groups(1 over 2 rows: a (2))"
    ds = groups.to_xarray()
    assert isinstance(ds, xarray.Dataset)
    assert ds.membership.dims == ("group", "row")
    np.testing.assert_array_equal(ds.membership.values, np.eye(8, dtype=bool))
    assert ds.sel(group="3, True")["count"].item() == 1
    assert ds.attrs == {"by": ["label", "ok"]}


COLUMNS = st.sampled_from(
    [
        st.integers(-3, 3),
        st.sampled_from([0.5, 1.0, float("nan"), -2.0, float("inf")]),
        st.sampled_from(["", "a", "b", "ab", "ü"]),
        st.booleans(),
        st.sampled_from([None, "a", "b"]),
        st.sampled_from([None, 1, 2.5, "a"]),
    ]
)


def is_missing(value):
    return value is None or value == "" or value != value


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_groups_are_what_a_loop_finds(data):
    n = data.draw(st.integers(1, 25))
    columns = {
        f"c{i}": data.draw(st.lists(data.draw(COLUMNS), min_size=n, max_size=n))
        for i in range(data.draw(st.integers(1, 3)))
    }
    arrays = {
        name: np.array(
            values, dtype=object if {type(v) for v in values} & {type(None)} or len({*map(type, values)}) > 1 else None
        )
        for name, values in columns.items()
    }
    rows = list(zip(*columns.values(), strict=True))
    expected = {}
    for row, key in enumerate(rows):
        if not any(map(is_missing, key)):
            expected.setdefault(key, []).append(row)
    if not expected:
        with pytest.raises(ValueError, match="every row"):
            Groups.from_columns(arrays)
        return
    groups = Groups.from_columns(arrays)
    assert dict(zip(groups.keys, members(groups).values(), strict=True)) == expected
    assert len(set(groups.names)) == len(groups)
    values = np.random.default_rng(0).normal(size=(n, 2, 3))
    for row, key in enumerate(groups.keys):
        np.testing.assert_allclose(groups.sums(values)[row], values[expected[key]].sum(axis=0), atol=1e-12)
        np.testing.assert_allclose(groups.means(values)[row], values[expected[key]].mean(axis=0), atol=1e-12)
    assert groups.means(values[:, 0, 0]).shape == (len(groups),)
    if all(isinstance(value, int | float) for key in expected for value in key):
        assert list(groups.keys) == sorted(expected)


def test_rows_in_no_group_and_in_several():
    groups = Groups.from_columns({"site": ["a", "", "b", "b"]})
    assert (groups.ungrouped, groups.overlapping) == (1, False)
    both = Groups(("x", "y"), np.array([[1, 1, 0, 0], [0, 1, 0, 0]]))
    assert (both.ungrouped, both.overlapping) == (2, True)
    assert members(both.of_rows([1, 1, 3, 0])) == {"x": [0, 1, 3], "y": [0, 1]}


def test_columns_of_many_values_do_not_overflow():
    rng = np.random.default_rng(0)
    columns = {f"c{i}": rng.permutation(3000) for i in range(7)}  # 3,000 ** 7 is beyond 64 bits
    groups = Groups.from_columns(columns)
    assert len(groups) == 3000 and (groups.counts == 1).all()
    row = int(groups.rows_of(groups.names[1234])[0])
    assert groups.keys[1234] == tuple(int(column[row]) for column in columns.values())
    assert list(groups.keys) == sorted(groups.keys)
