"""Sparse values in a run folder."""

from __future__ import annotations

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from topomap.run import Activations, Inputs, Run
from topomap.store import RunWriter, arrays, open_run, save_run
from topomap.store.sparse import StoredSparse


def table(n_rows=40, n_neurons=30, density=0.1, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_rows, n_neurons)).astype(np.float32)
    values[rng.random(values.shape) >= density] = 0
    return values


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_rows_are_picked_like_numpy(tmp_path_factory, data):
    values = table(data.draw(st.integers(1, 40)), density=data.draw(st.sampled_from([0, 0.1, 0.3])))
    n = len(values)
    stored = save(values, tmp_path_factory.mktemp("store") / "run", data.draw(st.sampled_from([100, 1 << 21])))
    assert stored.shape == values.shape
    assert (stored.nnz, stored.ndim, len(stored)) == (np.count_nonzero(values), 2, n)
    index = st.integers(-n, n - 1)
    bounds = st.one_of(st.none(), st.integers(-n - 3, n + 3))
    keys = st.one_of(
        st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, -1])),
        st.lists(index, max_size=9).map(lambda found: np.array(found, dtype=np.int64)),
        st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
    )
    key = data.draw(keys)
    np.testing.assert_array_equal(stored[key].toarray(), values[key])
    one = data.draw(index)
    np.testing.assert_array_equal(stored[one].toarray(), values[[one]])
    np.testing.assert_array_equal(stored[key, 3:9].toarray(), values[key][:, 3:9])


def save(values, place, chunk_bytes=1 << 21):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CHUNK_BYTES", chunk_bytes)
        acts = Activations.from_array(sparse.csr_array(values), layer="sae")
        return save_run(Run(acts.inputs, {("sae", "none"): acts}), place)["sae"].values


@pytest.mark.parametrize("rows", [99, [40], [True], 1.5, [[1]]])
def test_rows_that_do_not_exist(rows, tmp_path):
    stored = save(table(), tmp_path / "run")
    with pytest.raises((IndexError, ValueError), match=r"row|mask"):
        _ = stored[rows]


def test_runs_without_rows_or_activity(tmp_path):
    for n_rows in (0, 3):
        stored = save(np.zeros((n_rows, 5), dtype=np.float32), tmp_path / str(n_rows))
        assert isinstance(stored, StoredSparse)
        assert stored[:].shape == (n_rows, 5)
        assert stored.nnz == 0


def test_xarray_reads_the_rows(tmp_path):
    values = table()
    save(values, tmp_path / "run")
    ds = xarray.open_zarr(tmp_path / "run" / "run.zarr", group="layers/sae/none")
    pointers = np.concatenate([[0], np.cumsum(ds["count"])])
    rebuilt = sparse.csr_array((ds["data"], ds["indices"], pointers), shape=(40, ds.attrs["n_neurons"]))
    np.testing.assert_array_equal(rebuilt.toarray(), values)
    assert ds["data"].dims == ds["indices"].dims == ("entry",)


def test_writer_takes_one_kind_of_values(tmp_path):
    rows = sparse.csr_array(table(3))
    with RunWriter(tmp_path / "run") as writer:
        writer.append("sae", "none", rows, [0, 1, 2])
        with pytest.raises(ValueError, match="must all be sparse, or none"):
            writer.append("sae", "none", rows.toarray(), [3, 4, 5])
        with pytest.raises(ValueError, match="began with 30 neurons; now come 29"):
            writer.append("sae", "none", rows[:, :29], [3, 4, 5])
        with pytest.raises(ValueError, match="places for all"):
            writer.append("sae", "none", rows, [3, 4, 5], places=[[0], [0], [0]])
        with pytest.raises(ValueError, match="input of layer 'sae'"):
            writer.append("sae", "none", rows, [3, 4])
        writer.append("dense", "none", rows.toarray(), [0, 1, 2])
        with pytest.raises(ValueError, match="must all be sparse, or none"):
            writer.append("dense", "none", rows, [3, 4, 5])
        writer.rename_layer("sae", "code")
        run = writer.commit(Inputs(np.arange(3)))
    np.testing.assert_array_equal(run["code"].values[:].toarray(), rows.toarray())
    assert run["code"].n_neurons == 30


def test_damage_is_noticed(tmp_path):
    save(table(), tmp_path / "run")
    folder = tmp_path / "run" / "run.zarr" / "layers" / "sae" / "none"
    kept = (folder / "indices" / "c.0").read_bytes()
    (folder / "indices" / "c.0").write_bytes(bytes(len(kept)))
    with pytest.raises(ValueError, match="the run folder is damaged"):
        _ = open_run(tmp_path / "run")["sae"].mean
    (folder / "indices" / "c.0").unlink()
    with pytest.raises(ValueError, match="the run folder is damaged"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(("name", "values"), [("count", 2), ("indices", 999)])
def test_numbers_that_do_not_fit_are_noticed(name, values, tmp_path):
    import zarr

    save(table(), tmp_path / "run")
    array = zarr.open_array(tmp_path / "run" / "run.zarr" / "layers" / "sae" / "none" / name, mode="r+")
    array[:2] = values
    index = tmp_path / "run" / "run.toml"
    size = sum(p.stat().st_size for p in (tmp_path / f"run/run.zarr/layers/sae/none/{name}").glob("c.*"))
    lines, table_of = [], ""
    for line in index.read_text().splitlines():
        table_of = line if line.startswith("[") else table_of
        lines.append(f"bytes = {size}" if line.startswith("bytes") and table_of.endswith(f"{name}]") else line)
    index.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="is damaged"):
        _ = open_run(tmp_path / "run")["sae"].mean
