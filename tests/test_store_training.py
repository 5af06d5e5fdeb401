"""Snapshots in a run folder: whole or not there, whatever happens to the process; small in the index; gone on with."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import xarray
from torch import nn

import topomap as tm
from topomap.run import Activations, Inputs, Run
from topomap.store import TrainingFolder, list_datasets, open_run, save_run, write_dataset
from topomap.store import snapshots as snapshots_module

X = torch.linspace(-1, 1, 60).reshape(20, 3)
Y = torch.arange(20) % 2


def make_run(step, n=4, layer="fc"):
    inputs = Inputs(np.arange(n), {"label": np.arange(n) % 2, "prediction": np.full(n, step % 2)})
    return Run(inputs, {(layer, "none"): Activations(np.full((n, 3), float(step)), inputs, layer)}, {"seed": 0})


def grow(to, steps, **options):
    folder = TrainingFolder(to, **options)
    for step in steps:
        folder.append(step, make_run(step), {"loss": 1 / (1 + step)})
    return folder


def test_a_snapshot_is_there_when_append_returns(tmp_path):
    folder = TrainingFolder(tmp_path / "run")
    assert not (tmp_path / "run").exists() and folder.steps == ()
    for n, step in enumerate((0, 7, 30), 1):
        folder.append(step, make_run(step), {"loss": float(step)})
        run = open_run(tmp_path / "run")
        assert len(run.steps) == n and run.steps[-1] == step == folder.steps[-1]
        assert run.metrics["loss"][-1] == step
        assert run["fc"].values[0, 0] == step
    assert run.at(7)["fc"].values[:].tolist() == [[7.0] * 3] * 4
    # columns are those of the step
    assert run.at(7).inputs.prediction.tolist() == [1] * 4 and run.at(30).inputs.prediction.tolist() == [0] * 4
    assert run.at(7).inputs.correct.tolist() == [False, True] * 2
    assert run.at(7).inputs.label is run.inputs.label or run.at(7).inputs.label.tolist() == run.inputs.label.tolist()
    assert 7 in run.snapshots and 8 not in run.snapshots and len(run.snapshots) == 3
    with pytest.raises(ValueError, match="nearest are 7 and 30"):
        run.at(20)
    with pytest.raises(ValueError, match="step must be beyond 30"):
        folder.append(30, make_run(30))


def test_metrics_that_are_missing_are_nan_and_may_come_later(tmp_path):
    folder = TrainingFolder(tmp_path / "run")
    folder.append(0, make_run(0))
    folder.append(1, make_run(1), {"loss": 0.5})
    folder.append(2, make_run(2), {"accuracy": float("inf")})
    folder.log(1, {"accuracy": 0.25})
    metrics = open_run(tmp_path / "run").metrics
    np.testing.assert_array_equal(metrics["loss"], [np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(metrics["accuracy"], [np.nan, 0.25, np.inf])
    with pytest.raises(ValueError, match="no snapshot at step 5"):
        folder.log(5, {"loss": 1.0})


def test_xarray_opens_a_snapshot(tmp_path):
    grow(tmp_path / "run", (0, 100))
    store = tmp_path / "run" / "run.zarr"
    with xarray.open_zarr(store / "steps" / "100", group="layers/fc/none") as ds:
        assert ds["values"].dims == ("row", "neuron") and ds["values"].values.tolist() == [[100.0] * 3] * 4
        assert ds.attrs["step"] == 100
    with xarray.open_datatree(store / "steps" / "0", engine="zarr") as tree:
        assert tree.attrs["step"] == 0 and tree["layers/fc/none/values"].values.tolist() == [[0.0] * 3] * 4
    with xarray.open_zarr(store, group="inputs") as ds:
        assert ds["label"].values.tolist() == [0, 1, 0, 1]


def test_the_index_does_not_grow_by_more_than_a_step(tmp_path):
    folder = grow(tmp_path / "run", (0, 1))
    index, metadata = tmp_path / "run" / "run.toml", tmp_path / "run" / "run.zarr" / "zarr.json"
    before, root = index.stat().st_size, metadata.read_bytes()
    folder.append(12345, make_run(12345), {"loss": 0.123456789})
    assert index.stat().st_size - before < 60
    assert metadata.read_bytes() == root


def test_snapshots_are_not_kept_in_memory(tmp_path):
    run = open_run(grow(tmp_path / "run", range(5)).to)
    first = run.at(0)
    assert run.at(0) is first
    run.at(1)
    assert run.at(0) is not first


def test_a_training_is_gone_on_with(tmp_path):
    to = tmp_path / "run"
    grow(to, (0, 10))
    partial = to / ".snapshot.partial"
    partial.mkdir()  # of a process that was killed
    torn = to / "run.zarr" / "steps" / "20"
    torn.mkdir()
    (torn / "junk").write_text("torn")
    assert open_run(to).steps == (0, 10)
    folder = TrainingFolder(to)
    assert folder.steps == (0, 10) and folder.provenance["seed"] == 0
    folder.append(20, make_run(20), {"accuracy": 1.0})
    run = open_run(to)
    assert run.steps == (0, 10, 20) and not partial.exists()
    np.testing.assert_array_equal(run.metrics["accuracy"], [np.nan, np.nan, 1.0])
    assert run["fc"].values[0, 0] == 20


def test_data_sets_added_in_between_stay(tmp_path):
    folder = grow(tmp_path / "run", (0,))
    ds = xarray.Dataset({"positions": (("neuron", "axis"), np.zeros((3, 2)))})
    write_dataset(folder.to, "layouts/fc/none/pca", ds)
    folder.append(1, make_run(1))
    write_dataset(folder.to, "layouts/fc/none/tsne", ds)
    assert list_datasets(folder.to) == ["layouts/fc/none/pca", "layouts/fc/none/tsne"]
    assert open_run(folder.to).steps == (0, 1)
    with pytest.raises(ValueError, match="must not begin with 'steps'"):
        write_dataset(folder.to, "steps/1", ds)


def test_overwriting_begins_anew_at_the_first_snapshot(tmp_path):
    to = tmp_path / "run"
    grow(to, (0, 10))
    folder = TrainingFolder(to, overwrite=True)
    assert folder.steps == () and open_run(to).steps == (0, 10)
    folder.append(5, make_run(5))
    folder.append(6, make_run(6))
    assert open_run(to).steps == (5, 6)


def test_what_is_no_training_is_refused(tmp_path):
    save_run(make_run(0), tmp_path / "plain")
    with pytest.raises(ValueError, match="it is not a training"):
        TrainingFolder(tmp_path / "plain")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="holds something that is not a run"):
            TrainingFolder(tmp_path / "other", overwrite)


def test_saved_trainings_come_back(tmp_path):
    run = Run.from_snapshots({step: make_run(step) for step in (0, 3, 9)}, {"loss": [3, 2, 1]}, {"seed": 4})
    saved = save_run(run, tmp_path / "a")
    again = save_run(saved, tmp_path / "a", overwrite=True)  # onto itself
    for one in (saved, again):
        assert one.steps == (0, 3, 9) and one.metrics["loss"].tolist() == [3, 2, 1] and one.provenance["seed"] == 4
    assert again.at(3)["fc"].values[0, 0] == 3 and again.at(3).inputs.prediction.tolist() == [1] * 4
    with pytest.raises(ValueError, match="there already is a run"):
        save_run(run, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_leaves_the_snapshots_before(tmp_path, monkeypatch):
    folder = grow(tmp_path / "run", (0,))

    def fail(*args):
        raise OSError(28, "No space left on device")

    for name in ("_write_values", "write_index", "consolidate"):
        with monkeypatch.context() as patch:
            patch.setattr(snapshots_module, name, fail)
            with pytest.raises(OSError, match="no space left on the disk"):
                folder.append(1, make_run(1))
        assert open_run(folder.to).steps == (0,)
    folder.append(1, make_run(1))
    assert open_run(folder.to).at(1)["fc"].values[0, 0] == 1


@pytest.mark.parametrize("what", ["chunk", "group", "snapshot", "attributes", "steps", "metrics"])
def test_damage_is_an_error(tmp_path, what):
    to = grow(tmp_path / "run", (0, 1)).to
    group = to / "run.zarr" / "steps" / "1"
    if what == "chunk":
        next((group / "layers" / "fc" / "none" / "values").glob("c*")).unlink()
    elif what == "group":
        (group / "layers" / "fc" / "none" / "zarr.json").unlink()
    elif what == "snapshot":
        group.rename(to / "elsewhere")
    elif what == "attributes":
        node = json.loads((group / "zarr.json").read_text())
        del node["attributes"]["groups"]
        (group / "zarr.json").write_text(json.dumps(node))
    else:
        old, new = {"steps": ("0,\n    1,", "1,\n    0,"), "metrics": ("loss = [", "loss = [ 3.0,")}[what]
        text = (to / "run.toml").read_text()
        assert old in text
        (to / "run.toml").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match="damaged"):
        open_run(to).at(1)


# The recorder and its folder


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


def test_a_resumed_recorder_appends_after_the_last_snapshot(tmp_path):
    to, model = tmp_path / "run", net()
    with tm.TrainingRecorder(model, (X, Y), "1", every=2, to=to) as recorder:
        for step in range(5):
            recorder.step(step, loss=step)
    spent = open_run(to).provenance["training"]
    with tm.TrainingRecorder(model, (X, Y), "1", every=2, to=to) as recorder:
        assert recorder.steps == (0, 2, 4) and recorder.run.steps == (0, 2, 4)
        assert not recorder.step(2) and not recorder.step(4)  # they are there
        with pytest.warns(tm.TopomapWarning, match="has snapshots up to step 4, which are kept: step 3 is not"):
            recorder.snapshot(3)
        assert recorder.step(6, loss=9.0) and recorder.step(8)
        with pytest.raises(ValueError, match="step must be beyond 8"):
            recorder.snapshot(6)
    run = open_run(to)
    assert run.steps == (0, 2, 4, 6, 8)
    np.testing.assert_array_equal(run.metrics["loss"], [0, 2, 4, 9, np.nan])
    assert run.provenance["training"]["recording_s"] > spent["recording_s"]
    assert run.provenance["training"]["elapsed_s"] > spent["elapsed_s"]
    with tm.TrainingRecorder(model, (X, Y), "1", to=to, overwrite=True) as recorder:
        recorder.snapshot(0)
    assert open_run(to).steps == (0,)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"layers": "2"}, "layers '1', now '2'"),
        ({"model": nn.Linear(3, 5), "layers": "model"}, "model 'Sequential', now 'Linear'"),
        ({"keep": "values"}, "keep 'moments', now 'values'"),
        ({"seed": 1}, "seed 0, now 1"),
        ({"reduce": "max"}, r"reduce \['mean'\], now \['max'\]"),
        ({"model": nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))}, "5 neurons of layer '1' .*, now 6"),
        ({"loader": (X + 1, Y)}, "other inputs than those of this loader"),
        ({"by": [("label", "correct")]}, "by="),
        ({"n_features": 9}, "n_features=128, now n_features=9"),
    ],
)
def test_another_training_is_refused(tmp_path, changed, match):
    given = {"model": net(), "loader": (X, Y), "layers": "1"}
    tm.TrainingRecorder(**given, to=tmp_path / "run").snapshot(0)
    with pytest.raises(ValueError, match=rf"cannot be gone on with: .*{match}.*overwrite=True"):
        tm.TrainingRecorder(**{**given, **changed}, to=tmp_path / "run").snapshot(1)
    assert open_run(tmp_path / "run").steps == (0,)


SCRIPT = """
import sys
import torch
from torch import nn
import topomap as tm
torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
x = torch.linspace(-1, 1, 60).reshape(20, 3), torch.arange(20) % 2
recorder = tm.TrainingRecorder(net, x, "1", to=sys.argv[1])
step = recorder.steps[-1] + 1 if recorder.steps else 0
print("ready", flush=True)
while True:
    with torch.no_grad():
        net[0].weight.fill_(step)
    recorder.snapshot(step, loss=step)
    print(step, flush=True)
    step += 1
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a thing of Unix")
def test_a_killed_process_leaves_every_snapshot_whose_call_had_returned(tmp_path):
    """Four kills of one training that is resumed each time; benchmarks/training.py does thirty."""
    rng = np.random.default_rng(0)
    to = tmp_path / "run"
    returned, model = -1, net()
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", SCRIPT, str(to)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split()
        if lines:
            returned = int(lines[-1])
        run = open_run(to)
        assert len(run.steps) > returned and run.steps == tuple(range(len(run.steps)))
        for step in run.steps:  # whole: all arrays can be read, and are those of the step
            with torch.no_grad():
                model[0].weight.fill_(step)
                expected = model[:2](X).double().mean(dim=0).numpy()
            moments = run.at(step)["1"]
            np.testing.assert_allclose(moments.mean, expected, rtol=1e-5, atol=1e-6)
            assert moments.count == moments.grouping("label").counts.sum() == 20
        assert run.metrics["loss"].tolist() == list(range(len(run.steps)))


# Arrays of one chunk


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (1,), (0,), ()])
def test_one_chunk_reads_as_zarr_reads_it(tmp_path, dtype, shape):
    import zarr

    from topomap.store.arrays import read_array, write_array

    values = np.random.default_rng(0).integers(0, 2, size=shape).astype(dtype)
    entry = write_array(tmp_path / "a", values, ("x", "y", "z")[: len(shape)], "a")
    found, expected = read_array(tmp_path / "a", entry), np.asarray(zarr.open_array(tmp_path / "a", mode="r")[...])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype and found.flags.writeable


def test_one_changed_byte_in_a_chunk_is_an_error(tmp_path):
    from topomap.store.arrays import read_array, write_array

    entry = write_array(tmp_path / "a", np.arange(50.0), ("x",), "a")
    chunk = tmp_path / "a" / "c.0"
    data = bytearray(chunk.read_bytes())
    for at in (0, len(data) // 2, len(data) - 1):
        chunk.write_bytes(bytes(data[:at]) + bytes([data[at] ^ 1]) + bytes(data[at + 1 :]))
        with pytest.raises(ValueError, match="damaged"):
            read_array(tmp_path / "a", entry)
